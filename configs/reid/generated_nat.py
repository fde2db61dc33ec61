# NAT without AMD on the generated set, OSNet-x0.25: adversarial images that climb the identity cross-entropy as for
# classifiers (10 steps of 2/255), and the nasty term with a weight that holds a tenth of the task's gradient on the
# identity logits.
# Command: python tools/train.py configs/reid/generated_nat.py
# Cost: 14 forwards and 12 backwards per image and step. Paper's number: none (the set is natx's own).
_base_ = [
    "../_base_/models/osnet_x0_25_generated.py",
    "../_base_/datasets/generated_reid.py",
    "../_base_/schedules/generated_reid_15e.py",
    "../_base_/methods/pgd_at_union.py",
    "../_base_/reid_runtime.py",
]
method = dict(
    terms=[
        dict(type="TaskLoss"),
        dict(type="NastyKL", share=0.1, temperature=20.0, adversary=dict(config="configs/reid/generated_base.py")),
    ],
)
