# WRN-34-10 with SiLU, as Wang et al. 2023 train it.
_base_ = ["wrn34_10_cifar.py"]
task = dict(model_args=dict(activation="silu"))
