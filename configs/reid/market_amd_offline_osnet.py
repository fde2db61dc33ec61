# AMD offline on Market-1501, OSNet-x0.25 for CPUs: clean images and adversarial copies of them, made once from the
# undefended model. The copies: IFGSM against the same identity, 10 steps of 1/255 within 8/255, before crop, flip and
# erasing; an image and its copy are one instance of a PK batch.
# Command: python tools/train.py configs/reid/market_amd_offline_osnet.py
# Cost: 2 forwards and 2 backwards per image and step. Paper's number: none (Table 12 is for a larger network).
_base_ = [
    "../_base_/models/osnet_x0_25_market1501.py",
    "../_base_/datasets/market1501.py",
    "../_base_/schedules/bot_120e.py",
    "../_base_/methods/amd_offline.py",
    "../_base_/reid_runtime.py",
]
data = dict(
    copies=dict(
        source=dict(config="configs/reid/market_base_osnet.py"),
        attack=dict(
            type="PGD", steps=10, step_size=1 / 255, random_start=False, objective=dict(type="IFGSM", guides="all")
        ),
    ),
)
