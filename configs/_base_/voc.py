# Pascal VOC: 2007 and 2012 trainval to learn from, 2007 test to judge; images become 300 x 300 as SSD does.
data = dict(
    train=dict(
        type="VOCDetection",
        root=["data/VOCdevkit/VOC2007", "data/VOCdevkit/VOC2012"],
        split="trainval",
        train=True,
        size=(300, 300),
        threads=4,
    ),
    test=dict(type="VOCDetection", root="data/VOCdevkit/VOC2007", split="test", size=(300, 300), threads=4),
    heldout=0,
    batch_size=32,
    num_workers=4,
    augments=[dict(type="BoxZoom", out=4.0, inside=0.3), dict(type="BoxFlip")],
)
threat = dict(type="Linf", eps=8 / 255)
