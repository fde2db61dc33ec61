# PGD adversarial training of ViT-S/16 on ImageNet-100 at eps 0.03, clean and adversarial images (Eq. 5 without the
# nasty term): the fair baseline of vit_s_in100_nat.py, which adds that term alone.
# Command: python tools/train.py configs/cls/vit_s_in100_pgd_at_union.py --amp
# Cost: 12 forwards and 12 backwards per image and step, 300 epochs: several GPUs, days.
# Paper's number: none (Table 4 has PGD-AT on adversarial images alone).
_base_ = [
    "../_base_/models/vit_small_imagenet100.py",
    "../_base_/datasets/imagenet100.py",
    "../_base_/schedules/vit_300e.py",
    "../_base_/methods/pgd_at_union.py",
    "../_base_/default_runtime.py",
]
method = dict(attack=dict(threat=dict(eps=0.03)))
