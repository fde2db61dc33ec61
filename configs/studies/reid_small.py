# Does AMD help, and does the nasty term add to it? OSNet-x0.25 on the generated set and on 16 people of MARS, without
# defence, with AMD (offline) and with AMD and NAT, at equal epochs, two seeds; all columns of the paper's Table 12.
# Command: python tools/study.py configs/studies/reid_small.py --work-dir work_dirs/reid_small
# Cost: 5 to 15 minutes a training on one CPU thread, twelve of them, and a minute or two a judgement.
# Paper's number: none (Table 12 is Market-1501 with ResNet-50); only differences between the rows mean anything.
title = "Person re-identification, small: AMD and AMD with NAT"
seeds = [0, 1]
attacks = "configs/attacks/reid_table12.py"
rows = {
    f"{data}_{method}": dict(
        name=name,
        group=group,
        config=f"configs/reid/{data}_{method}.py",
        **({} if method == "base" else {"adversary": f"{data}_base"}),
    )
    for data, group in (("generated", "Generated set"), ("mars_mini", "16 people of MARS"))
    for method, name in (("base", "None"), ("amd", "AMD"), ("amd_nat", "AMD&NAT"))
}
