# NAT without MTD of the small SSD: adversarial images that climb the classification loss as for classifiers (10 steps
# of 2/255), and the nasty term. The term's weight holds a tenth of the task's gradient on these logits.
# Twelve epochs from the undefended detector's weights, which is trained first, once.
# Command: python tools/train.py configs/det/ssd_digits_nat.py
# Cost: 14 forwards and 12 backwards per image and step. Paper's number: none (the set is natx's own).
_base_ = [
    "../_base_/models/ssd160_r18.py",
    "../_base_/datasets/digits_voc.py",
    "../_base_/schedules/det_small_12e.py",
    "../_base_/methods/pgd_at_union.py",
    "../_base_/det_runtime.py",
]
start = dict(config="configs/det/ssd_digits_std.py")
method = dict(
    attack=dict(objective=dict(type="ImageLoss", name="loss_cls")),
    terms=[
        dict(type="TaskLoss"),
        dict(type="NastyKL", share=0.1, temperature=4.0, adversary=dict(config="configs/det/ssd_digits_std.py")),
    ],
)
