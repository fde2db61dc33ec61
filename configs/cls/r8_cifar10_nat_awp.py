# NAT-AWP of ResNet-8 on 6,000 CIFAR-10 images, for CPUs: r8_cifar10_nat.py at weights perturbed to raise its
# whole loss, the nasty term included (the perturbation of Wu et al. 2020).
# Command: python tools/train.py configs/cls/r8_cifar10_nat_awp.py
# (Trains the adversary r8_cifar10_vt.py first, once.)
# Cost: 18 forwards and 14 backwards per image and step, about 25 minutes on one CPU thread.
# Paper's number: none (the paper has no NAT with AWP); compare with r8_cifar10_nat.py and r8_cifar10_awp.py.
_base_ = ["r8_cifar10_nat.py"]
method = dict(_delete_=True, type="AWP", gamma=0.01, method=_base_.method)
