# One perturbation for all digits within Linf 51/255, fitted on the training images and judged on test images.
# Command: python tools/test.py configs/cls/digits_nat.py CHECKPOINT --attacks configs/attacks/universal_digits.py
# Cost: 14,370 forwards and backwards each in all for a perturbation, and a forward per image: seconds.
threat = dict(type="Linf", eps=51 / 255)
success = "any"
fit = dict(type="Universal", data=dict(type="Digits", train=True), epochs=10)
attacks = [
    dict(**fit, name="Universal"),
    dict(**fit, name="Universal C&W", objective=dict(type="Margin")),
]
del fit
