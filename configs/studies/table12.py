# Table 12 of the paper: ResNet-50 on Market-1501 without defence, with AMD and with AMD and NAT, three seeds; the
# paper's cells beneath ours.
# Command: python tools/study.py configs/studies/table12.py --work-dir work_dirs/table12
# Cost: nine trainings of 120 epochs with 1, 2 and 4 forwards per image and step: a GPU, a day or two. Put Market-1501
# under data/ first; --report prints the table as far as it has been run.
# Paper's number: AMD&NAT 68.92/88.25 clean, 12.64/25.42 under FNA 8/255 (mAP/Rank-1).
title = "Table 12: person re-identification on Market-1501"
seeds = [0, 1, 2]
attacks = "configs/attacks/reid_table12.py"
rows = {
    "base": dict(name="None", config="configs/reid/market_base.py"),
    "amd": dict(name="AMD", config="configs/reid/market_amd.py", adversary="base"),
    "amd_nat": dict(name="AMD&NAT", config="configs/reid/market_amd_nat.py", adversary="base"),
}
