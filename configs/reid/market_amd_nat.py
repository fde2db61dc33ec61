# AMD with NAT on Market-1501, ResNet-50: market_amd_online_nat.py, online AMD and the nasty term with a tenth of the
# task's gradient on the identity logits. The adversary is the undefended model, which is trained first, once.
# Command: python tools/train.py configs/reid/market_amd_nat.py
# Cost: 12 forwards and 9 backwards per image and step. Paper's number: 68.92/88.25 clean, 12.64/25.42 under FNA 8/255
# (mAP/Rank-1, Table 12, AMD&NAT).
_base_ = ["market_amd_online_nat.py"]
paper_row = "AMD&NAT"
