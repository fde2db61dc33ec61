# Market-1501 at 256 x 128 with BoT's augmentation and PK batches (reid-strong-baseline). No images are held out: the
# data set has no validation identities and the field reports the last epoch.
data = dict(
    train=dict(type="Market1501", root="data/Market-1501-v15.09.15", train=True, height=256, width=128),
    test=dict(type="Market1501", root="data/Market-1501-v15.09.15", train=False, height=256, width=128),
    heldout=0,
    batch_size=64,
    num_workers=4,
    sampler=dict(type="IdentitySampler", instances=4),
    augments=[dict(type="RandomFlip"), dict(type="RandomCrop", padding=10), dict(type="RandomErasing")],
)
threat = dict(type="Linf", eps=8 / 255)
