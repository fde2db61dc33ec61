# One perturbation for all images within Linf 8/255, fitted on 5,000 training images of CIFAR-10 and judged on test
# images.
# Command: python tools/test.py configs/cls/r8_cifar10_nat.py CHECKPOINT --attacks configs/attacks/universal_cifar10.py
# Cost: 50,000 forwards and backwards each in all for a perturbation (10 passes over 5,000 images), however many images
# are judged, and a forward per image.
threat = dict(type="Linf", eps=8 / 255)
success = "any"
fit = dict(type="Universal", data=dict(type="CIFAR10", root="data", train=True), images=5000, epochs=10)
attacks = [
    dict(**fit, name="Universal"),
    dict(**fit, name="Universal C&W", objective=dict(type="Margin")),
]
del fit
