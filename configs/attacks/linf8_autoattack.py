# Standard AutoAttack alone at Linf 8/255, as RobustBench runs it.
# Command: python tools/test.py CONFIG CHECKPOINT --attacks configs/attacks/linf8_autoattack.py
# Cost: thousands of forwards for an image that stays right.
threat = dict(type="Linf", eps=8 / 255)
attacks = [dict(type="AutoAttack")]
