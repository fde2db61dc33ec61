# AMD online with NAT on a 16-identity part of MARS in Market's layout, OSNet-x0.25: mars_mini_amd_online.py and the
# nasty term on the identity logits, with a weight that holds a tenth of the task's gradient there. The adversary is
# the undefended model, which is trained first, once.
# Command: python tools/train.py configs/reid/mars_mini_amd_online_nat.py
# Cost: 12 forwards and 9 backwards per image and step. Paper's number: none (the paper does not use MARS).
_base_ = ["mars_mini_amd_online.py"]
method = dict(
    terms=[
        dict(type="TaskLoss"),
        dict(type="NastyKL", share=0.1, temperature=20.0, adversary=dict(config="configs/reid/mars_mini_base.py")),
    ],
)
