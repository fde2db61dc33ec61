# Undefended person re-identification on Market-1501, OSNet-x0.25 for CPUs: identity and triplet loss on clean images
# (BoT).
# Command: python tools/train.py configs/reid/market_base_osnet.py
# Cost: 1 forward and 1 backward per image and step. Paper's number: none (Table 12 is for a larger network).
_base_ = [
    "../_base_/models/osnet_x0_25_market1501.py",
    "../_base_/datasets/market1501.py",
    "../_base_/schedules/bot_120e.py",
    "../_base_/reid_runtime.py",
]
method = dict(type="Standard")
