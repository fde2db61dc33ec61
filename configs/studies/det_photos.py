# det_small.py on real photographs: people, on 174 photographs of VOC and COCO to learn from, judged on 66 of 131 others
# (all 31 of VOC, 35 of COCO). The same small SSD at 128 x 128, undefended, with MTD on adversarial images, MTD on the
# union and MTD with NAT, at equal epochs, from the weights of the undefended detector of their group; its backbone is a
# classifier's of Tiny-ImageNet, trained without attack in one group and adversarially in the other. Every column of the
# paper's Table 13 that a detector of one class has (DAG needs two), two seeds.
# So small a detector finds few of the people, most of whom are some pixels high: a few right detections move VOC's mAP,
# a mean over eleven recalls, by whole steps of nine (up, too, under an attack), so read AP50 in the table of all values
# beside it, and both with their intervals.
# VOC's photographs have larger people than COCO's: on all 131 the values would be lower.
# The photographs and Tiny-ImageNet are not shipped (data/voc2012_108, data/coco256_voc,
# data/tinyimagenet100_imagefolder).
# Command: python tools/study.py configs/studies/det_photos.py --work-dir work_dirs/det_photos
# Cost: 1 to 4 minutes a training on one free CPU thread, sixteen of them and two classifiers, and two minutes a
# judgement.
# Paper's number: none (Table 13 is VOC with SSD300); only differences between the rows mean anything.
title = "Object detection on photographs, small: MTD and MTD with NAT, from a normal and a robust backbone"
seeds = [0, 1]
subset = 66
attacks = "configs/attacks/det_table13.py"
rows = {
    f"{backbone}_{method}": dict(
        name=name,
        group=group,
        config=f"configs/det/ssd128_person_{config.format(backbone)}.py",
        **({} if method == "std" else {"adversary": f"{backbone}_std"}),
    )
    for backbone, group in (("vt", "From a normal backbone"), ("robust", "From a robust backbone"))
    for method, name, config in (
        ("std", "Standard", "{}_std"),
        ("mtd", "MTD", "mtd"),
        ("mtd_union", "MTD (union)", "mtd_union"),
        ("mtd_nat", "MTD&NAT, share 0.1", "mtd_nat"),
    )
}
