# 100 classes of Tiny-ImageNet as folders (not shipped), read at 40 x 40 for CPUs.
data = dict(
    train=dict(type="ImageFolder", root="data/tinyimagenet100_imagefolder/train", train=True, image_size=40, resize=40),
    test=dict(type="ImageFolder", root="data/tinyimagenet100_imagefolder/val", image_size=40, resize=40),
    heldout=0,
    batch_size=128,
    augments=[dict(type="RandomCrop", padding=4), dict(type="RandomFlip")],
)
threat = dict(type="Linf", eps=4 / 255)
