# Few real photographs in Pascal VOC's layout, for CPUs: 108 images of VOC2012 and 197 of COCO with the boxes of VOC's
# classes (not shipped), 174 of them to learn from and 131 to judge, at 160 x 160. Those to learn from are read at twice
# that and resized last, since BoxZoom enlarges parts.
_roots = ["data/voc2012_108/VOCdevkit/VOC2012", "data/coco256_voc/VOCdevkit/VOC2012"]
data = dict(
    train=dict(type="VOCDetection", root=_roots, split="train", train=True, size=(320, 320)),
    test=dict(type="VOCDetection", root=_roots, split="val", size=(160, 160)),
    heldout=0,
    batch_size=16,
    augments=[dict(type="BoxZoom", out=1.5, inside=0.5), dict(type="BoxFlip"), dict(type="BoxResize", size=(160, 160))],
)
threat = dict(type="Linf", eps=8 / 255)
