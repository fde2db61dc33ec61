# Which defence of person re-identification holds, and does the nasty term add to it? OSNet-x0.25 on the generated set:
# undefended, AMD offline and online, online AMD with NAT by the paper's weight and by the share of the gradient on the
# identity logits that the term holds, and GOAT, at equal epochs, three seeds; all columns of the paper's Table 12.
# Ten epochs, two thirds of the configs': what one thread of a busy CPU could do; longer trainings give better models.
# Cells that are not run were beyond that too: the command goes on with them.
# GOAT trains within 5/255, as its code does; the others within 8/255. All are judged within 8/255 and 10/255.
# Command: python tools/study.py configs/studies/reid_small.py --work-dir work_dirs/reid_small
# Cost: half a minute (undefended) to two minutes a training on one free CPU thread, 24 of them, half a minute a
# judgement.
# Paper's number: none (Table 12 is Market-1501 with ResNet-50); only differences between the rows mean anything.
title = "Person re-identification, small: defences and the nasty term"
seeds = [0, 1, 2]
attacks = "configs/attacks/reid_table12.py"
epochs, share = 10, "method.terms.1.share"
short = {
    "train_cfg.max_epochs": epochs,
    "param_scheduler": [
        dict(type="LinearLR", start_factor=0.1, begin=0, end=2, by_epoch=True),
        dict(type="CosineAnnealingLR", T_max=epochs - 2, begin=2, end=epochs, by_epoch=True),
    ],
}
rows = {
    key: dict(
        name=name,
        config=f"configs/reid/generated_{config}.py",
        options={**short, **options},
        **({"adversary": "base"} if config.startswith(("amd_offline", "amd_online_nat")) else {}),
    )
    for key, name, config, options in (
        ("base", "None", "base", {}),
        ("amd_offline", "AMD offline", "amd_offline", {}),
        ("amd_online", "AMD online", "amd_online", {}),
        ("nat", "AMD online & NAT, share 0.1", "amd_online_nat", {}),
        ("nat_w001", "AMD online & NAT, weight 0.01", "amd_online_nat_w001", {}),
        ("goat", "GOAT", "goat", {}),
        ("nat_share03", "AMD online & NAT, share 0.3", "amd_online_nat", {share: 0.3}),
        ("nat_share005", "AMD online & NAT, share 0.05", "amd_online_nat", {share: 0.05}),
    )
}
del epochs, share, short
