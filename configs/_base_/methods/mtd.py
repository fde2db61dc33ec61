# MTD (Zhang & Wang 2019): adversarial images alone, each the worse of one step on the classification loss and one on
# the localisation loss, judged by the total loss.
method = dict(
    type="Adversarial",
    views=("adv",),
    attack=dict(
        type="WorstOf",
        threat=dict(type="Linf", eps=8 / 255),
        attacks=[
            dict(type="PGD", steps=1, step_size=8 / 255, objective=dict(type="ImageLoss", name="loss_cls")),
            dict(type="PGD", steps=1, step_size=8 / 255, objective=dict(type="ImageLoss", name="loss_bbox")),
        ],
        objective=dict(type="ImageLoss"),
    ),
)
