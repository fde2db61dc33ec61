# The columns of the paper's Table 12: metric attacks on the query images, the gallery stays clean. 16 steps of 1/255 in
# pixel space; FNA and IFGSM are guided by the other query images of the person, SMA by nothing.
# Command: python tools/test.py configs/reid/market_base.py CHECKPOINT --attacks configs/attacks/reid_table12.py
# Cost: 6 x (18 forwards and 16 backwards) per query image at most, and one forward per gallery image in all.
custom_imports = dict(imports=["tasks.reid"])
eight, ten = dict(type="Linf", eps=8 / 255), dict(type="Linf", eps=10 / 255)
steps = dict(type="PGD", steps=16, step_size=1 / 255)
attacks = [
    dict(**steps, name="FNA 8/255", threat=eight, random_start=False, objective=dict(type="FNA")),
    dict(**steps, name="FNA 10/255", threat=ten, random_start=False, objective=dict(type="FNA")),
    dict(**steps, name="SMA 8/255", threat=eight, random_start=True, objective=dict(type="SMA")),
    dict(**steps, name="SMA 10/255", threat=ten, random_start=True, objective=dict(type="SMA")),
    dict(**steps, name="IFGSM 8/255", threat=eight, random_start=False, objective=dict(type="IFGSM")),
    dict(**steps, name="IFGSM 10/255", threat=ten, random_start=False, objective=dict(type="IFGSM")),
]
# Table 12 as printed (Market-1501, mAP/Rank-1), shown beside the results of a config with one of these as paper_row.
columns = ["Clean", *(attack["name"] for attack in attacks)]
rows = {
    "None": ["78.49/92.01", "0.20/0.17", "0.18/0.14", "0.27/0.26", "0.20/0.11", "1.25/1.95", "1.09/1.66"],
    "AMD": ["69.69/88.24", "8.57/18.14", "4.37/9.41", "22.85/35.69", "15.21/23.37", "17.97/34.65", "11.74/23.34"],
    "AMD&NAT": ["68.92/88.25", "12.64/25.42", "8.66/15.43", "26.14/38.05", "22.07/27.42", "22.33/36.79", "13.90/28.93"],
}
paper = {name: dict(zip(columns, cells)) for name, cells in rows.items()}
del eight, ten, steps, columns, rows
