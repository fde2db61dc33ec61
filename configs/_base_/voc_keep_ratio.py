# Pascal VOC as in voc.py, but with the shorter side at 600 pixels and proportions kept (RetinaNet, Faster R-CNN).
data = dict(
    train=dict(
        type="VOCDetection",
        root=["data/VOCdevkit/VOC2007", "data/VOCdevkit/VOC2012"],
        split="trainval",
        train=True,
        short=600,
        long=1000,
        threads=4,
    ),
    test=dict(type="VOCDetection", root="data/VOCdevkit/VOC2007", split="test", short=600, long=1000, threads=4),
    heldout=0,
    batch_size=16,
    num_workers=4,
    augments=[dict(type="BoxFlip")],
)
threat = dict(type="Linf", eps=8 / 255)
