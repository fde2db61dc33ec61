# Does bfloat16 training change what is learned? NAT on the digits in fp32 and under bf16 autocast with channels_last.
# Command: python tools/study.py configs/studies/digits_bf16.py --threads 1
# Cost: about two minutes a run on one CPU thread, four of them. Paper's number: none.
title = "Digits: fp32 against bfloat16"
seeds = [0, 1]
subset = 360
attacks = "configs/attacks/digits_table.py"
rows = dict(
    fp32=dict(name="NAT, fp32", config="configs/cls/digits_nat.py"),
    bf16=dict(
        name="NAT, bf16 autocast, channels_last",
        config="configs/cls/digits_nat.py",
        options={"amp": "bfloat16", "task.channels_last": True},
    ),
)
