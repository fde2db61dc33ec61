# Stronger and other readings of the metric attacks: guides from the gallery (they reach a person with one query image,
# too), distances between embeddings of length 1 (as the ranking measures them), and more steps.
# Command: python tools/test.py configs/reid/market_base.py CHECKPOINT --attacks configs/attacks/reid_variants.py
# Cost: up to 52 forwards and 50 backwards per query image and column.
custom_imports = dict(imports=["tasks.reid"])
threat = dict(type="Linf", eps=8 / 255)
attacks = [
    dict(
        type="PGD",
        name="IFGSM, gallery guides",
        steps=16,
        step_size=1 / 255,
        random_start=False,
        objective=dict(type="IFGSM", guides="gallery"),
    ),
    dict(
        type="PGD",
        name="IFGSM, cosine",
        steps=16,
        step_size=1 / 255,
        random_start=False,
        objective=dict(type="IFGSM", normalise=True),
    ),
    dict(
        type="PGD",
        name="FNA, gallery guides",
        steps=16,
        step_size=1 / 255,
        random_start=False,
        objective=dict(type="FNA", guides="gallery"),
    ),
    dict(
        type="PGD",
        name="FNA, cosine, 50 steps",
        steps=50,
        step_size=1 / 255,
        objective=dict(type="FNA", normalise=True),
    ),
    dict(
        type="PGD",
        name="SMA, cosine, 50 steps",
        steps=50,
        step_size=1 / 255,
        objective=dict(type="SMA", normalise=True),
    ),
]
