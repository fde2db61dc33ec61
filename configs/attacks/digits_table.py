# The columns of Tables 1 and 2 for the digits: eps 51/255 (at 8/255 even a vanilla net stays unbroken there).
# Command: python tools/test.py configs/cls/digits_nat.py CHECKPOINT --attacks configs/attacks/digits_table.py
# Cost: about a minute on one CPU thread for all 360 test images.
threat = dict(type="Linf", eps=51 / 255)
success = "any"
attacks = [
    dict(type="PGD", steps=100, step_size=51 / 255 / 4, milestones=(10, 20, 50, 100)),
    dict(type="PGD", name="C&W", objective=dict(type="Margin"), steps=30, step_size=51 / 255 / 4),
    dict(type="AutoAttack"),
]
