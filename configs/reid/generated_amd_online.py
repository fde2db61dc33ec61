# AMD online on the generated set, OSNet-x0.25: clean images, and adversarial ones made anew for every batch on the
# current model: 7 steps of 2/255 within 8/255 from a random start, away from the person's other images in the batch.
# natx's own form; GOAT's is generated_goat.py.
# Command: python tools/train.py configs/reid/generated_amd_online.py
# Cost: 10 forwards and 9 backwards per image and step. Paper's number: none (the set is natx's own).
_base_ = [
    "../_base_/models/osnet_x0_25_generated.py",
    "../_base_/datasets/generated_reid.py",
    "../_base_/schedules/generated_reid_15e.py",
    "../_base_/methods/amd_online.py",
    "../_base_/reid_runtime.py",
]
