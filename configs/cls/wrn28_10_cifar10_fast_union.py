# Single-step adversarial training (N-FGSM) of WRN-28-10 on CIFAR-10, on clean and adversarial images: the fair
# baseline of wrn28_10_cifar10_fast_nat.py.
# Command: python tools/train.py configs/cls/wrn28_10_cifar10_fast_union.py
# Cost: 3 forwards and 3 backwards per image and step, 8 units; 30 epochs.
# Measured: 85 hours for 30 epochs, by a step's time on 1 thread of an AMD EPYC in bfloat16.
# Paper's number: none.
_base_ = [
    "../_base_/models/wrn28_10_cifar.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/one_cycle_30e.py",
    "../_base_/schedules/ema.py",
    "../_base_/methods/n_fgsm_union.py",
    "../_base_/default_runtime.py",
]
data = dict(batch_size=128, on_device=True)
amp = "bfloat16"
