# NAT of WRN-34-10 on CIFAR-100 and 1M generated images: the recipe of wrn34_10_cifar100_edm1m.py less the nasty term on
# both views, for real and generated images alike.
# Command: python tools/train.py configs/cls/wrn34_10_cifar100_nat_edm1m.py
# (Trains the adversary wrn34_10_cifar100_vt.py first, once; the generated images are those of
# wrn34_10_cifar100_edm1m.py.)
# Cost: 15 forwards and 12 backwards per image and step.
# Paper's number (Table 3): clean 64.74, AA 33.08.
# The paper says no more than "the same augmentation strategy": whether its loss has TRADES, smoothed labels or averaged
# weights is open. The same table has higher numbers of the recipe without NAT (wrn34_10_cifar100_edm1m.py).
_base_ = ["wrn34_10_cifar100_edm1m.py"]
method = dict(
    terms=[
        *_base_.method.terms,
        dict(
            type="NastyKL",
            weight=0.006,
            temperature=20.0,
            # Trained on the real images alone, with the target's SiLU and hard labels.
            adversary=dict(config="configs/cls/wrn34_10_cifar100_vt.py", options={"task.label_smoothing": 0.0}),
        ),
    ],
)
