# May these numbers be trusted? The reliability checks (docs/checks.md) on the models of cifar10_small.py: vanilla,
# PGD-AT on the union, and NAT in both readings of the paper's weight, first seed. The models are small and trained for
# ten epochs on 6,000 images: their accuracies are no statement about the methods, the checks are about the judging.
# Command: python tools/study.py configs/studies/audit_small.py --work-dir work_dirs/cifar10_small
# Cost: the trainings of cifar10_small.py where they are missing; about 10 minutes a model on one CPU thread.
# Paper's number: none; its own tables show PGD up to 30 points above AutoAttack (G2) and C&W above PGD (G3).
title = "Audit: ResNet-8 on CIFAR-10, Linf 8/255"
seeds = [0]
subset = 200
attacks = "configs/attacks/linf8_audit.py"
audit = dict(images=200, vanilla="vt")
rows = dict(
    vt=dict(name="Vanilla", config="configs/cls/r8_cifar10_vt.py", report="audit"),
    pgd_at_union=dict(name="PGD-AT (union)", config="configs/cls/r8_cifar10_pgd_at_union.py", report="audit"),
    nat_w0006=dict(
        name="NAT, weight 0.006", config="configs/cls/r8_cifar10_nat_w0006.py", adversary="vt", report="audit"
    ),
    nat=dict(name="NAT, weight 0.06", config="configs/cls/r8_cifar10_nat.py", adversary="vt", report="audit"),
)
