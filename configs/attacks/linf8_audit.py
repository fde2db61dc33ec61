# linf8_table.py with FGSM and Square (5,000 queries), so that every reliability check has what it compares.
# Command: python tools/test.py CONFIG CHECKPOINT --attacks configs/attacks/linf8_audit.py --audit
# Cost: up to 134 forwards per image, Square's 5,000 and AutoAttack's thousands for an image that stays right; the
# checks take about 550 forwards and as many backwards on each of 200 images, and 10,000 forwards at most on 40.
# One step must not break more than many (G7), nor an attack without gradients more than those with them (G8).
_base_ = ["linf8_table.py"]
attacks = [dict(type="FGSM"), *_base_.attacks, dict(type="Square", queries=5000)]
