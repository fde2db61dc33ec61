# PGD adversarial training of ViT-S/16 on ImageNet-100 (adversarial images only) at eps 0.03.
# Command: python tools/train.py configs/cls/vit_s_in100_pgd_at.py --amp
# Cost: 11 forwards and 11 backwards per image and step, 300 epochs: several GPUs, days.
# Paper's number (Table 4): clean 95.69, PGD-20 62.32, C&W 41.64, AA 37.12.
_base_ = ["../_base_/runtime.py", "../_base_/in100.py", "../_base_/vit_schedule.py"]
method = dict(
    type="Adversarial",
    views=("adv",),
    attack=dict(type="PGD", threat=dict(type="Linf", eps=0.03), steps=10, step_size=2 / 255),
)
