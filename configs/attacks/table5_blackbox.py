# The columns of the paper's Table 5 at Linf 8/255: PGD-20 and C&W (Linf PGD on the margin, 30 steps) crafted on an
# adversarially trained ResNet-50, and Square with 5,000 queries.
# Command: python tools/test.py CONFIG CHECKPOINT --attacks configs/attacks/table5_blackbox.py
# (After python tools/train.py configs/cls/r50_cifar10_pgd_at.py; tools/reproduce.py table5 trains the surrogate
# itself.)
# Cost: 52 forwards and 50 backwards per image, nearly all of them the surrogate's, and up to 5,000 forwards of Square.
# No bound: an attacker who knows the model does better (linf8_table.py), and a number below a white-box one on the same
# images means that the white-box attack was hindered.
threat = dict(type="Linf", eps=8 / 255)
success = "any"
surrogate = dict(config="configs/cls/r50_cifar10_pgd_at.py", checkpoint="work_dirs/r50_cifar10_pgd_at/best.safetensors")
attacks = [
    dict(type="Transfer", name="PGD_S", source=surrogate, attack=dict(type="PGD", steps=20, step_size=2 / 255)),
    dict(
        type="Transfer",
        name="CW",
        source=surrogate,
        attack=dict(type="PGD", objective=dict(type="Margin"), steps=30, step_size=2 / 255),
    ),
    dict(type="Square", queries=5000),
]
