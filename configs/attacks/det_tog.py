# TOG (Chow et al. 2020): objects vanish, appear everywhere, or are taken for others, by the detector's own losses on
# exchanged objects; ten steps of 2/255 from a random start within 8/255, as in the authors' code. Mislabelling is not
# applicable to detectors of one class, nor towards likely classes to others than SSD, RetinaNet and Faster R-CNN.
# Command: python tools/test.py configs/det/ssd_digits_mtd.py CHECKPOINT --attacks configs/attacks/det_tog.py
# Cost: 2 x (10 forwards and 10 backwards); 11 and 10, and twice 12 and 10, for mislabelling; per image.
custom_imports = dict(imports=["tasks.det"])
threat = dict(type="Linf", eps=8 / 255)
on_unsupported = "skip"
ten = dict(type="PGD", steps=10, step_size=2 / 255)
attacks = [
    dict(**ten, name="Vanishing", objective=dict(type="TOGVanishing")),
    dict(**ten, name="Fabrication", objective=dict(type="TOGFabrication")),
    dict(**ten, name="Mislabelling", objective=dict(type="TOGMislabelling")),
    dict(**ten, name="Mislabelling, likely", objective=dict(type="TOGMislabelling", target="likely")),
    dict(**ten, name="Mislabelling, unlikely", objective=dict(type="TOGMislabelling", target="unlikely")),
]
del ten
