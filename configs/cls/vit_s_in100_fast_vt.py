# Vanilla training of ViT-S/16 on ImageNet-100 from ImageNet weights in 10 epochs: the adversary of
# vit_s_in100_fast_nat.py.
# Command: python tools/train.py configs/cls/vit_s_in100_fast_vt.py
# Cost: 1 forward and 1 backward per image and step; 10 epochs.
# Measured: 39 hours for 10 epochs, by a step's time on 1 thread of an AMD EPYC in bfloat16.
# Paper's number: none for 10 epochs.
_base_ = ["vit_s_in100_fast_at.py"]
method = dict(_delete_=True, type="Standard")
select = dict(_delete_=True, batch_size=100)
