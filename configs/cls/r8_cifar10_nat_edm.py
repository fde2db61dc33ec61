# NAT beside generated images, for CPUs: the recipe of r8_cifar10_edm.py less the nasty term on both views.
# Command: python tools/train.py configs/cls/r8_cifar10_nat_edm.py
# (Trains the adversary r8_cifar10_vt.py first, once; the generated images are those of r8_cifar10_edm.py.)
# Cost: 15 forwards and 12 backwards per image and step, about 20 minutes on one CPU thread.
# Paper's number: none (the small version of Table 3 for CPUs); compare with r8_cifar10_edm.py.
_base_ = ["r8_cifar10_edm.py"]
method = dict(
    terms=[
        *_base_.method.terms,
        dict(
            type="NastyKL",
            weight=0.06,
            temperature=4.0,
            # Trained on the real images alone, with hard labels.
            adversary=dict(config="configs/cls/r8_cifar10_vt.py", options={"task.label_smoothing": 0.0}),
        ),
    ],
)
