# Does MTD help a detector, does the nasty term add to it, and does a robust backbone? A small SSD on large pasted
# digits: undefended, MTD on adversarial images, MTD on the union and MTD with NAT at equal epochs, all from the weights
# of the undefended detector of their group. Its backbone is a classifier's of Tiny-ImageNet, trained without attack in
# one group and adversarially in the other. Two seeds, every column of the paper's Table 13.
# Real photographs are in det_photos.py.
# Cells that are not run were beyond what one thread of a busy CPU could do: the command goes on with them.
# Tiny-ImageNet is not shipped (data/tinyimagenet100_imagefolder); the digits are made on the spot.
# Command: python tools/study.py configs/studies/det_small.py --work-dir work_dirs/det_small
# Cost: 1 to 4 minutes a training on one free CPU thread, sixteen of them and two classifiers, and a minute a judgement.
# Paper's number: none (Table 13 is VOC with SSD300); only differences between the rows mean anything.
title = "Object detection, small: MTD and MTD with NAT, from a normal and a robust backbone"
seeds = [0, 1]
subset = 50
attacks = "configs/attacks/det_table13.py"
rows = {
    f"{backbone}_{method}": dict(
        name=name,
        group=group,
        config=f"configs/det/ssd112_digits_{config.format(backbone)}.py",
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
