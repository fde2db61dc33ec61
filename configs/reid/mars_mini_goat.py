# GOAT on a 16-identity part of MARS in Market's layout, OSNet-x0.25: adversarial images only, made on the current
# model in train mode within 5/255 (7 steps of 1/255), with four random images of the person as guides and the
# furthest one of the batch to pull to; model, loss and schedule of mars_mini_base.py.
# Command: python tools/train.py configs/reid/mars_mini_goat.py
# Cost: 13 forwards and 8 backwards per image and step. Paper's number: none (the paper does not use MARS).
_base_ = [
    "../_base_/models/osnet_x0_25_mars_mini.py",
    "../_base_/datasets/mars_mini.py",
    "../_base_/schedules/mars_mini_60e.py",
    "../_base_/methods/goat.py",
    "../_base_/reid_runtime.py",
]
data = dict(
    train=dict(
        _delete_=True,
        type="WithGuides",
        dataset=dict(type="Market1501", root="data/mars_mini_marketstyle", train=True, height=128, width=64),
    )
)
