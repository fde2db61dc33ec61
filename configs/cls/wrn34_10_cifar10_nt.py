# Nasty training of WRN-34-10 on CIFAR-10 (Eq. 2): clean images and the nasty term, no adversarial images.
# Command: python tools/train.py configs/cls/wrn34_10_cifar10_nt.py
# (Trains the adversary wrn34_10_cifar10_vt.py first, once.)
# Cost: 2 forwards and 1 backward per image and step. Paper's number: Table 11's NT row (CIFAR-10, ResNet-18) is in
# docs/paper.md; not robust by the paper's own account.
_base_ = ["r18_cifar10_nt.py"]
task = dict(model="wrn_34_10")
method = dict(
    terms=[
        _base_.method.terms[0],
        dict(_base_.method.terms[1], adversary=dict(config="configs/cls/wrn34_10_cifar10_vt.py")),
    ],
)
