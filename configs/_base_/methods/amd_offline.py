# AMD offline: clean images and adversarial copies of them, made once from the model and by the attack that a config
# names under data.copies.
method = dict(
    type="Adversarial", views=("clean", "adv"), attack=dict(type="Copies", threat=dict(type="Linf", eps=8 / 255))
)
