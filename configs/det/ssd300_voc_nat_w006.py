# NAT without MTD of SSD300: ssd300_voc_nat.py with the paper's weight for classifiers, 0.06, at temperature 4.
# Command: python tools/train.py configs/det/ssd300_voc_nat_w006.py
# Cost: 14 forwards and 12 backwards per image and step. Paper's number: none (Table 13 has NAT with MTD only).
_base_ = ["ssd300_voc_nat.py"]
method = dict(
    terms=[
        dict(type="TaskLoss"),
        dict(type="NastyKL", weight=0.06, temperature=4.0, adversary=dict(config="configs/det/ssd300_voc_std.py")),
    ],
)
