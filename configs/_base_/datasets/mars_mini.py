# A small real set in Market-1501's layout: 16 training and 16 test identities of MARS (research use only; not
# shipped), at 128 x 64 to fit a CPU.
data = dict(
    train=dict(type="Market1501", root="data/mars_mini_marketstyle", train=True, height=128, width=64),
    test=dict(type="Market1501", root="data/mars_mini_marketstyle", train=False, height=128, width=64),
    heldout=0,
    batch_size=64,
    sampler=dict(type="IdentitySampler", instances=4),
    augments=[dict(type="RandomFlip"), dict(type="RandomCrop", padding=5), dict(type="RandomErasing")],
)
threat = dict(type="Linf", eps=8 / 255)
