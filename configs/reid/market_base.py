# Undefended person re-identification on Market-1501, ResNet-50: identity and triplet loss on clean images (BoT).
# Command: python tools/train.py configs/reid/market_base.py
# Cost: 1 forward and 1 backward per image and step. Paper's number: 78.49/92.01 clean, 0.20/0.17 under FNA 8/255
# (mAP/Rank-1, Table 12, None).
_base_ = [
    "../_base_/models/bot_resnet50.py",
    "../_base_/datasets/market1501.py",
    "../_base_/schedules/bot_120e.py",
    "../_base_/reid_runtime.py",
]
method = dict(type="Standard")
paper_row = "None"
