# GOAT on Market-1501, ResNet-50, as its code trains a classifier with FNA's guides: adversarial images only, made on
# the current model in train mode within 5/255 (7 steps of 1/255), with four random images of the person as guides and
# the furthest one of the batch to pull to; cross-entropy alone, batch-norm neck, 60 epochs at 3.5e-4 divided by 10 at
# 20 and 40, batches of 32 images in random order. eps is in pixels (in the code, in normalised values).
# Command: python tools/train.py configs/reid/market_goat.py
# Cost: 13 forwards and 8 backwards per image and step. Paper's number: none (Table 12 has no GOAT).
_base_ = [
    "../_base_/models/bot_resnet50.py",
    "../_base_/datasets/market1501.py",
    "../_base_/schedules/goat_60e.py",
    "../_base_/methods/goat.py",
    "../_base_/reid_runtime.py",
]
task = dict(last_stride=None, label_smoothing=0.0, triplet_weight=0.0)
data = dict(
    train=dict(
        _delete_=True,
        type="WithGuides",
        dataset=dict(type="Market1501", root="data/Market-1501-v15.09.15", train=True, height=256, width=128),
    ),
    batch_size=32,
    sampler=None,
    augments=[dict(type="RandomFlip"), dict(type="RandomCrop", padding=10)],
)
