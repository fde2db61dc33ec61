# MTD of the small SSD on the people of a few real photographs: adversarial images alone, each the worse of one step on
# the classification loss and one on the localisation loss, judged by the total loss.
# Command: python tools/train.py configs/det/ssd128_person_mtd.py
# Eight epochs from the undefended detector's weights, which is trained first, once.
# Cost: 5 forwards and 3 backwards per image and step. Paper's number: none (Table 13 has all of VOC and SSD300).
_base_ = [
    "../_base_/models/ssd128_r18d.py",
    "../_base_/datasets/photos_person128.py",
    "../_base_/schedules/det_adamw_8e.py",
    "../_base_/methods/mtd.py",
    "../_base_/det_runtime.py",
]
start = dict(config="configs/det/ssd128_person_std.py")
