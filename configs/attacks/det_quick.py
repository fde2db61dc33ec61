# The columns of Table 13 with fewer steps, for a demo: PGD on the classification loss and on the localisation loss with
# 10 steps, DAG and RAP with at most 50, all within Linf 8/255 in pixel space. Weaker than det_table13.py.
# Command: python tools/test.py configs/det/ssd_digits_mtd.py CHECKPOINT --attacks configs/attacks/det_quick.py
# Cost: 2 x (10 forwards and 10 backwards) for the losses; up to 50 of each for DAG and RAP; per image.
custom_imports = dict(imports=["tasks.det"])
threat = dict(type="Linf", eps=8 / 255)
on_unsupported = "skip"  # DAG needs two classes, DAG and RAP priors or proposals
attacks = [
    dict(type="PGD", name="loss_cls", steps=10, step_size=2 / 255, objective=dict(type="ImageLoss", name="loss_cls")),
    dict(type="PGD", name="loss_loc", steps=10, step_size=2 / 255, objective=dict(type="ImageLoss", name="loss_bbox")),
    dict(type="DAG", steps=50, step_size=1 / 255, confidence=0.8),
    dict(type="RAP", steps=50),
]
