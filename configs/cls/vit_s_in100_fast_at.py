# Single-step adversarial training (N-FGSM) of ViT-S/16 on ImageNet-100, adversarial images alone,
# from ImageNet weights at eps 0.03: bfloat16, averaged weights, 10 epochs.
# Command: python tools/train.py configs/cls/vit_s_in100_fast_at.py
# Cost: 2 forwards and 2 backwards per image and step, 5 units of work where PGD-10 takes 23; 10 epochs.
# Measured: 72 hours for 10 epochs, by a step's time on 1 thread of an AMD EPYC in bfloat16.
# Paper's number: none for single steps.
_base_ = [
    "../_base_/models/vit_small_imagenet100.py",
    "../_base_/datasets/imagenet100.py",
    "../_base_/schedules/fine_tune_10e.py",
    "../_base_/schedules/ema.py",
    "../_base_/methods/n_fgsm.py",
    "../_base_/default_runtime.py",
]
amp = "bfloat16"
method = dict(attack=dict(threat=dict(eps=0.03)))
