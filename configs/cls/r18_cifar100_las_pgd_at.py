# LAS-PGD-AT of ResNet-18 on CIFAR-100 (Jia et al. 2022): r18_cifar10_las_pgd_at.py with at most 12 steps of the attack
# and the true class's label at 0.6, as in LAS_AT_train_cifar100.py.
# Command: python tools/train.py configs/cls/r18_cifar100_las_pgd_at.py
# Cost: at most 16 forwards and 15 backwards per image and step.
# Paper's number (Table 2): clean 58.38, PGD-20 31.89, C&W 28.48, AA 26.84.
_base_ = ["r18_cifar10_las_pgd_at.py"]
task = dict(num_classes=100, label_smoothing=0.4 * 100 / 99)
data = dict(train=dict(type="CIFAR100"), test=dict(type="CIFAR100"))
method = dict(steps=list(range(3, 13)))
