# How many minutes to how much robustness? Every method of the single-step family, N-FGSM on the union of clean and
# adversarial images, NAT with it, and PGD-10 adversarial training: the same ResNet-20 on all of CIFAR-10, one training
# each, every method for the epochs of its config.
# Command: python tools/study.py configs/studies/speed.py --threads 1 --out results/speed.md
# Cost: 10 trainings of 10 to 90 minutes on one CPU thread with bfloat16, and 15 minutes a judgement.
# Paper's number: none for this model.
title = "Speed record: ResNet-20 on CIFAR-10, minutes of training and AutoAttack"
seeds = [0]
attacks = [
    dict(config="configs/attacks/linf8_pgd20.py"),
    dict(config="configs/attacks/linf8_autoattack.py", subset=500),
]
beside = ["units", "minutes"]
plot = dict(x="minutes", y="AA (500)")
fast = {"amp": "bfloat16"}
rows = dict(
    vt=dict(name="Vanilla", config="configs/cls/r20_cifar10_vt.py", options=fast),
    free=dict(name="Free (8 updates a batch)", config="configs/cls/r20_cifar10_free.py", options=fast),
    fgsm_rs=dict(name="FGSM-RS", config="configs/cls/r20_cifar10_fgsm_rs.py", options=fast),
    n_fgsm=dict(name="N-FGSM", config="configs/cls/r20_cifar10_fast_at.py", options=fast),
    atas=dict(name="ATAS", config="configs/cls/r20_cifar10_atas.py", options=fast),
    fgsm_pgi=dict(name="FGSM-PGI", config="configs/cls/r20_cifar10_fgsm_pgi.py", options=fast),
    union=dict(name="N-FGSM (union)", config="configs/cls/r20_cifar10_fast_union.py", options=fast),
    nat=dict(
        name="NAT 0.06 (N-FGSM)",
        config="configs/cls/r20_cifar10_fast_nat.py",
        options=fast,
        adversary="vt",
        rival="union",
    ),
    grad_align=dict(name="GradAlign", config="configs/cls/r20_cifar10_grad_align.py", options=fast),
    pgd_at=dict(name="PGD-10 AT", config="configs/cls/r20_cifar10_pgd_at.py", options=fast),
)
