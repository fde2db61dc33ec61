# patch_cls.py for the digits: a patch of 3x3 pixels on images of 8x8 (a seventh of the image, not a sixteenth).
# Command: python tools/test.py configs/cls/digits_nat.py CHECKPOINT --attacks configs/attacks/patch_digits.py
# Cost: 250 forwards and 250 backwards for five random places, 136 and 100 for each grid, at most, per image: seconds.
threat = dict(type="Patch", height=3, image=8)
success = "any"
attacks = [
    dict(type="PatchPGD", name="Patch, 5 places", restarts=5),
    dict(type="PatchPGD", name="Patch, grid", place="grid", grid=6, restarts=2),
    dict(type="PatchPGD", name="Patch C&W, grid", place="grid", grid=6, restarts=2, objective=dict(type="Margin")),
]
