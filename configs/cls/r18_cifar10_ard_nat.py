# ARD of ResNet-18 from a WRN-34-10 trained by NAT, on CIFAR-10: does a nasty teacher teach?
# Command: python tools/train.py configs/cls/r18_cifar10_ard_nat.py
# (Trains the teacher wrn34_10_cifar10_nat.py first, once; method.teacher.checkpoint=FILE takes trained weights.)
# Cost: 12 forwards and 11 backwards per image and step (one forward of the teacher, a WRN-34-10, included).
# Paper's number (Table 10, from a NAT teacher): clean 77.67, PGD-20 37.52, C&W 38.78, AA 30.43.
_base_ = ["r18_cifar10_ard_at.py"]
method = dict(teacher=dict(config="configs/cls/wrn34_10_cifar10_nat.py"))
