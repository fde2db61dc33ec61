# NAT without AMD on Market-1501, OSNet-x0.25 for CPUs: adversarial images that climb the identity cross-entropy as
# for classifiers (10 steps of 2/255), and the nasty term with a weight that holds a tenth of the task's gradient on
# the identity logits.
# Command: python tools/train.py configs/reid/market_nat_osnet.py
# Cost: 14 forwards and 12 backwards per image and step. Paper's number: none (Table 12 is for a larger network).
_base_ = [
    "../_base_/models/osnet_x0_25_market1501.py",
    "../_base_/datasets/market1501.py",
    "../_base_/schedules/bot_120e.py",
    "../_base_/methods/pgd_at_union.py",
    "../_base_/reid_runtime.py",
]
method = dict(
    terms=[
        dict(type="TaskLoss"),
        dict(type="NastyKL", share=0.1, temperature=20.0, adversary=dict(config="configs/reid/market_base_osnet.py")),
    ],
)
