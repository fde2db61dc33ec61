# The recipe of Wang et al. 2023 (DM-Improves-AT) for ResNet-8, for CPUs: TRADES with weight 5, smoothed labels,
# averaged weights, and 70 % generated images in each batch, beside the 6,000 of CIFAR-10. Epochs and schedule are those
# of r8_cifar10_pgd_at.py.
# Command: python tools/train.py configs/cls/r8_cifar10_edm.py
# (Put cifar10/1m.npz of DM-Improves-AT under data/edm/cifar10/, or set data.generated.path to another .npz with 'image'
# and 'label'; of 1M images 20,000 are drawn once.)
# Cost: 13 forwards and 12 backwards per image and step, about 20 minutes on one CPU thread.
# Paper's number: none (the small version of Table 3 for CPUs); compare with r8_cifar10_trades.py.
_base_ = [
    "../_base_/models/resnet8_cifar.py",
    "../_base_/datasets/cifar10_6k.py",
    "../_base_/schedules/sgd_cosine_10e.py",
    "../_base_/methods/edm.py",
    "../_base_/default_runtime.py",
]
task = dict(label_smoothing=0.1)
data = dict(
    generated=dict(type="NPZ", path="data/edm/cifar10/1m.npz", num_classes=10, count=20_000),
    sampler=dict(type="MixedSampler", fraction=0.7),
)
ema = dict(decay=0.995, warmup=0.025)
