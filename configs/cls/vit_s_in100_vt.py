# Vanilla training of ViT-S/16 on ImageNet-100: the adversary of vit_s_in100_nat.py.
# Command: python tools/train.py configs/cls/vit_s_in100_vt.py
# Cost: 1 forward and 1 backward per image and step, 300 epochs of 127 k images: one GPU, about a day.
# Paper's number (Table 4): clean 96.23, PGD-20 6.54, AA 1.68 (a correct pipeline gives 0 for the last two).
_base_ = [
    "../_base_/models/vit_small_imagenet100.py",
    "../_base_/datasets/imagenet100.py",
    "../_base_/schedules/vit_300e.py",
    "../_base_/default_runtime.py",
]
method = dict(type="Standard")
select = dict(_delete_=True, batch_size=100)
