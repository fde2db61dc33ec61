# COCO 2017: the 80 classes of its own file, the shorter side at 800 pixels and proportions kept.
data = dict(
    train=dict(
        type="CocoDetection",
        annotations="data/coco/annotations/instances_train2017.json",
        images="data/coco/train2017",
        train=True,
        short=800,
        long=1333,
        threads=4,
    ),
    test=dict(
        type="CocoDetection",
        annotations="data/coco/annotations/instances_val2017.json",
        images="data/coco/val2017",
        short=800,
        long=1333,
        threads=4,
    ),
    heldout=0,
    num_workers=4,
    batch_size=16,
    augments=[dict(type="BoxFlip")],
)
threat = dict(type="Linf", eps=8 / 255)
