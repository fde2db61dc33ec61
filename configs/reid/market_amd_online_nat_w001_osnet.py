# AMD online with NAT on Market-1501, OSNet-x0.25 for CPUs: market_amd_online_nat_osnet.py with the weight as the
# paper's text is read, 0.01 at temperature 20 (docs/paper.md: what that comes to here). The adversary is the
# undefended model, which is trained first, once.
# Command: python tools/train.py configs/reid/market_amd_online_nat_w001_osnet.py
# Cost: 12 forwards and 9 backwards per image and step. Paper's number: none (Table 12 is for a larger network).
_base_ = ["market_amd_online_osnet.py"]
method = dict(
    terms=[
        dict(type="TaskLoss"),
        dict(type="NastyKL", weight=0.01, temperature=20.0, adversary=dict(config="configs/reid/market_base_osnet.py")),
    ],
)
