# AT-AWP of WRN-34-10 on CIFAR-10 (Wu et al. 2020), with the settings of r18_cifar10_awp.py.
# Command: python tools/train.py configs/cls/wrn34_10_cifar10_awp.py
# Cost: 12 forwards and 12 backwards per image and step.
# Paper's number (Table 1): clean 85.57, PGD-20 58.13, C&W 56.03, AA 53.90.
_base_ = ["r18_cifar10_awp.py"]
task = dict(model="wrn_34_10")
