# NAT of ViT-S/16 on ImageNet-100 (Eq. 5): clean and adversarial images, and the nasty term on both, at eps 0.03.
# Command: python tools/train.py configs/cls/vit_s_in100_nat.py --amp
# (Trains the adversary vit_s_in100_vt.py first, once.)
# Cost: 14 forwards and 12 backwards per image and step, 300 epochs: several GPUs, days.
# Paper's number (Table 4): best: clean 94.92, PGD-20 66.84, C&W 49.82, AA 45.44 (above PGD-50's 43.22).
_base_ = ["vit_s_in100_pgd_at_union.py"]
method = dict(
    terms=[
        dict(type="TaskLoss"),
        dict(type="NastyKL", weight=0.01, temperature=20.0, adversary=dict(config="configs/cls/vit_s_in100_vt.py")),
    ],
)
