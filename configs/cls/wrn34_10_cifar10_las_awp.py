# LAS-AWP of WRN-34-10 on CIFAR-10 (Jia et al. 2022), the original's own setting; see r18_cifar10_las_awp.py.
# Command: python tools/train.py configs/cls/wrn34_10_cifar10_las_awp.py
# Cost: at most 61 forwards and 56 backwards per image and step.
# Paper's number (Table 1): clean 87.74, PGD-20 60.16, C&W 58.22, AA 55.52.
_base_ = ["r18_cifar10_las_awp.py"]
task = dict(model="wrn_34_10")
