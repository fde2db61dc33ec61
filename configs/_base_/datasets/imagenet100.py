# ImageNet-100 (the list of Tian et al., tasks/cls/imagenet100.txt) as folders: data/imagenet/{train,val}/n*/.
data = dict(
    train=dict(type="ImageNet100", root="data/imagenet", train=True, threads=8),
    test=dict(type="ImageNet100", root="data/imagenet", train=False, threads=8),
    heldout=1000,
    batch_size=128,
    num_workers=8,
    augments=[dict(type="RandomResizedCrop", size=224), dict(type="RandomFlip")],
)
threat = dict(type="Linf", eps=0.03)
select = dict(
    attack=dict(type="PGD", objective=dict(type="Margin"), steps=10, step_size=2 / 255),
    batch_size=100,
)
