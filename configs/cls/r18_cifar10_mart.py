# MART of ResNet-18 on CIFAR-10 (Wang et al. 2020): boosted cross-entropy on adversarial images, and the KL between the
# predictions on clean and adversarial images where the clean one is wrong.
# Command: python tools/train.py configs/cls/r18_cifar10_mart.py
# Cost: 12 forwards and 12 backwards per image and step.
# Paper's number (Table 2): clean 81.61, PGD-20 51.28, C&W 47.77, AA 46.09.
# The schedule, eps, step, start and weight are the original's (train_resnet.py), as are separate forwards of the two
# views; unlike there, the network normalises its inputs.
_base_ = [
    "../_base_/models/resnet18_cifar.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/mart_120e.py",
    "../_base_/methods/mart.py",
    "../_base_/default_runtime.py",
]
data = dict(batch_size=128)
method = dict(attack=dict(threat=dict(eps=0.031), step_size=0.007))
