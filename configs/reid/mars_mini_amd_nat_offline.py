# AMD with NAT on a 16-identity part of MARS in Market's layout, OSNet-x0.25: mars_mini_amd_offline.py and the nasty
# term on the identity logits. The adversary is the undefended model, which also makes the copies: it is trained once
# for both.
# Command: python tools/train.py configs/reid/mars_mini_amd_nat_offline.py
# Cost: 4 forwards and 2 backwards per image and step. Paper's number: none (the paper does not use MARS).
_base_ = ["mars_mini_amd_offline.py"]
method = dict(
    terms=[
        dict(type="TaskLoss"),
        dict(type="NastyKL", weight=0.01, temperature=20.0, adversary=dict(config="configs/reid/mars_mini_base.py")),
    ],
)
