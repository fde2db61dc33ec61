# AT-AWP of ResNet-18 on CIFAR-10 (Wu et al. 2020): PGD adversarial training at adversarially perturbed weights.
# Command: python tools/train.py configs/cls/r18_cifar10_awp.py
# Cost: 12 forwards and 12 backwards per image and step.
# Paper's number (Table 2): clean 79.45, PGD-20 54.47, C&W 51.17, AA 49.40.
# Schedule, gamma and the inner attack in train mode are the original's (AT_AWP/train_cifar10.py); unlike there, the
# attack leaves no trace in the batch-norm statistics.
_base_ = [
    "../_base_/models/resnet18_cifar.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/awp_200e.py",
    "../_base_/methods/awp.py",
    "../_base_/default_runtime.py",
]
data = dict(batch_size=128)
method = dict(method=dict(attack=dict(bn_mode="train")))
