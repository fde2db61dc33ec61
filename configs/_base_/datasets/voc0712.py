# Pascal VOC: 2007 and 2012 trainval to learn from, 2007 test to judge; the sizes of images and batches are left open.
data = dict(
    train=dict(
        type="VOCDetection",
        root=["data/VOCdevkit/VOC2007", "data/VOCdevkit/VOC2012"],
        split="trainval",
        train=True,
        threads=4,
    ),
    test=dict(type="VOCDetection", root="data/VOCdevkit/VOC2007", split="test", threads=4),
    heldout=0,
    num_workers=4,
)
threat = dict(type="Linf", eps=8 / 255)
