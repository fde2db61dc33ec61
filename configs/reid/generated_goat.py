# GOAT on the generated set, OSNet-x0.25: adversarial images only, made on the current model in train mode within
# 5/255 (7 steps of 1/255), with four random images of the person as guides and the furthest one of the batch to pull
# to; model, loss and schedule of generated_base.py.
# Command: python tools/train.py configs/reid/generated_goat.py
# Cost: 13 forwards and 8 backwards per image and step. Paper's number: none (the set is natx's own).
_base_ = [
    "../_base_/models/osnet_x0_25_generated.py",
    "../_base_/datasets/generated_reid.py",
    "../_base_/schedules/generated_reid_15e.py",
    "../_base_/methods/goat.py",
    "../_base_/reid_runtime.py",
]
data = dict(
    train=dict(
        _delete_=True,
        type="WithGuides",
        dataset=dict(type="GeneratedReID", root="data/generated_reid", train=True, height=96, width=48),
    )
)
