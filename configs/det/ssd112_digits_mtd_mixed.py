# MTD of the small SSD on mixed attacks, on large pasted digits: clean and adversarial images, each of one step on the
# classification loss or on the localisation loss, drawn for every image and epoch (Winter et al. 2026).
# Command: python tools/train.py configs/det/ssd112_digits_mtd_mixed.py
# Eight epochs from the undefended detector's weights, which is trained first, once.
# Cost: 3 forwards and 3 backwards per image and step. Paper's number: none (the set is natx's own).
_base_ = [
    "../_base_/models/ssd112_r18d.py",
    "../_base_/datasets/digits_voc112.py",
    "../_base_/schedules/det_adamw_8e.py",
    "../_base_/methods/mtd_mixed.py",
    "../_base_/det_runtime.py",
]
method = dict(views=("clean", "adv"))
start = dict(config="configs/det/ssd112_digits_std.py")
