# LBGAT0 of ResNet-18 on CIFAR-10 (Cui et al. 2021): the logits on adversarial images follow those of a second ResNet-18
# that learns the clean images alongside; attacked as TRADES does.
# Command: python tools/train.py configs/cls/r18_cifar10_lbgat.py
# Cost: 14 forwards and 12 backwards per image and step, of which the natural network takes 1 and 1; the clean view is
# in no loss and gets no backward.
# Paper's number (Table 2): clean 85.73, PGD-20 52.05, C&W 50.63, AA 49.04.
# Schedule, eps, step, start and the forwards view by view are the original's (train_lbgat_cifar100.py with --beta 0);
# batch norm sees the clean view too. Unlike there, both networks normalise their inputs.
_base_ = [
    "../_base_/models/resnet18_cifar.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/lbgat_100e.py",
    "../_base_/methods/lbgat.py",
    "../_base_/default_runtime.py",
]
data = dict(batch_size=128)
method = dict(attack=dict(threat=dict(eps=0.031), step_size=0.007))
