# MTD of SSD300 on mixed attacks: clean and adversarial images, each of one step on the classification loss or on the
# localisation loss, drawn for every image and epoch (Winter et al. 2026).
# Command: python tools/train.py configs/det/ssd300_voc_mtd_mixed.py
# Cost: 3 forwards and 3 backwards per image and step. Paper's number: none (Table 13 has MTD's choice of the worse).
_base_ = [
    "../_base_/models/ssd300_vgg16.py",
    "../_base_/datasets/voc0712_300x300.py",
    "../_base_/schedules/ssd300_232e.py",
    "../_base_/methods/mtd_mixed.py",
    "../_base_/det_runtime.py",
]
method = dict(views=("clean", "adv"))
