# A patch of 32x32 pixels on each query image (a thirty-second of 256x128), at a random place: the objectives of IFGSM
# and SMA, climbed inside the patch alone.
# Command: python tools/test.py configs/reid/market_base.py CHECKPOINT --attacks configs/attacks/patch_reid.py
# Cost: 2 x (52 forwards and 50 backwards) per query image at most, and one forward per gallery image in all.
custom_imports = dict(imports=["tasks.reid"])
threat = dict(type="Patch", height=32)
attacks = [
    dict(type="PatchPGD", name="Patch IFGSM", objective=dict(type="IFGSM")),
    dict(type="PatchPGD", name="Patch SMA", objective=dict(type="SMA")),
]
