# RSLAD of ResNet-18 from a WRN-34-10 trained by NAT, on CIFAR-10: does a nasty teacher teach?
# Command: python tools/train.py configs/cls/r18_cifar10_rslad_nat.py
# (Trains the teacher wrn34_10_cifar10_nat.py first, once; method.teacher.checkpoint=FILE takes trained weights.)
# Cost: 13 forwards and 12 backwards per image and step (one forward of the teacher, a WRN-34-10, included).
# Paper's number (Table 10, from a NAT teacher): clean 87.97, PGD-20 47.24, C&W 48.86, AA 42.64.
_base_ = ["r18_cifar10_rslad_at.py"]
method = dict(teacher=dict(config="configs/cls/wrn34_10_cifar10_nat.py"))
