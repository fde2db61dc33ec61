# LBGAT0 of ResNet-8 on 6,000 CIFAR-10 images beside a natural ResNet-8, for CPUs: data, epochs and eps of
# r8_cifar10_pgd_at.py.
# Command: python tools/train.py configs/cls/r8_cifar10_lbgat.py
# Cost: 14 forwards and 12 backwards per image and step, about 20 minutes on one CPU thread.
# Paper's number: none (the small version of Table 2 for CPUs).
_base_ = ["r8_cifar10_pgd_at.py"]
method = dict(
    views=("clean", "adv"),
    attack=dict(objective=dict(type="KL"), random_start="normal"),
    terms=[
        dict(
            type="LBGAT",
            natural=dict(type="ClassificationTask", model="resnet8_cifar", num_classes=10, channels_last=True),
        )
    ],
    joint_batch=False,
)
