# LAS-PGD-AT of WRN-34-10 on CIFAR-10 (Jia et al. 2022), the original's own setting; see r18_cifar10_las_pgd_at.py.
# Command: python tools/train.py configs/cls/wrn34_10_cifar10_las_pgd_at.py
# Cost: at most 18 forwards and 17 backwards per image and step.
# Paper's number: none (Table 1 has LAS-AWP only).
_base_ = ["r18_cifar10_las_pgd_at.py"]
task = dict(model="wrn_34_10")
