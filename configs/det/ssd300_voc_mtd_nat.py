# MTD with NAT of SSD300 (Eq. 5 on a detector): clean and MTD images, and the nasty term on the class logits of the
# priors in the classification loss. The adversary is the undefended detector with the same priors. The term's weight
# holds a tenth of the task's gradient on these logits.
# Command: python tools/train.py configs/det/ssd300_voc_mtd_nat.py
# Cost: 8 forwards and 4 backwards per image and step. Paper's number: 48.4 clean, 30.7 under loss_cls, 31.3 under
# loss_loc (mAP, Table 13, MTD&NAT).
_base_ = ["ssd300_voc_mtd_union.py"]
method = dict(
    terms=[
        dict(type="TaskLoss"),
        dict(type="NastyKL", share=0.1, temperature=4.0, adversary=dict(config="configs/det/ssd300_voc_std.py")),
    ],
)
paper_row = "MTD&NAT"
