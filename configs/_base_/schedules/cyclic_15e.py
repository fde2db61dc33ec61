# One triangle of the learning rate, up to 0.2 and down to 0, step by step over 15 epochs: what single-step training
# takes (Wong et al. 2020; de Jorge et al. 2022, who take 30 epochs).
_base_ = ["sgd.py"]
optim_wrapper = dict(optimizer=dict(lr=0.2))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, end_factor=1.0, begin=0, end=6, by_epoch=True, convert_to_iter_based=True),
    dict(
        type="LinearLR", start_factor=1.0, end_factor=0.001, begin=6, end=15, by_epoch=True, convert_to_iter_based=True
    ),
]
train_cfg = dict(max_epochs=15)
