# A small real set in Market-1501's layout: 16 training and 16 test identities of MARS (research use only; not shipped).
data = dict(
    train=dict(type="Market1501", root="data/mars_mini_marketstyle", train=True, height=256, width=128),
    test=dict(type="Market1501", root="data/mars_mini_marketstyle", train=False, height=256, width=128),
    heldout=0,
    batch_size=64,
    sampler=dict(type="IdentitySampler", instances=4),
    augments=[dict(type="RandomFlip"), dict(type="RandomCrop", padding=10), dict(type="RandomErasing")],
)
threat = dict(type="Linf", eps=8 / 255)
task = dict(type="ReIDTask", model="osnet_x0_25", num_classes=16, height=256, width=128, channels_last=True)
