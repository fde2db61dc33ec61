# Vanilla training of a ResNet-18-D of a quarter of its width on 100 classes of Tiny-ImageNet: a backbone for the small
# detectors.
# Command: python tools/train.py configs/cls/r18d_tinyimagenet_vt.py
# Cost: 1 forward and 1 backward per image and step, 3 units; 10 epochs.
# Paper's number: none for this model.
_base_ = [
    "../_base_/models/resnet18d_quarter.py",
    "../_base_/datasets/tinyimagenet100.py",
    "../_base_/schedules/sgd_cosine_10e.py",
    "../_base_/default_runtime.py",
]
method = dict(type="Standard")
