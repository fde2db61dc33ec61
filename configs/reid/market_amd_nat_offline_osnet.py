# AMD with NAT on Market-1501, OSNet-x0.25 for CPUs: market_amd_offline_osnet.py and the nasty term on the identity
# logits. The adversary is the undefended model, which also makes the copies: it is trained once for both.
# Command: python tools/train.py configs/reid/market_amd_nat_offline_osnet.py
# Cost: 4 forwards and 2 backwards per image and step. Paper's number: none (Table 12 is for a larger network).
_base_ = ["market_amd_offline_osnet.py"]
method = dict(
    terms=[
        dict(type="TaskLoss"),
        dict(type="NastyKL", weight=0.01, temperature=20.0, adversary=dict(config="configs/reid/market_base_osnet.py")),
    ],
)
