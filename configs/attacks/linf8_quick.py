# A quick look at a CIFAR model at Linf 8/255: one trajectory for PGD-10 and PGD-20, and C&W. No AutoAttack: use it to
# watch, never to claim.
# Command: python tools/test.py CONFIG CHECKPOINT --attacks configs/attacks/linf8_quick.py
# Cost: up to 51 forwards and 50 backwards per image.
threat = dict(type="Linf", eps=8 / 255)
success = "any"
attacks = [
    dict(type="PGD", steps=20, step_size=2 / 255, milestones=(10, 20)),
    dict(type="PGD", name="C&W", objective=dict(type="Margin"), steps=30, step_size=2 / 255),
]
