# A patch of 8x8 pixels on images of 32x32 (CIFAR): one square of the image may become anything, the rest stays. No norm
# ball: the figures say nothing of Linf or L2, nor theirs of a patch. At random places, and at the best of a grid.
# Command: python tools/test.py configs/cls/r8_cifar10_nat.py CHECKPOINT --attacks configs/attacks/patch_cls.py
# Cost: 250 forwards and 250 backwards for five random places, 125 and 100 for each grid, at most, per image.
threat = dict(type="Patch", height=8, image=32)
success = "any"
attacks = [
    dict(type="PatchPGD", name="Patch, 5 places", restarts=5),
    dict(type="PatchPGD", name="Patch, grid", place="grid", grid=5, restarts=2),
    dict(type="PatchPGD", name="Patch C&W, grid", place="grid", grid=5, restarts=2, objective=dict(type="Margin")),
]
