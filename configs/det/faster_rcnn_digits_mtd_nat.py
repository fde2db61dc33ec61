# MTD with NAT of a small Faster R-CNN on pasted digits: clean and MTD images, and the nasty term on the class logits
# of the target's own sampled proposals, where the adversary looks with its own features. The term's weight holds a
# tenth of the task's gradient on these logits.
# Twelve epochs from the undefended detector's weights, which is trained first, once.
# Command: python tools/train.py configs/det/faster_rcnn_digits_mtd_nat.py
# Cost: 8 forwards and 4 backwards per image and step. Paper's number: none (the set is natx's own).
_base_ = ["faster_rcnn_digits_mtd.py"]
method = dict(
    views=("clean", "adv"),
    terms=[
        dict(type="TaskLoss"),
        dict(
            type="NastyKL", share=0.1, temperature=4.0, adversary=dict(config="configs/det/faster_rcnn_digits_std.py")
        ),
    ],
)
