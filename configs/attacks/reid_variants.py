# Stronger and other readings of the metric attacks: guides from the gallery (they reach a person with one query image,
# too), distances between embeddings of length 1 (as the ranking measures them), and more steps.
# Command: python tools/test.py configs/reid/market_base.py CHECKPOINT --attacks configs/attacks/reid_variants.py
# Cost: up to 52 forwards and 50 backwards per query image and column.
custom_imports = dict(imports=["tasks.reid"])
threat = dict(type="Linf", eps=8 / 255)
iterated = dict(type="PGD", steps=16, step_size=1 / 255, random_start=False)
long = dict(type="PGD", steps=50, step_size=1 / 255)
attacks = [
    dict(**iterated, name="IFGSM, gallery guides", objective=dict(type="IFGSM", guides="gallery")),
    dict(**iterated, name="IFGSM, cosine", objective=dict(type="IFGSM", normalise=True)),
    dict(**iterated, name="FNA, gallery guides", objective=dict(type="FNA", guides="gallery")),
    dict(**long, name="FNA, cosine, 50 steps", objective=dict(type="FNA", normalise=True)),
    dict(**long, name="SMA, cosine, 50 steps", objective=dict(type="SMA", normalise=True)),
]
del iterated, long
