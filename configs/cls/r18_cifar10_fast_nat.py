# Single-step NAT (Eq. 5 with N-FGSM) of ResNet-18 on CIFAR-10: bfloat16, one cycle, averaged weights.
# Command: python tools/train.py configs/cls/r18_cifar10_fast_nat.py
# (Trains the adversary r18_cifar10_fast_vt.py first, once.)
# Cost: 5 forwards and 3 backwards per image and step, 10 units; 30 epochs.
# Measured: 13 hours for 30 epochs, by a step's time on 1 thread of an AMD EPYC in bfloat16.
# Paper's number: none.
_base_ = ["r18_cifar10_fast_union.py"]
method = dict(
    terms=[
        dict(type="TaskLoss"),
        dict(type="NastyKL", weight=0.06, temperature=4.0, adversary=dict(config="configs/cls/r18_cifar10_fast_vt.py")),
    ],
)
