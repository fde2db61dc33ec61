# One patch of 3x3 pixels for all digits of 8x8, fitted on the training images at random places and judged on test
# images at others.
# Command: python tools/test.py configs/cls/digits_nat.py CHECKPOINT --attacks configs/attacks/universal_patch_digits.py
# Cost: 14,370 forwards and backwards each in all, and a forward per image: seconds.
threat = dict(type="Patch", height=3, image=8)
success = "any"
attacks = [
    dict(type="Universal", name="Universal patch", data=dict(type="Digits", train=True), epochs=10, step_size=8 / 255),
]
