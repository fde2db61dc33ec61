# NAT of ViT-S/16 on ImageNet-100 with an inner attack that grows over ten epochs, as in the light recipe for robust
# transformers (Debenedetti et al. 2023, vits-robustness-torch); otherwise vit_s_in100_nat.py. In epoch e of the ten
# (from 0), eps and step size are (e + 1) / 11 of their own. For runs that diverge under the full eps from the start.
# Command: python tools/train.py configs/cls/vit_s_in100_nat_warmup.py --amp
# (Trains the adversary vit_s_in100_vt.py first, once.)
# Cost: 14 forwards and 12 backwards per image and step, 300 epochs: several GPUs, days.
# Paper's number: none (the paper has no warm-up); compare with vit_s_in100_nat.py.
_base_ = ["vit_s_in100_nat.py"]
method = dict(eps_warmup=10)
