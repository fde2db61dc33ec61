# AMD online on the generated set, OSNet-x0.25: adversarial images made anew for every batch on the current model. As
# GOAT (Bouniot et al.): 7 steps from a random start, guides from the batch; within 8/255 here, 5/255 there.
# Command: python tools/train.py configs/reid/generated_amd_online.py
# Cost: 10 forwards and 9 backwards per image and step. Paper's number: none (the set is natx's own).
_base_ = [
    "../_base_/models/osnet_x0_25_generated.py",
    "../_base_/datasets/generated_reid.py",
    "../_base_/schedules/generated_reid_15e.py",
    "../_base_/methods/amd_online.py",
    "../_base_/reid_runtime.py",
]
