# Does the nasty term help at full scale? ResNet-20 on all of CIFAR-10, single-step training (N-FGSM) on adversarial
# images alone and on the union of clean and adversarial images, each with and without the nasty term, two seeds, of
# the union and its NAT 0.06 a third, which APGD on 2,000 images judges too; beside them PGD-AT for three epochs, nearly
# NAT's work. The same 8 epochs, batches and schedule for all but that one.
# Cells that are not run were beyond the time of one CPU: the command goes on with them.
# Command: python tools/study.py configs/studies/cifar10_full.py --work-dir work_dirs/cifar10_full
# Cost: 10 to 30 minutes a training and 20 a judgement on one CPU thread with bfloat16, 24 of each; --train-only
# trains all rows first.
# Paper's number: none for this model; only differences between the rows mean anything.
title = "CIFAR-10, full: ResNet-20, 48,976 training images, 8 epochs"
seeds = [0, 1, 2]
attacks = [
    dict(config="configs/attacks/linf8_pgd20.py"),
    dict(config="configs/attacks/linf8_apgd.py", subset=2000),
    dict(config="configs/attacks/linf8_autoattack.py", subset=500),
]
sparsity = dict(adversary="vt", images=2000, temperature=4.0, confidence=0.5)
step_times = "results/benchmark_cpu.json"
plot = dict(x="Clean (10,000)", y="AA (500)")


def triangle(epochs, peak):
    """Up to the highest rate and down to (nearly) zero, step by step."""
    step = dict(type="LinearLR", by_epoch=True, convert_to_iter_based=True)
    return [
        dict(step, start_factor=0.01, end_factor=1.0, begin=0, end=peak),
        dict(step, start_factor=1.0, end_factor=0.001, begin=peak, end=epochs),
    ]


eight = {"amp": "bfloat16", "train_cfg.max_epochs": 8, "param_scheduler": triangle(8, 3)}
# NAT's step costs 5 forwards and 3 backwards, PGD-AT's 11 and 11: three epochs of this are about eight of that.
three = {"amp": "bfloat16", "train_cfg.max_epochs": 3, "param_scheduler": triangle(3, 1)}
rows = dict(
    vt=dict(name="Vanilla", config="configs/cls/r20_cifar10_vt.py", options=eight),
    adv=dict(name="N-FGSM (adversarial only)", config="configs/cls/r20_cifar10_fast_at.py", options=eight),
    nat_adv=dict(
        name="NAT 0.06 (adversarial only)",
        config="configs/cls/r20_cifar10_fast_nat_adv.py",
        options=eight,
        adversary="vt",
        rival="adv",
    ),
    union=dict(name="N-FGSM (union)", config="configs/cls/r20_cifar10_fast_union.py", options=eight),
    nat_w0006=dict(
        name="NAT 0.006",
        config="configs/cls/r20_cifar10_fast_nat_w0006.py",
        options=eight,
        adversary="vt",
        rival="union",
    ),
    nat=dict(
        name="NAT 0.06", config="configs/cls/r20_cifar10_fast_nat.py", options=eight, adversary="vt", rival="union"
    ),
    nat_w015=dict(
        name="NAT 0.15",
        config="configs/cls/r20_cifar10_fast_nat_w015.py",
        options=eight,
        adversary="vt",
        rival="union",
    ),
    pgd_at=dict(name="PGD-AT (3 epochs)", config="configs/cls/r20_cifar10_pgd_at.py", options=three),
)
