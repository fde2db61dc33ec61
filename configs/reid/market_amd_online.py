# AMD online on Market-1501, ResNet-50: clean images, and adversarial ones made anew for every batch on the current
# model: 7 steps of 2/255 within 8/255 from a random start, away from the person's other images in the batch. natx's
# own form; GOAT's is market_goat.py.
# Command: python tools/train.py configs/reid/market_amd_online.py
# Cost: 10 forwards and 9 backwards per image and step. Paper's number: none (Table 12 does not say which AMD it
# means).
_base_ = [
    "../_base_/models/bot_resnet50.py",
    "../_base_/datasets/market1501.py",
    "../_base_/schedules/bot_120e.py",
    "../_base_/methods/amd_online.py",
    "../_base_/reid_runtime.py",
]
paper_row = None
