# Does the nasty term help at equal cost? ResNet-8 on 6,000 CIFAR-10 images: vanilla, PGD-AT on adversarial images,
# PGD-AT on the union, and NAT in both readings of the paper's weight; two seeds, the same epochs, batches, schedule.
# Command: python tools/study.py configs/studies/cifar10_small.py --work-dir work_dirs/cifar10_small
# Cost: about 15 minutes a training and 10 minutes a judgement on one CPU thread, ten of each.
# Paper's number: none (the small version of Table 2); only differences between the rows mean anything.
title = "CIFAR-10, small: ResNet-8, 6,000 training images, 10 epochs"
seeds = [0, 1]
subset = 500
attacks = "configs/attacks/linf8_table.py"
rows = dict(
    vt=dict(name="Vanilla", config="configs/cls/r8_cifar10_vt.py"),
    pgd_at=dict(name="PGD-AT (adversarial only)", config="configs/cls/r8_cifar10_pgd_at.py"),
    pgd_at_union=dict(name="PGD-AT (union)", config="configs/cls/r8_cifar10_pgd_at_union.py"),
    nat_w0006=dict(name="NAT, weight 0.006", config="configs/cls/r8_cifar10_nat_w0006.py", adversary="vt"),
    nat=dict(name="NAT, weight 0.06", config="configs/cls/r8_cifar10_nat.py", adversary="vt"),
)
