# Single-step adversarial training (N-FGSM) of WRN-28-10 on CIFAR-10: bfloat16, one cycle, averaged weights.
# Command: python tools/train.py configs/cls/wrn28_10_cifar10_fast_at.py
# Cost: 2 forwards and 2 backwards per image and step, 5 units; 30 epochs.
# Measured: 55 hours for 30 epochs, by a step's time on 1 thread of an AMD EPYC in bfloat16.
# Paper's number: none.
_base_ = [
    "../_base_/models/wrn28_10_cifar.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/one_cycle_30e.py",
    "../_base_/schedules/ema.py",
    "../_base_/methods/n_fgsm.py",
    "../_base_/default_runtime.py",
]
data = dict(batch_size=128, on_device=True)
amp = "bfloat16"
