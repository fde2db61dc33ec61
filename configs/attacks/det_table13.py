# The columns of the paper's Table 13: PGD on the classification loss and on the localisation loss, DAG and RAP, all
# within Linf 8/255 in pixel space, so that they can be compared.
# Command: python tools/test.py configs/det/ssd300_voc_mtd.py CHECKPOINT --attacks configs/attacks/det_table13.py
# Cost: 2 x (20 forwards and 20 backwards) for the losses; up to 150 and 200 of each for DAG and RAP (and one
# forward more); per image.
custom_imports = dict(imports=["tasks.det"])
threat = dict(type="Linf", eps=8 / 255)
on_unsupported = "skip"  # DAG needs two classes, DAG and RAP priors or proposals
attacks = [
    dict(type="PGD", name="loss_cls", steps=20, step_size=2 / 255, objective=dict(type="ImageLoss", name="loss_cls")),
    dict(type="PGD", name="loss_loc", steps=20, step_size=2 / 255, objective=dict(type="ImageLoss", name="loss_bbox")),
    dict(type="DAG", confidence=0.8),
    dict(type="RAP"),
]
# Table 13 as printed (VOC 2007 test, mAP), shown beside the results of a config with one of these as paper_row.
columns = ["Clean", "loss_cls", "loss_loc", "DAG", "RAP"]
rows = {
    "Standard": ["72.1", "1.5", "0.0", "0.3", "0.6"],
    "MTD": ["47.2", "28.2", "30.7", "26.7", "43.5"],
    "MTD&NAT": ["48.4", "30.7", "31.3", "27.8", "44.7"],
}
paper = {name: dict(zip(columns, cells)) for name, cells in rows.items()}
del columns, rows
