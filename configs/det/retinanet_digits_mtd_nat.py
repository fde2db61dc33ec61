# MTD with NAT of a small RetinaNet on pasted digits: clean and MTD images, and the nasty term on the class logits of
# the positive priors (a divergence of one Bernoulli a class). The term's weight holds a tenth of the task's gradient
# on these logits.
# Twelve epochs from the undefended detector's weights, which is trained first, once.
# Command: python tools/train.py configs/det/retinanet_digits_mtd_nat.py
# Cost: 8 forwards and 4 backwards per image and step. Paper's number: none (the set is natx's own).
_base_ = [
    "../_base_/models/retinanet_r18_fpn.py",
    "../_base_/datasets/digits_voc.py",
    "../_base_/schedules/det_small_12e.py",
    "../_base_/methods/mtd.py",
    "../_base_/det_runtime.py",
]
start = dict(config="configs/det/retinanet_digits_std.py")
method = dict(
    views=("clean", "adv"),
    terms=[
        dict(type="TaskLoss"),
        dict(type="NastyKL", share=0.1, temperature=4.0, adversary=dict(config="configs/det/retinanet_digits_std.py")),
    ],
)
