# One perturbation for all query images within Linf 8/255, fitted on the training images (other people) of the generated
# set and judged on the queries: away from the clean embeddings of a person's training images, away from an image's own,
# and towards the person of the training images who looks most alike. For another set give its training images as data.
# Command: python tools/test.py configs/reid/generated_base.py CHECKPOINT --attacks configs/attacks/universal_reid.py
# Cost: 3,072 forwards (SMA 5,120) and 2,560 backwards in all for a perturbation, 5 passes over 512 training images,
# however many queries are judged, and a forward per query image.
custom_imports = dict(imports=["tasks.reid"])
threat = dict(type="Linf", eps=8 / 255)
train = dict(type="GeneratedReID", root="data/generated_reid", train=True, height=96, width=48)
fit = dict(type="Universal", data=train, batch_size=32)
attacks = [
    dict(**fit, name="Universal IFGSM", objective=dict(type="IFGSM", guides="all")),
    dict(**fit, name="Universal SMA", objective=dict(type="SMA")),
    dict(**fit, name="Universal TMA", objective=dict(type="TMA", guides="all")),
]
del train, fit
