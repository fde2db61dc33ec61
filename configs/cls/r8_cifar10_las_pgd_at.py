# LAS-PGD-AT of ResNet-8 on 6,000 CIFAR-10 images with a ResNet-8 as the strategy, for CPUs: data and epochs of
# r8_cifar10_pgd_at.py. The strategy's rate is 50 times the original's, because it gets a fiftieth of its lessons.
# Command: python tools/train.py configs/cls/r8_cifar10_las_pgd_at.py
# Cost: at most 18 forwards and 17 backwards per image and step, about 20 minutes on one CPU thread.
# Paper's number: none (the small version of Table 2 for CPUs).
_base_ = [
    "../_base_/models/resnet8_cifar.py",
    "../_base_/datasets/cifar10_6k.py",
    "../_base_/schedules/sgd_cosine_10e.py",
    "../_base_/methods/las_pgd_at.py",
    "../_base_/default_runtime.py",
]
task = dict(label_smoothing=1 / 3)
method = dict(strategy=dict(model="resnet8_cifar"), lr=5e-3, copy_lr=0.05)
