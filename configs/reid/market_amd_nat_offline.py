# AMD with NAT on Market-1501, ResNet-50: market_amd_offline.py and the nasty term on the identity logits. The
# adversary is the undefended model, which also makes the copies: it is trained once for both.
# Command: python tools/train.py configs/reid/market_amd_nat_offline.py
# Cost: 4 forwards and 2 backwards per image and step. Paper's number: 68.92/88.25 clean, 12.64/25.42 under FNA 8/255
# (mAP/Rank-1, Table 12, AMD&NAT).
_base_ = ["market_amd_offline.py"]
method = dict(
    terms=[
        dict(type="TaskLoss"),
        dict(type="NastyKL", weight=0.01, temperature=20.0, adversary=dict(config="configs/reid/market_base.py")),
    ],
)
