# LAS-AWP of WRN-34-10 on CIFAR-100 (Jia et al. 2022): wrn34_10_cifar10_las_awp.py with at most 15 steps of the attack,
# a lesson every ten steps and its rewards weighed 1, 4 and 2, as in LAS_AWP_train_cifar100.py.
# Command: python tools/train.py configs/cls/wrn34_10_cifar100_las_awp.py
# Cost: at most 23 forwards and 21 backwards per image and step.
# Paper's number (Table 1): clean 64.89, PGD-20 36.36, C&W 33.92, AA 30.77.
_base_ = ["r18_cifar10_las_awp.py"]
task = dict(model="wrn_34_10", num_classes=100)
data = dict(train=dict(type="CIFAR100"), test=dict(type="CIFAR100"))
method = dict(method=dict(steps=list(range(8, 16)), interval=10, reward=(1.0, 4.0, 2.0)))
