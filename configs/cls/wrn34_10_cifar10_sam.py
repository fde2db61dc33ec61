# Sharpness-aware minimisation (Foret et al. 2021) of WRN-34-10 on CIFAR-10, on clean images: the "SAM" state of
# Table 8's adversary, otherwise trained as wrn34_10_cifar10_vt.py.
# Command: python tools/train.py configs/cls/wrn34_10_cifar10_sam.py
# Cost: 2 forwards and 2 backwards per image and step.
# Paper's number: none for this model (Table 8 has NAT with it as the adversary: clean 84.44, PGD-20 63.71, AA 47.69).
_base_ = ["wrn34_10_cifar10_vt.py"]
method = dict(_delete_=True, type="SAM", rho=0.05, method=dict(type="Standard"))
