# NAT on the digits: PGD-AT on the union and the nasty term against a vanilla-trained adversary (Eq. 5).
# Command: python tools/train.py configs/cls/digits_nat.py
# Cost: 14 forwards and 12 backwards per image and step. Paper's number: none (the paper does not use the digits).
_base_ = ["digits_pgd_at.py"]
method = dict(
    terms=[
        dict(type="TaskLoss"),
        dict(type="NastyKL", weight=0.06, temperature=4.0, adversary=dict(config="configs/cls/digits_vt.py")),
    ],
)
