# AMD online with NAT on the generated set, OSNet-x0.25: generated_amd_online_nat.py with the weight as the paper's
# text is read, 0.01 at temperature 20 (docs/paper.md: what that comes to here). The adversary is the undefended
# model, which is trained first, once.
# Command: python tools/train.py configs/reid/generated_amd_online_nat_w001.py
# Cost: 12 forwards and 9 backwards per image and step. Paper's number: none (the set is natx's own).
_base_ = ["generated_amd_online.py"]
method = dict(
    terms=[
        dict(type="TaskLoss"),
        dict(type="NastyKL", weight=0.01, temperature=20.0, adversary=dict(config="configs/reid/generated_base.py")),
    ],
)
