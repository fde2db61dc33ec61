# AMD with NAT on the generated set, OSNet-x0.25: generated_amd_offline.py and the nasty term on the identity logits.
# The adversary is the undefended model, which also makes the copies: it is trained once for both.
# Command: python tools/train.py configs/reid/generated_amd_nat_offline.py
# Cost: 4 forwards and 2 backwards per image and step. Paper's number: none (the set is natx's own).
_base_ = ["generated_amd_offline.py"]
method = dict(
    terms=[
        dict(type="TaskLoss"),
        dict(type="NastyKL", weight=0.01, temperature=20.0, adversary=dict(config="configs/reid/generated_base.py")),
    ],
)
