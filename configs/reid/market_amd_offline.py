# AMD offline on Market-1501, ResNet-50: clean images and adversarial copies of them, made once from the undefended
# model. The copies: IFGSM against the same identity, 10 steps of 1/255 within 8/255, before crop, flip and erasing; an
# image and its copy are one instance of a PK batch.
# Command: python tools/train.py configs/reid/market_amd_offline.py
# Cost: 2 forwards and 2 backwards per image and step. Paper's number: 69.69/88.24 clean, 8.57/18.14 under FNA 8/255
# (mAP/Rank-1, Table 12, AMD).
_base_ = [
    "../_base_/models/bot_resnet50.py",
    "../_base_/datasets/market1501.py",
    "../_base_/schedules/bot_120e.py",
    "../_base_/methods/amd_offline.py",
    "../_base_/reid_runtime.py",
]
data = dict(
    copies=dict(
        source=dict(config="configs/reid/market_base.py"),
        attack=dict(
            type="PGD", steps=10, step_size=1 / 255, random_start=False, objective=dict(type="IFGSM", guides="all")
        ),
    ),
)
paper_row = None
