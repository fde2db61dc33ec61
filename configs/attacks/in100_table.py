# The columns of the paper's Table 4 (ImageNet-100): eps 0.03 (7.65/255), step 2/255.
# Command: python tools/test.py configs/cls/vit_s_in100_nat.py CHECKPOINT --attacks configs/attacks/in100_table.py
# Cost: as linf8_table.py, at 224x224.
threat = dict(type="Linf", eps=0.03)
success = "any"
attacks = [
    dict(type="PGD", steps=100, step_size=2 / 255, milestones=(10, 20, 50, 100)),
    # "C&W" in robustness tables is Linf PGD on the margin (docs/paper.md).
    dict(type="PGD", name="C&W", objective=dict(type="Margin"), steps=30, step_size=2 / 255),
    dict(type="AutoAttack"),
]
