# Single-step NAT (Eq. 5 with N-FGSM) of ResNet-20 on CIFAR-10, for CPUs, with the weight of the paper's
# ablation (Fig. 2).
# Command: python tools/train.py configs/cls/r20_cifar10_fast_nat.py
# (Trains the adversary r20_cifar10_vt.py first, once.)
# Cost: 5 forwards and 3 backwards per image and step, 10 units; 15 epochs.
# Measured: 0.72 hours for 15 epochs, by a step's time on 1 thread of an AMD EPYC in bfloat16.
# Measured: Clean (10,000) 69.96 ± 0.19, PGD-20 (10,000) 30.82 ± 0.32, AA (500) 28.73 ± 0.76, APGD-CE (2,000) 29.50 (1
#    of 3 seeds), APGD-T (2,000) 26.75 (1 of 3 seeds) % after 8 epochs, 3 seeds (results/cifar10_full.md).
# Paper's number: none for this model.
_base_ = ["r20_cifar10_fast_union.py"]
method = dict(
    terms=[
        dict(type="TaskLoss"),
        dict(type="NastyKL", weight=0.06, temperature=4.0, adversary=dict(config="configs/cls/r20_cifar10_vt.py")),
    ],
)
