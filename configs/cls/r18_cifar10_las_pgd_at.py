# LAS-PGD-AT of ResNet-18 on CIFAR-10 (Jia et al. 2022): a second ResNet-18 chooses eps, steps and step size of the
# attack on each image, and learns from what they are worth to the target.
# Command: python tools/train.py configs/cls/r18_cifar10_las_pgd_at.py
# Cost: at most 18 forwards and 17 backwards per image and step (14 steps of the attack, the strategy network, and a
# twentieth of a lesson: an attack, a step of a copy, PGD-10 twice); with all options alike likely, about 12 and 11.
# Paper's number (Table 2): clean 82.39, PGD-20 53.70, C&W 51.96, AA 49.94.
# Options, rewards, rates and schedule are the original's (LAS_AT_train_cifar10.py and its README), as is the true
# class's label of 0.7, which is a smoothing of 1/3. Unlike there, the networks normalise their inputs.
_base_ = [
    "../_base_/models/resnet18_cifar.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/las_110e.py",
    "../_base_/methods/las_pgd_at.py",
    "../_base_/default_runtime.py",
]
task = dict(label_smoothing=1 / 3)
data = dict(batch_size=128)
