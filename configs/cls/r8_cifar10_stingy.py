# Distillation of ResNet-8 from a stingy ResNet-8 trained by PGD-AT, which shows the 2 largest of its 10 logits (Ma et
# al. 2022), on clean images: 6,000 of CIFAR-10, for CPUs. r8_cifar10_kd.py shows all of them (at temperature 4).
# Command: python tools/train.py configs/cls/r8_cifar10_stingy.py
# (Trains the teacher r8_cifar10_pgd_at.py first, once.)
# Cost: 2 forwards and 1 backward per image and step, about a minute on one CPU thread.
# Paper's number: none (the property that Sec. 2.1 and App. J are about, at the size of a CPU).
_base_ = ["r8_cifar10_kd.py"]
method = dict(method=dict(terms=[dict(type="KD", weight=0.9, temperature=20.0, keep=0.2)]))
