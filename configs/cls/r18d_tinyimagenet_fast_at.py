# Single-step adversarial training (N-FGSM) of a ResNet-18-D of a quarter of its width on 100 classes of Tiny-ImageNet,
# at eps 4/255, that of the robust ImageNet backbones detectors are started from (Salman et al. 2020): a robust
# backbone for the small detectors.
# Command: python tools/train.py configs/cls/r18d_tinyimagenet_fast_at.py
# Cost: 2 forwards and 2 backwards per image and step, 5 units; 10 epochs.
# Paper's number: none for this model.
_base_ = [
    "../_base_/models/resnet18d_quarter.py",
    "../_base_/datasets/tinyimagenet100.py",
    "../_base_/schedules/sgd_cosine_10e.py",
    "../_base_/methods/n_fgsm.py",
    "../_base_/default_runtime.py",
]
method = dict(attack=dict(threat=dict(eps=4 / 255)))
