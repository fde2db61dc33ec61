# The columns of the paper's Table 6 at Linf 8/255: PGD-10/20/50/100 on the defender's own loss (Eq. 14), cross-entropy
# less the nasty term, both networks at the perturbed image. The paper calls it APGD; it is not Auto-PGD.
# Command: python tools/test.py CONFIG CHECKPOINT --attacks configs/attacks/table6_adaptive.py
# (For ResNet-18 on CIFAR-10, after python tools/train.py configs/cls/r18_cifar10_vt.py; for another model name its
# adversary's config and weights, and for CIFAR-100 weight 0.006 at temperature 20. tools/reproduce.py table6 does so.)
# Cost: up to 200 forwards and 200 backwards per image, half of them the adversary's.
# The nasty term can hide the way out of it, so this is no bound: AutoAttack on the same images is the judge.
threat = dict(type="Linf", eps=8 / 255)
success = "any"
attacks = [
    dict(
        type="PGD",
        name="Adaptive PGD",
        steps=100,
        step_size=2 / 255,
        milestones=(10, 20, 50, 100),
        objective=dict(
            type="Adaptive",
            weight=0.06,
            temperature=4.0,
            adversary=dict(
                config="configs/cls/r18_cifar10_vt.py", checkpoint="work_dirs/r18_cifar10_vt/best.safetensors"
            ),
        ),
    ),
]
