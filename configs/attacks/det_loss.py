# loss_cls and loss_loc of Table 13: PGD on one of the detector's two losses, 20 steps within 8/255.
# Command: python tools/test.py configs/det/ssd_digits_mtd.py CHECKPOINT --attacks configs/attacks/det_loss.py
# Cost: 2 x (21 forwards and 20 backwards) per image.
custom_imports = dict(imports=["tasks.det"])
threat = dict(type="Linf", eps=8 / 255)
attacks = [
    dict(type="PGD", name="loss_cls", steps=20, step_size=2 / 255, objective=dict(type="ImageLoss", name="loss_cls")),
    dict(type="PGD", name="loss_loc", steps=20, step_size=2 / 255, objective=dict(type="ImageLoss", name="loss_bbox")),
]
