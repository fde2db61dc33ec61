# Adversarial training of WRN-34-10 on CIFAR-10 and 1M images of a diffusion model (EDM), the recipe of Wang et al. 2023
# (DM-Improves-AT): TRADES with weight 5 and smoothed labels, 70 % generated images in each batch, averaged weights.
# Command: python tools/train.py configs/cls/wrn34_10_cifar10_edm1m.py
# (Get cifar10/1m.npz from the data published with DM-Improves-AT and put it under data/edm/cifar10/; 3 GB in memory.)
# Cost: 13 forwards and 12 backwards per image and step, 600 epochs of 49 steps of 1024 images.
# Paper's number (Table 3): none for this model; WRN-28-10 with this recipe, batch 1024, 800 epochs: clean 91.43, AA
# 63.96.
# As the original: SiLU, the schedule, the inner attack (uniform start, batch norm on batch statistics), two forwards,
# the choice of the checkpoint by PGD-40 on the margin. Not as there: the network is natx's WRN, with symmetric padding
# where the original pads strided convolutions on the right and bottom only, batch-norm momentum 0.1 instead of 0.01,
# and 1,024 held-out images balanced by class instead of the first ones. Their weights do not load into it.
_base_ = [
    "../_base_/models/wrn34_10_silu_cifar.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/edm_600e.py",
    "../_base_/methods/edm.py",
    "../_base_/default_runtime.py",
]
task = dict(label_smoothing=0.1)
data = dict(
    batch_size=1024,
    generated=dict(type="NPZ", path="data/edm/cifar10/1m.npz", num_classes=10),
    sampler=dict(type="MixedSampler", fraction=0.7),
)
select = dict(attack=dict(steps=40))
