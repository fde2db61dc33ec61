# MTD with NAT of the small SSD (Eq. 5 on a detector) on the people of a few real photographs: clean and MTD images, and
# the nasty term on the class logits of the priors in the classification loss. The adversary is the undefended detector.
# The term's weight holds a tenth of the task's gradient on these logits.
# Command: python tools/train.py configs/det/ssd128_person_mtd_nat.py
# Eight epochs from the undefended detector's weights, which is trained first, once.
# Cost: 8 forwards and 4 backwards per image and step. Paper's number: none (Table 13 has all of VOC and SSD300).
_base_ = ["ssd128_person_mtd_union.py"]
method = dict(
    terms=[
        dict(type="TaskLoss"),
        dict(type="NastyKL", share=0.1, temperature=4.0, adversary=dict(config="configs/det/ssd128_person_std.py")),
    ],
)
