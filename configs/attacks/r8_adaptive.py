# linf8_adaptive.py for the ResNet-8 models on 6,000 CIFAR-10 images: the same attacks, with sources of that size.
# Command: python tools/test.py CONFIG CHECKPOINT --attacks configs/attacks/r8_adaptive.py
# (After python tools/train.py configs/cls/r8_cifar10_vt.py and python tools/train.py configs/cls/r8_cifar10_pgd_at.py.)
# Cost: up to about 2,600 forwards and as many backwards per image, 300 of each through other networks.
_base_ = ["linf8_adaptive.py"]
sources = dict(
    vanilla=dict(config="configs/cls/r8_cifar10_vt.py", checkpoint="work_dirs/r8_cifar10_vt/best.safetensors"),
    robust=dict(config="configs/cls/r8_cifar10_pgd_at.py", checkpoint="work_dirs/r8_cifar10_pgd_at/best.safetensors"),
)
