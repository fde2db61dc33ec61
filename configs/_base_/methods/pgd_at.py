# PGD adversarial training (Madry et al. 2018; Eq. 4): adversarial images only, PGD-10 within 8/255.
method = dict(
    type="Adversarial",
    views=("adv",),
    attack=dict(type="PGD", threat=dict(type="Linf", eps=8 / 255), steps=10, step_size=2 / 255),
)
