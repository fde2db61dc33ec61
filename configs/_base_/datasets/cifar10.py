# CIFAR-10 in torchvision's layout under data/; random crop (pad 4) and flip on the batch; eps 8/255.
data = dict(
    train=dict(type="CIFAR10", root="data", train=True),
    test=dict(type="CIFAR10", root="data", train=False),
    heldout=1024,
    batch_size=512,
    augments=[dict(type="RandomCrop", padding=4), dict(type="RandomFlip")],
)
threat = dict(type="Linf", eps=8 / 255)
select = dict(
    attack=dict(type="PGD", objective=dict(type="Margin"), steps=10, step_size=2 / 255),
)
