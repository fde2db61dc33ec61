# LBGAT6 of WRN-34-10 on CIFAR-100 (Cui et al. 2021), beside a natural ResNet-18: the original's own setting.
# Command: python tools/train.py configs/cls/wrn34_10_cifar100_lbgat.py
# Cost: 14 forwards and 13 backwards per image and step, of which the natural network takes 1 and 1.
# Paper's number (Table 1): clean 60.64, PGD-20 34.75, C&W 30.65, AA 29.33.
_base_ = ["r18_cifar100_lbgat.py"]
task = dict(model="wrn_34_10")
