# The columns of the paper's Tables 1 and 2 at Linf 8/255: PGD-10/20/50/100 from one trajectory, C&W, AutoAttack.
# Command: python tools/test.py CONFIG CHECKPOINT --attacks configs/attacks/linf8_table.py
# Cost: up to 132 forwards per image and AutoAttack (thousands for an image that stays right).
# success = "any" counts an image broken at any step; "last" is the paper's convention.
threat = dict(type="Linf", eps=8 / 255)
success = "any"
attacks = [
    dict(type="PGD", steps=100, step_size=2 / 255, milestones=(10, 20, 50, 100)),
    # "C&W" in robustness tables is Linf PGD on the margin (docs/paper.md).
    dict(type="PGD", name="C&W", objective=dict(type="Margin"), steps=30, step_size=2 / 255),
    dict(type="AutoAttack"),
]
