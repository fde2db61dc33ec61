# Does MTD help a detector, and does the nasty term add to it? The small SSD on pasted digits and on a few real
# photographs: undefended, MTD on adversarial images, MTD on the union and MTD with NAT at equal epochs, all from the
# undefended weights; two seeds, every column of the paper's Table 13.
# Command: python tools/study.py configs/studies/det_small.py --work-dir work_dirs/det_small
# Cost: 2 to 6 minutes a training on one CPU thread, sixteen of them, and 3 to 10 minutes a judgement.
# Paper's number: none (Table 13 is VOC with SSD300); only differences between the rows mean anything.
title = "Object detection, small: MTD and MTD with NAT"
seeds = [0, 1]
subset = 50
attacks = "configs/attacks/det_table13.py"
rows = {
    f"{data}_{method}": dict(
        name=name,
        group=group,
        config=f"configs/det/ssd_{data}_{config}.py",
        **({} if method == "std" else {"adversary": f"{data}_std"}),
    )
    for data, group in (("digits", "Pasted digits"), ("photos", "Few real photographs"))
    for method, name, config in (
        ("std", "Standard", "std"),
        ("mtd", "MTD", "mtd"),
        ("mtd_union", "MTD (union)", "mtd_union"),
        ("mtd_nat", "MTD&NAT", "mtd_nat_w006"),  # the paper's weight
    )
}
