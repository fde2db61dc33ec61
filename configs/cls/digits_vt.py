# Vanilla training on the digits; the adversary of digits_nat.py.
# Command: python tools/train.py configs/cls/digits_vt.py
# Cost: a few seconds on one CPU thread. Paper's number: none (the paper does not use the digits).
_base_ = [
    "../_base_/models/small_cnn_digits.py",
    "../_base_/datasets/digits.py",
    "../_base_/schedules/sgd_cosine_30e.py",
    "../_base_/default_runtime.py",
]
method = dict(type="Standard")
