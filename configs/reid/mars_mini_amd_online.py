# AMD online on a 16-identity part of MARS in Market's layout, OSNet-x0.25: clean images, and adversarial ones made
# anew for every batch on the current model: 7 steps of 2/255 within 8/255 from a random start, away from the person's
# other images in the batch. natx's own form; GOAT's is mars_mini_goat.py.
# Command: python tools/train.py configs/reid/mars_mini_amd_online.py
# Cost: 10 forwards and 9 backwards per image and step. Paper's number: none (the paper does not use MARS).
_base_ = [
    "../_base_/models/osnet_x0_25_mars_mini.py",
    "../_base_/datasets/mars_mini.py",
    "../_base_/schedules/mars_mini_60e.py",
    "../_base_/methods/amd_online.py",
    "../_base_/reid_runtime.py",
]
