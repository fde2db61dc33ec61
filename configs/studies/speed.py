# How many minutes to how much robustness? Every method of the single-step family beside the rows of cifar10_full.py,
# whose trainings and reports it shares: the same ResNet-20 on all of CIFAR-10 for eight epochs (free training: eight
# updates a batch in one; ATAS with two of its warm-up epochs, as its five are of thirty); PGD-AT for three epochs, and
# GradAlign, whose second derivatives are slow, for one.
# Command: python tools/study.py configs/studies/speed.py --work-dir work_dirs/cifar10_full --out results/speed.md
# Cost: beside cifar10_full.py's, 5 trainings of 8 to 35 minutes on one CPU thread with bfloat16, and 20 minutes a
# judgement.
# Paper's number: none for this model.
_base_ = ["cifar10_full.py"]
title = "Speed record: ResNet-20 on CIFAR-10, minutes of training and AutoAttack"
seeds = [0]
attacks = [
    dict(config="configs/attacks/linf8_pgd20.py"),
    dict(config="configs/attacks/linf8_autoattack.py", subset=500),
]
sparsity = None
beside = ["units", "minutes"]
plot = dict(x="minutes", y="AA (500)")
eight = _base_.rows["adv"]["options"]
rise, fall = eight["param_scheduler"]
one = {
    **eight,
    "train_cfg.max_epochs": 1,
    "param_scheduler": [{**rise, "begin": 0, "end": 0.4}, {**fall, "begin": 0.4, "end": 1}],
}
rows = dict(
    adv=dict(rival="pgd_at"),
    free=dict(name="Free (8 updates a batch)", config="configs/cls/r20_cifar10_free.py", options=one),
    fgsm_rs=dict(name="FGSM-RS", config="configs/cls/r20_cifar10_fgsm_rs.py", options=eight),
    atas=dict(name="ATAS", config="configs/cls/r20_cifar10_atas.py", options={**eight, "method.warmup": 2}),
    fgsm_pgi=dict(name="FGSM-PGI", config="configs/cls/r20_cifar10_fgsm_pgi.py", options=eight),
    grad_align=dict(name="GradAlign (1 epoch)", config="configs/cls/r20_cifar10_grad_align.py", options=one),
)
