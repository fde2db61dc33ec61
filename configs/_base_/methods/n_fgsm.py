# N-FGSM (de Jorge et al. 2022): noise of 2 eps, one step of eps, no clipping. The images may lie 24/255 away; what is
# trained for, and judged, is 8/255.
method = dict(
    type="Adversarial",
    views=("adv",),
    attack=dict(type="SingleStep", threat=dict(type="Linf", eps=8 / 255), noise=2.0, step=1.0, clip=False),
)
