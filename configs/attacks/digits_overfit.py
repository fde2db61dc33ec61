# One step against several, on the digits at eps 77/255: what tells catastrophic overfitting (G7).
# Command: python tools/test.py configs/cls/digits_pgd_at.py CHECKPOINT --attacks configs/attacks/digits_overfit.py
# Cost: about a minute on one CPU thread for all 360 test images.
threat = dict(type="Linf", eps=77 / 255)
success = "any"
attacks = [
    dict(type="FGSM"),
    dict(type="PGD", steps=50, milestones=(10, 50)),
    dict(type="AutoAttack"),
]
