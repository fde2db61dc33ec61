# How many minutes to how much robustness, on a small part of the data? The rows of speed.py on the first 3,000 training
# images for four epochs, none held out, the last epoch's weights: about a fiftieth of its work. It shows what the
# methods cost beside each other; accuracies are those of networks that have hardly begun to learn.
# Command: python tools/study.py configs/studies/speed_small.py --threads 1 --out results/speed.md
# Cost: about 15 minutes in all on one CPU thread with bfloat16.
# Paper's number: none for this model.
_base_ = ["speed.py"]
title = "Speed record, small: ResNet-20 on 3,000 images of CIFAR-10, 4 epochs, minutes of training and AutoAttack"
attacks = [
    dict(config="configs/attacks/linf8_pgd20.py", subset=1000),
    dict(config="configs/attacks/linf8_autoattack.py", subset=100),
]
plot = dict(y="AA (100)")


def triangle(epochs, peak):
    """Up to the highest rate and down to (nearly) zero, step by step."""
    step = dict(type="LinearLR", by_epoch=True, convert_to_iter_based=True)
    return [
        dict(step, start_factor=0.01, end_factor=1.0, begin=0, end=peak),
        dict(step, start_factor=1.0, end_factor=0.001, begin=peak, end=epochs),
    ]


four = {
    "data.train.limit": 3000,
    "data.heldout": 0,
    "train_cfg.max_epochs": 4,
    "param_scheduler": triangle(4, 1),
}
# One epoch of eight updates a batch: twice the updates of the others, each for 3 of their 5 units.
one = {**four, "train_cfg.max_epochs": 1, "param_scheduler": triangle(1, 0.4)}
rows = {key: dict(options=one if key == "free" else four) for key in _base_.rows}
rows["atas"]["options"] = {**four, "method.warmup": 1}
