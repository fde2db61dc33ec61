# NAT without MTD of SSD300: adversarial images that climb the classification loss as for classifiers (10 steps of
# 2/255), and the nasty term. The term's weight holds a tenth of the task's gradient on these logits.
# Command: python tools/train.py configs/det/ssd300_voc_nat.py
# Cost: 14 forwards and 12 backwards per image and step. Paper's number: none (Table 13 has NAT with MTD only).
_base_ = [
    "../_base_/models/ssd300_vgg16.py",
    "../_base_/datasets/voc0712_300x300.py",
    "../_base_/schedules/ssd300_232e.py",
    "../_base_/methods/pgd_at_union.py",
    "../_base_/det_runtime.py",
]
method = dict(
    attack=dict(objective=dict(type="ImageLoss", name="loss_cls")),
    terms=[
        dict(type="TaskLoss"),
        dict(type="NastyKL", share=0.1, temperature=4.0, adversary=dict(config="configs/det/ssd300_voc_std.py")),
    ],
)
paper_row = None
