# AMD offline on a 16-identity part of MARS in Market's layout, OSNet-x0.25: clean images and adversarial copies of
# them, made once from the undefended model. The copies: IFGSM against the same identity, 10 steps of 1/255 within
# 8/255, before crop, flip and erasing; an image and its copy are one instance of a PK batch.
# Command: python tools/train.py configs/reid/mars_mini_amd_offline.py
# Cost: 2 forwards and 2 backwards per image and step. Paper's number: none (the paper does not use MARS).
_base_ = [
    "../_base_/models/osnet_x0_25_mars_mini.py",
    "../_base_/datasets/mars_mini.py",
    "../_base_/schedules/mars_mini_60e.py",
    "../_base_/methods/amd_offline.py",
    "../_base_/reid_runtime.py",
]
data = dict(
    copies=dict(
        source=dict(config="configs/reid/mars_mini_base.py"),
        attack=dict(
            type="PGD", steps=10, step_size=1 / 255, random_start=False, objective=dict(type="IFGSM", guides="all")
        ),
    ),
)
