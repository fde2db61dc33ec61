# Adaptive evaluation of the digits at Linf 51/255, the pool of linf8_adaptive.py for models that train in seconds.
# Command: python tools/test.py configs/cls/digits_nat.py CHECKPOINT --attacks configs/attacks/digits_adaptive.py
# (After python tools/train.py configs/cls/digits_vt.py and python tools/train.py configs/cls/digits_pgd_at.py.)
# Cost: up to about 2,600 forwards and as many backwards per image, 300 of each through other networks.
threat = dict(type="Linf", eps=51 / 255)
success = "any"
weight, temperature = 0.06, 4.0  # of the nasty term in training
sources = dict(  # of NAT's own adversary, and of attacks from outside
    vanilla=dict(config="configs/cls/digits_vt.py", checkpoint="work_dirs/digits_vt/best.safetensors"),
    robust=dict(config="configs/cls/digits_pgd_at.py", checkpoint="work_dirs/digits_pgd_at/best.safetensors"),
)
long = dict(type="PGD", steps=50, step_size=51 / 255 / 4)
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
