# Attacks on the gallery, and on both sides of the search: AMA as Bai et al. state it (gallery images pushed from the
# clean embeddings of the person's queries, embeddings of length 1, 6 steps of 1/255 within 5/255), the same on the
# queries and on both, and images pulled to the person who looks most alike. Distractors and images of people without a
# query stay clean.
# Command: python tools/test.py configs/reid/market_base.py CHECKPOINT --attacks configs/attacks/reid_gallery.py
# Cost: 8 forwards and 6 backwards per image and column; a gallery has several times as many images as queries.
custom_imports = dict(imports=["tasks.reid"])
threat = dict(type="Linf", eps=5 / 255)
six = dict(type="PGD", steps=6, step_size=1 / 255, random_start=False)
attacks = [
    dict(**six, name="AMA, queries", objective=dict(type="IFGSM", guides="gallery", normalise=True)),
    dict(**six, name="AMA, gallery", objective=dict(type="IFGSM", normalise=True, side="gallery")),
    dict(**six, name="AMA, both sides", objective=dict(type="IFGSM", guides="all", normalise=True, side="both")),
    dict(**six, name="TMA, gallery", objective=dict(type="TMA", guides="all", normalise=True, side="gallery")),
]
del six
