# A quick look at a re-identification model: FNA, SMA and IFGSM as in the paper's Table 12, at 8/255 alone.
# Command: python tools/test.py configs/reid/market_base.py CHECKPOINT --attacks configs/attacks/reid_quick.py
# Cost: 3 x (18 forwards and 16 backwards) per query image at most, and one forward per gallery image in all.
custom_imports = dict(imports=["tasks.reid"])
threat = dict(type="Linf", eps=8 / 255)
steps = dict(type="PGD", steps=16, step_size=1 / 255)
attacks = [
    dict(**steps, name="FNA", random_start=False, objective=dict(type="FNA")),
    dict(**steps, name="SMA", random_start=True, objective=dict(type="SMA")),
    dict(**steps, name="IFGSM", random_start=False, objective=dict(type="IFGSM")),
]
del steps
