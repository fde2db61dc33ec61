# Which defence of person re-identification holds, and does the nasty term add to it? OSNet-x0.25 on the generated set:
# undefended, AMD offline and online, online AMD with NAT by the paper's weight and by the share of the gradient on the
# identity logits that the term holds, and GOAT, at equal epochs, three seeds; all columns of the paper's Table 12.
# The configs' own 15 epochs. Ten were tried first and given up by clean scores and training loss alone: seed 0 of the
# undefended row ended at a clean mAP of 19.9 and a loss of 2.1 there, at 33.0 and 1.7 after 15, which is still short of
# convergence.
# GOAT trains within 5/255, as its code does; the others within 8/255. All are judged within 8/255 and 10/255.
# Command: python tools/study.py configs/studies/reid_small.py --work-dir work_dirs/reid_small
# Cost: three quarters of a minute (undefended) to three minutes a training on one free CPU thread, 24 of them, half a
# minute a judgement.
# Paper's number: none (Table 12 is Market-1501 with ResNet-50); only differences between the rows mean anything.
title = "Person re-identification, small: defences and the nasty term"
seeds = [0, 1, 2]
attacks = "configs/attacks/reid_table12.py"
share = "method.terms.1.share"
rows = {
    key: dict(
        name=name,
        config=f"configs/reid/generated_{config}.py",
        options=options,
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
del share
