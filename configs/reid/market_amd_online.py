# AMD online on Market-1501, ResNet-50: adversarial images made anew for every batch on the current model. As GOAT
# (Bouniot et al.): 7 steps from a random start, guides from the batch; within 8/255 here, 5/255 there.
# Command: python tools/train.py configs/reid/market_amd_online.py
# Cost: 10 forwards and 9 backwards per image and step. Paper's number: none (Table 12 does not say which AMD it means).
_base_ = [
    "../_base_/models/bot_resnet50.py",
    "../_base_/datasets/market1501.py",
    "../_base_/schedules/bot_120e.py",
    "../_base_/methods/amd_online.py",
    "../_base_/reid_runtime.py",
]
paper_row = None
