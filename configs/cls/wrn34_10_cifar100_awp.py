# AT-AWP of WRN-34-10 on CIFAR-100 (Wu et al. 2020), with the settings of r18_cifar10_awp.py.
# Command: python tools/train.py configs/cls/wrn34_10_cifar100_awp.py
# Cost: 12 forwards and 12 backwards per image and step.
# Paper's number (Table 1): clean 60.38, PGD-20 33.86, C&W 31.12, AA 28.86.
_base_ = ["r18_cifar100_awp.py"]
task = dict(model="wrn_34_10")
