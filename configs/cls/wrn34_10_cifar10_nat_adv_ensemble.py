# NAT of WRN-34-10 on CIFAR-10 with an ensemble as its adversary (App. I): the mean of the logits of a ResNet-18, a
# DenseNet-121 and a VGG-11, all vanilla; otherwise wrn34_10_cifar10_nat.py.
# Command: python tools/train.py configs/cls/wrn34_10_cifar10_nat_adv_ensemble.py
# (Trains the three adversaries r18_, densenet121_ and vgg11_cifar10_vt.py first, once.)
# Cost: 18 forwards and 12 backwards per image and step.
# Paper's number (Table 7): clean 88.94, PGD-20 67.34, C&W 67.84, AA 46.00.
_base_ = ["r18_cifar10_nat_adv_ensemble.py"]
task = dict(model="wrn_34_10")
