# RSLAD of MobileNetV2 from a WRN-34-10 trained by TRADES, on CIFAR-10.
# Command: python tools/train.py configs/cls/mobilenetv2_cifar10_rslad.py
# (Trains the teacher wrn34_10_cifar10_trades.py first, once; method.teacher.checkpoint=FILE takes trained weights.)
# Cost: 13 forwards and 12 backwards per image and step (one forward of the teacher, a WRN-34-10, included).
# Paper's number (Table 5, black-box: PGD and C&W from another model, Square): 63.30, 63.20, 56.70;
# its ResNet-18 (64.11, 63.84, 57.90) is r18_cifar10_rslad_at.py with this teacher. The paper follows RSLAD's setting
# and names no teacher: this is RSLAD's.
_base_ = ["r18_cifar10_rslad_at.py"]
task = dict(model="mobilenetv2_cifar")
method = dict(teacher=dict(config="configs/cls/wrn34_10_cifar10_trades.py"))
