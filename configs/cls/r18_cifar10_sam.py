# Sharpness-aware minimisation (Foret et al. 2021) of ResNet-18 on CIFAR-10, on clean images: the "SAM" state of
# an adversary (Table 8), otherwise trained as r18_cifar10_vt.py.
# Command: python tools/train.py configs/cls/r18_cifar10_sam.py
# Cost: 2 forwards and 2 backwards per image and step.
# Paper's number: none for this model (Table 8 is about WRN-34-10).
_base_ = ["r18_cifar10_vt.py"]
method = dict(_delete_=True, type="SAM", rho=0.05, method=dict(type="Standard"))
