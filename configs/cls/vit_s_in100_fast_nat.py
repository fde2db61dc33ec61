# Single-step NAT (Eq. 5 with N-FGSM) of ViT-S/16 on ImageNet-100 from ImageNet weights, at eps 0.03: clean and
# adversarial images, and the nasty term on both, with the paper's weight and temperature for ImageNet-100.
# Command: python tools/train.py configs/cls/vit_s_in100_fast_nat.py
# (Trains the adversary vit_s_in100_fast_vt.py first, once.)
# Cost: 5 forwards and 3 backwards per image and step, 10 units of work where PGD-10 takes 28; 10 epochs.
# Measured: 140 hours for 10 epochs, by a step's time on 1 thread of an AMD EPYC in bfloat16.
# Paper's number: none for single steps.
_base_ = ["vit_s_in100_fast_at.py"]
method = dict(
    views=("clean", "adv"),
    terms=[
        dict(type="TaskLoss"),
        dict(
            type="NastyKL",
            weight=0.01,
            temperature=20.0,
            adversary=dict(config="configs/cls/vit_s_in100_fast_vt.py"),
        ),
    ],
)
