# cifar10_full.py with a larger network: ResNet-18 on all of CIFAR-10, single-step training (N-FGSM) on the union of
# clean and adversarial images, without and with the nasty term. The same 5 epochs, batches and schedule for both.
# Cells that are not run were beyond the time of one CPU: the command goes on with them.
# Command: python tools/study.py configs/studies/cifar10_full_r18.py --work-dir work_dirs/cifar10_full_r18
# Cost: 0.6, 1.7 and 2.2 hours of training, about 4 a judgement of the last two, on one CPU thread with bfloat16;
# --train-only trains all rows first.
# Paper's number: none for a training this short; only differences between the rows mean anything.
_base_ = ["cifar10_full.py"]
title = "CIFAR-10, full: ResNet-18, 48,976 training images, 5 epochs"
seeds = [0]


def triangle(epochs, peak):
    """Up to the highest rate and down to (nearly) zero, step by step."""
    step = dict(type="LinearLR", by_epoch=True, convert_to_iter_based=True)
    return [
        dict(step, start_factor=0.01, end_factor=1.0, begin=0, end=peak),
        dict(step, start_factor=1.0, end_factor=0.001, begin=peak, end=epochs),
    ]


five = {"train_cfg.max_epochs": 5, "param_scheduler": triangle(5, 2)}
rows = dict(
    _delete_=True,
    vt=dict(name="Vanilla", config="configs/cls/r18_cifar10_fast_vt.py", options=five),
    union=dict(name="N-FGSM (union)", config="configs/cls/r18_cifar10_fast_union.py", options=five),
    nat=dict(
        name="NAT 0.06", config="configs/cls/r18_cifar10_fast_nat.py", options=five, adversary="vt", rival="union"
    ),
)
