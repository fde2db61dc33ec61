# PGD adversarial training on clean and adversarial digits (the union of Eq. 5 without the nasty term).
# Command: python tools/train.py configs/cls/digits_pgd_at.py
# Cost: 12 forwards and 12 backwards per image and step. Paper's number: none (the paper does not use the digits).
_base_ = [
    "../_base_/models/small_cnn_digits.py",
    "../_base_/datasets/digits.py",
    "../_base_/schedules/sgd_cosine_30e.py",
    "../_base_/methods/pgd_at_union.py",
    "../_base_/default_runtime.py",
]
method = dict(attack=dict(threat=dict(eps=51 / 255), step_size=51 / 255 / 4))
select = dict(
    attack=dict(type="PGD", objective=dict(type="Margin"), steps=10, step_size=51 / 255 / 4),
    every=2,
)
