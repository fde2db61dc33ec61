# IAD of ResNet-18 from a WRN-34-10 trained by NAT, on CIFAR-10: does a nasty teacher teach?
# Command: python tools/train.py configs/cls/r18_cifar10_iad_nat.py
# (Trains the teacher wrn34_10_cifar10_nat.py first, once; method.teacher.checkpoint=FILE takes trained weights.)
# Cost: 14 forwards and 12 backwards per image and step (two forwards of the teacher, a WRN-34-10, included).
# Paper's number (Table 10, from a NAT teacher): clean 74.29, PGD-20 41.61, C&W 43.39, AA 36.25.
_base_ = ["r18_cifar10_iad_at.py"]
method = dict(teacher=dict(config="configs/cls/wrn34_10_cifar10_nat.py"))
