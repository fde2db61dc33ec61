# May the numbers of cifar10_full.py be trusted? The reliability checks (docs/checks.md) on its networks, first seed:
# the vanilla one, single-step training with and without the nasty term, and PGD-AT, whose trainings it shares.
# Cells that are not run were beyond the time of one CPU: the command goes on with them.
# Command: python tools/study.py configs/studies/cifar10_full_audit.py --work-dir work_dirs/cifar10_full
#   --out results/cifar10_full_audit.md
# Cost: the trainings of cifar10_full.py where they are missing; about 10 minutes a network on one CPU thread.
# Paper's number: none; its own tables show PGD up to 30 points above AutoAttack (G2) and C&W above PGD (G3).
_base_ = ["cifar10_full.py"]
title = "Audit: ResNet-20 on CIFAR-10, Linf 8/255"
seeds = [0]
subset = 200
attacks = "configs/attacks/linf8_audit.py"
audit = dict(images=200, vanilla="vt")
sparsity = None
plot = None
rows = dict(
    vt=dict(report="audit"),
    adv=dict(report="audit"),
    nat_adv=dict(report="audit"),
    union=dict(report="audit"),
    nat_w0006=dict(report="audit"),
    nat=dict(report="audit"),
    nat_w015=dict(report="audit"),
    pgd_at=dict(report="audit"),
)
