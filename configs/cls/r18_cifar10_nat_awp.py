# NAT-AWP of ResNet-18 on CIFAR-10: r18_cifar10_nat.py at weights perturbed to raise its
# whole loss, the nasty term included (the perturbation of Wu et al. 2020).
# Command: python tools/train.py configs/cls/r18_cifar10_nat_awp.py
# (Trains the adversary r18_cifar10_vt.py first, once.)
# Cost: 18 forwards and 14 backwards per image and step.
# Paper's number: none (the paper has no NAT with AWP); compare with r18_cifar10_nat.py and r18_cifar10_awp.py.
_base_ = ["r18_cifar10_nat.py"]
method = dict(_delete_=True, type="AWP", gamma=0.01, method=_base_.method)
