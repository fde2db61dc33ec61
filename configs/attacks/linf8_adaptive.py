# Adaptive evaluation at Linf 8/255 of a model trained by NAT: the worst case over attacks that know the defence.
# Command: python tools/test.py CONFIG CHECKPOINT --attacks configs/attacks/linf8_adaptive.py
# (For ResNet-18 on CIFAR-10, after python tools/train.py configs/cls/r18_cifar10_vt.py and r18_cifar10_pgd_at.py; for
# another model name its adversary's config and weights, weight and temperature, and sources of its own.)
# Cost: up to about 2,600 forwards and as many backwards per image, 300 of each through other networks. AutoAttack comes
# on top: run linf8_table.py too, the headline is the worst of both. Each family of attacks finds what another misses:
# Eq. 14 with three weights and both signs goes through both networks; the margin and rescaled logits do not starve
# where logits are large; Auto-PGD sets its own steps; targeted attacks look at every class; a transferred start lies
# where the model's own gradient may not lead.
threat = dict(type="Linf", eps=8 / 255)
success = "any"
weight, temperature = 0.06, 4.0  # of the nasty term in training
sources = dict(  # of NAT's own adversary, and of attacks from outside
    vanilla=dict(config="configs/cls/r18_cifar10_vt.py", checkpoint="work_dirs/r18_cifar10_vt/best.safetensors"),
    robust=dict(config="configs/cls/r18_cifar10_pgd_at.py", checkpoint="work_dirs/r18_cifar10_pgd_at/best.safetensors"),
)
long = dict(type="PGD", steps=50, step_size=2 / 255)
climb_margin = dict(**long, objective=dict(type="Margin"))
eq14 = dict(type="Adaptive", temperature=temperature, adversary="vanilla")
attacks = [
    dict(**climb_margin, name="C&W-50"),
    dict(**long, name="Eq. 14, 0w"),  # cross-entropy alone, whatever the sign
    dict(**long, name="Eq. 14, -w", objective=dict(**eq14, weight=weight, sign=-1)),
    dict(**long, name="Eq. 14, +w", objective=dict(**eq14, weight=weight, sign=1)),
    dict(**long, name="Eq. 14, -10w", objective=dict(**eq14, weight=10 * weight, sign=-1)),
    dict(**long, name="Eq. 14, +10w", objective=dict(**eq14, weight=10 * weight, sign=1)),
    dict(**long, name="CE/gap", objective=dict(type="RescaledCrossEntropy", scale="gap")),
    dict(**long, name="CE/deviation", objective=dict(type="RescaledCrossEntropy", scale="deviation")),
    dict(**long, name="Momentum C&W", objective=dict(type="Margin"), momentum=1.0, restarts=2),
    dict(type="Transfer", name="VT then C&W", source="vanilla", attack=long, refine=climb_margin),
    dict(type="Transfer", name="AT then C&W", source="robust", attack=long, refine=climb_margin),
    dict(type="AutoPGD", name="AutoPGD-C&W", steps=100, objective=dict(type="Margin")),
    dict(
        type="Targeted",
        name="Targeted CE",
        targets="all",
        attack=dict(**long, objective=dict(type="TargetedCrossEntropy")),
    ),
    dict(type="APGD", loss="ce"),
    dict(type="APGD", loss="dlr"),
    dict(type="APGD", loss="targeted"),
]
