# NAT of ResNet-18 on CIFAR-10 with an ensemble as its adversary (App. I): the mean of the logits of a ResNet-18, a
# DenseNet-121 and a VGG-11, all vanilla; otherwise r18_cifar10_nat.py.
# Command: python tools/train.py configs/cls/r18_cifar10_nat_adv_ensemble.py
# (Trains the three adversaries r18_, densenet121_ and vgg11_cifar10_vt.py first, once.)
# Cost: 18 forwards and 12 backwards per image and step.
# Paper's number: none for this target; with WRN-34-10 as the target (Table 7): clean 88.94, PGD-20 67.34, C&W 67.84, AA
# 46.00.
_base_ = ["r18_cifar10_nat.py"]
method = dict(
    terms=[
        _base_.method.terms[0],
        dict(
            _base_.method.terms[1],
            adversary=dict(
                members=[
                    dict(config="configs/cls/r18_cifar10_vt.py"),
                    dict(config="configs/cls/densenet121_cifar10_vt.py"),
                    dict(config="configs/cls/vgg11_cifar10_vt.py"),
                ]
            ),
        ),
    ],
)
