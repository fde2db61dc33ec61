# NAT without AMD on Market-1501, ResNet-50: adversarial images that climb the identity cross-entropy as for
# classifiers (10 steps of 2/255), and the nasty term with a weight that holds a tenth of the task's gradient on the
# identity logits.
# Command: python tools/train.py configs/reid/market_nat.py
# Cost: 14 forwards and 12 backwards per image and step. Paper's number: none (Table 12 has NAT with AMD only).
_base_ = [
    "../_base_/models/bot_resnet50.py",
    "../_base_/datasets/market1501.py",
    "../_base_/schedules/bot_120e.py",
    "../_base_/methods/pgd_at_union.py",
    "../_base_/reid_runtime.py",
]
method = dict(
    terms=[
        dict(type="TaskLoss"),
        dict(type="NastyKL", share=0.1, temperature=20.0, adversary=dict(config="configs/reid/market_base.py")),
    ],
)
paper_row = None
