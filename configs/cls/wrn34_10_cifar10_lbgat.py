# LBGAT0 of WRN-34-10 on CIFAR-10 (Cui et al. 2021), beside a natural ResNet-18; see r18_cifar10_lbgat.py.
# Command: python tools/train.py configs/cls/wrn34_10_cifar10_lbgat.py
# Cost: 14 forwards and 12 backwards per image and step, of which the natural network takes 1 and 1.
# Paper's number (Table 1): clean 88.22, PGD-20 54.66, C&W 54.29, AA 52.23.
_base_ = ["r18_cifar10_lbgat.py"]
task = dict(model="wrn_34_10")
