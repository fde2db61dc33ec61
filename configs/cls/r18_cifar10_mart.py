# MART of ResNet-18 on CIFAR-10 (Wang et al. 2020): boosted cross-entropy on adversarial images, and the KL between the
# predictions on clean and adversarial images where the clean one is wrong.
# Command: python tools/train.py configs/cls/r18_cifar10_mart.py
# Cost: 12 forwards and 12 backwards per image and step.
# Paper's number (Table 2): clean 81.61, PGD-20 51.28, C&W 47.77, AA 46.09.
# The schedule, eps, step, start and weight are the original's (train_resnet.py), as are separate forwards of the two
# views; unlike there, the network normalises its inputs.
_base_ = ["../_base_/runtime.py", "../_base_/cifar10.py", "../_base_/mart_schedule.py"]
task = dict(type="ClassificationTask", model="resnet18_cifar", num_classes=10, channels_last=True)
data = dict(batch_size=128)
method = dict(
    type="Adversarial",
    views=("clean", "adv"),
    attack=dict(type="PGD", threat=dict(type="Linf", eps=0.031), steps=10, step_size=0.007, random_start="normal"),
    terms=[dict(type="MART", weight=5.0)],
    joint_batch=False,
)
