# What do attacks find that know the defence? The pool of linf8_adaptive.py on the models of cifar10_small.py, first
# seed: Eq. 14 with both signs and three weights through the vanilla adversary, margins, rescaled logits, targets,
# momentum, Auto-PGD, and starts that come from the vanilla net and from PGD-AT on adversarial images.
# Command: python tools/study.py configs/studies/adaptive_small.py --work-dir work_dirs/cifar10_small
# Cost: the trainings of cifar10_small.py where they are missing; about 5 minutes a model on one CPU thread.
# Paper's number: none (the small version of Table 6, with further attacks).
title = "Adaptive attacks: ResNet-8 on CIFAR-10, Linf 8/255"
seeds = [0]
subset = 200
attacks = "configs/attacks/r8_adaptive.py"
rows = dict(
    vt=dict(name="Vanilla", config="configs/cls/r8_cifar10_vt.py", report="adaptive"),
    pgd_at=dict(name="PGD-AT (adversarial only)", config="configs/cls/r8_cifar10_pgd_at.py", report="adaptive"),
    pgd_at_union=dict(name="PGD-AT (union)", config="configs/cls/r8_cifar10_pgd_at_union.py", report="adaptive"),
    nat_w0006=dict(
        name="NAT, weight 0.006", config="configs/cls/r8_cifar10_nat_w0006.py", adversary="vt", report="adaptive"
    ),
    nat=dict(name="NAT, weight 0.06", config="configs/cls/r8_cifar10_nat.py", adversary="vt", report="adaptive"),
)
