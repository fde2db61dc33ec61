# PGD-20 alone at Linf 8/255, for large numbers of images: what to watch beside AutoAttack on fewer, never to claim by.
# Command: python tools/test.py CONFIG CHECKPOINT --attacks configs/attacks/linf8_pgd20.py
# Cost: up to 21 forwards and 20 backwards per image.
threat = dict(type="Linf", eps=8 / 255)
success = "any"
attacks = [dict(type="PGD", name="PGD-20", steps=20, step_size=2 / 255)]
