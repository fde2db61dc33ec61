# FGSM-RS (Wong et al. 2020): uniform noise of eps, one step of 1.25 eps, clipped to eps.
method = dict(
    type="Adversarial",
    views=("adv",),
    attack=dict(type="SingleStep", threat=dict(type="Linf", eps=8 / 255), noise=1.0, step=1.25, clip=True),
)
