# ARD of MobileNetV2 from a WRN-34-10 trained by TRADES, on CIFAR-10.
# Command: python tools/train.py configs/cls/mobilenetv2_cifar10_ard.py
# (Trains the teacher wrn34_10_cifar10_trades.py first, once; method.teacher.checkpoint=FILE takes trained weights.)
# Cost: 12 forwards and 11 backwards per image and step (one forward of the teacher, a WRN-34-10, included).
# Paper's number (Table 5, black-box: PGD and C&W from another model, Square): 62.13, 61.85, 55.60;
# its ResNet-18 (63.49, 63.05, 56.89) is r18_cifar10_ard_at.py with this teacher. The paper follows RSLAD's setting
# and names no teacher: this is RSLAD's.
_base_ = ["r18_cifar10_ard_at.py"]
task = dict(model="mobilenetv2_cifar")
method = dict(teacher=dict(config="configs/cls/wrn34_10_cifar10_trades.py"))
