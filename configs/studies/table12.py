# Table 12 of the paper: ResNet-50 on Market-1501 without defence, with AMD and with AMD and NAT, three seeds; the
# paper's cells beneath ours. AMD is online here, the form that withstands an attack on the model itself; its offline
# form, NAT by the paper's weight and GOAT stand beside it.
# Command: python tools/study.py configs/studies/table12.py --work-dir work_dirs/table12
# Cost: twenty-one trainings of 60 or 120 epochs with 1 to 13 forwards per image and step: a GPU, a week or two. Put
# Market-1501 under data/ first; --report prints the table as far as it has been run, --rows chooses.
# Paper's number: AMD&NAT 68.92/88.25 clean, 12.64/25.42 under FNA 8/255 (mAP/Rank-1).
title = "Table 12: person re-identification on Market-1501"
seeds = [0, 1, 2]
attacks = "configs/attacks/reid_table12.py"
market = "configs/reid/market_"
rows = {
    "base": dict(name="None", config=f"{market}base.py"),
    "amd": dict(name="AMD", config=f"{market}amd.py"),
    "amd_nat": dict(name="AMD&NAT", config=f"{market}amd_nat.py", adversary="base"),
    "amd_nat_w001": dict(name="AMD&NAT, weight 0.01", config=f"{market}amd_online_nat_w001.py", adversary="base"),
    "amd_offline": dict(name="AMD offline", config=f"{market}amd_offline.py", adversary="base"),
    "amd_nat_offline": dict(name="AMD&NAT offline", config=f"{market}amd_nat_offline.py", adversary="base"),
    "goat": dict(name="GOAT", config=f"{market}goat.py"),
}
del market
