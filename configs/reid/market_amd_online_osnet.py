# AMD online on Market-1501, OSNet-x0.25 for CPUs: clean images, and adversarial ones made anew for every batch on the
# current model: 7 steps of 2/255 within 8/255 from a random start, away from the person's other images in the batch.
# natx's own form; GOAT's is market_goat_osnet.py.
# Command: python tools/train.py configs/reid/market_amd_online_osnet.py
# Cost: 10 forwards and 9 backwards per image and step. Paper's number: none (Table 12 is for a larger network).
_base_ = [
    "../_base_/models/osnet_x0_25_market1501.py",
    "../_base_/datasets/market1501.py",
    "../_base_/schedules/bot_120e.py",
    "../_base_/methods/amd_online.py",
    "../_base_/reid_runtime.py",
]
