# scikit-learn's handwritten digits: 8x8 real images that ship with scikit-learn, 1437 for training, 360 for testing.
data = dict(
    train=dict(type="Digits", train=True),
    test=dict(type="Digits", train=False),
    heldout=144,
    batch_size=64,
)
threat = dict(type="Linf", eps=51 / 255)
