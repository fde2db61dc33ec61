# PGD adversarial training of ViT-S/16 on ImageNet-100 (adversarial images only) at eps 0.03.
# Command: python tools/train.py configs/cls/vit_s_in100_pgd_at.py --amp
# Cost: 11 forwards and 11 backwards per image and step, 300 epochs: several GPUs, days.
# Paper's number (Table 4): clean 95.69, PGD-20 62.32, C&W 41.64, AA 37.12.
_base_ = [
    "../_base_/models/vit_small_imagenet100.py",
    "../_base_/datasets/imagenet100.py",
    "../_base_/schedules/vit_300e.py",
    "../_base_/methods/pgd_at.py",
    "../_base_/default_runtime.py",
]
method = dict(attack=dict(threat=dict(eps=0.03)))
