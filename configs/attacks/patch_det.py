# A patch of 32x32 pixels on the image that the detector gets (padding aside): one square may become anything. It climbs
# the sum of the image's losses, at a random place and at the best of a grid.
# Command: python tools/test.py configs/det/ssd_digits_mtd.py CHECKPOINT --attacks configs/attacks/patch_det.py
# Cost: 50 forwards and 50 backwards at a random place, 66 and 50 on the grid, per image.
custom_imports = dict(imports=["tasks.det"])
threat = dict(type="Patch", height=32)
attacks = [
    dict(type="PatchPGD", name="Patch", objective=dict(type="ImageLoss")),
    dict(type="PatchPGD", name="Patch, grid", place="grid", grid=4, objective=dict(type="ImageLoss")),
]
