# The two attacks of AutoAttack that nearly all of its harm comes from, each by itself, at Linf 8/255: Auto-PGD on
# cross-entropy and on targeted DLR.
# Command: python tools/test.py CONFIG CHECKPOINT --attacks configs/attacks/linf8_apgd.py
# Cost: 101 forwards and backwards per image, and nine times that for an image that stays right.
threat = dict(type="Linf", eps=8 / 255)
success = "any"
attacks = [dict(type="APGD", loss="ce"), dict(type="APGD", loss="targeted")]
