# MTD with NAT of the small SSD (Eq. 5 on a detector): clean and MTD images, and the nasty term on the class logits of
# the priors in the classification loss. The adversary is the undefended detector with the same priors. The term's
# weight holds a tenth of the task's gradient on these logits.
# Twelve epochs from the undefended detector's weights, which is trained first, once.
# Command: python tools/train.py configs/det/ssd_digits_mtd_nat.py
# Cost: 8 forwards and 4 backwards per image and step. Paper's number: none (the set is natx's own).
_base_ = ["ssd_digits_mtd_union.py"]
method = dict(
    terms=[
        dict(type="TaskLoss"),
        dict(type="NastyKL", share=0.1, temperature=4.0, adversary=dict(config="configs/det/ssd_digits_std.py")),
    ],
)
