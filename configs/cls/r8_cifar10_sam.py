# Sharpness-aware minimisation (Foret et al. 2021) of ResNet-8 on 6,000 CIFAR-10 images, for CPUs, on clean images: the
# "SAM" state of an adversary (Table 8), otherwise trained as r8_cifar10_vt.py.
# Command: python tools/train.py configs/cls/r8_cifar10_sam.py
# Cost: 2 forwards and 2 backwards per image and step, about two minutes on one CPU thread.
# Paper's number: none for this model.
_base_ = ["r8_cifar10_vt.py"]
method = dict(_delete_=True, type="SAM", rho=0.05, method=dict(type="Standard"))
