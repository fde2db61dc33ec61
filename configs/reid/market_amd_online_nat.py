# AMD online with NAT on Market-1501, ResNet-50: market_amd_online.py and the nasty term on the identity logits, with
# a weight that holds a tenth of the task's gradient there. The adversary is the undefended model, which is trained
# first, once.
# Command: python tools/train.py configs/reid/market_amd_online_nat.py
# Cost: 12 forwards and 9 backwards per image and step. Paper's number: none (Table 12 does not say which AMD it
# means).
_base_ = ["market_amd_online.py"]
method = dict(
    terms=[
        dict(type="TaskLoss"),
        dict(type="NastyKL", share=0.1, temperature=20.0, adversary=dict(config="configs/reid/market_base.py")),
    ],
)
