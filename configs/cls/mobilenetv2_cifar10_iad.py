# IAD of MobileNetV2 from a WRN-34-10 trained by TRADES, on CIFAR-10.
# Command: python tools/train.py configs/cls/mobilenetv2_cifar10_iad.py
# (Trains the teacher wrn34_10_cifar10_trades.py first, once; method.teacher.checkpoint=FILE takes trained weights.)
# Cost: 14 forwards and 12 backwards per image and step (two forwards of the teacher, a WRN-34-10, included).
# Paper's number (Table 5, black-box: PGD and C&W from another model, Square): 61.57, 61.25, 55.45;
# its ResNet-18 (62.78, 62.26, 56.62) is r18_cifar10_iad_at.py with this teacher. The paper follows RSLAD's setting
# and names no teacher: this is RSLAD's.
_base_ = ["r18_cifar10_iad_at.py"]
task = dict(model="mobilenetv2_cifar")
method = dict(teacher=dict(config="configs/cls/wrn34_10_cifar10_trades.py"))
