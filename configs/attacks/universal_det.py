# One perturbation for all images within Linf 8/255, fitted on the training images of the generated set (all of one
# size) by the sum of an image's losses, and judged on test images.
# Command: python tools/test.py configs/det/ssd_digits_mtd.py CHECKPOINT --attacks configs/attacks/universal_det.py
# Cost: 2,000 forwards and backwards each in all (5 passes over 400 images), and a forward per image.
custom_imports = dict(imports=["tasks.det"])
threat = dict(type="Linf", eps=8 / 255)
train = dict(type="GeneratedVOC", root="data/generated_voc", split="trainval")
attacks = [
    dict(type="Universal", data=train, epochs=5, batch_size=16, objective=dict(type="ImageLoss")),
]
del train
