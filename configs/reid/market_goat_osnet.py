# GOAT on Market-1501, OSNet-x0.25 for CPUs: adversarial images only, made on the current model in train mode within
# 5/255 (7 steps of 1/255), with four random images of the person as guides and the furthest one of the batch to pull
# to; model, loss and schedule of market_base_osnet.py.
# Command: python tools/train.py configs/reid/market_goat_osnet.py
# Cost: 13 forwards and 8 backwards per image and step. Paper's number: none (Table 12 has no GOAT).
_base_ = [
    "../_base_/models/osnet_x0_25_market1501.py",
    "../_base_/datasets/market1501.py",
    "../_base_/schedules/bot_120e.py",
    "../_base_/methods/goat.py",
    "../_base_/reid_runtime.py",
]
data = dict(
    train=dict(
        _delete_=True,
        type="WithGuides",
        dataset=dict(type="Market1501", root="data/Market-1501-v15.09.15", train=True, height=256, width=128),
    )
)
