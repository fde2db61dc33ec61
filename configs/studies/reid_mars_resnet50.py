# reid_mars.py with the paper's network: ResNet-50 from random weights (BoT's last stride, batch-norm neck) in bfloat16
# on mars_mini_marketstyle, undefended, with online AMD, and with online AMD and NAT by a share of the gradient on the
# identity logits; all columns of the paper's Table 12.
# 20 epochs of 4 steps, a third of what OSNet-x0.25 gets there: a step of online AMD takes six times an undefended one.
# The set is not shipped (research use only): put it under data/mars_mini_marketstyle.
# Command: python tools/study.py configs/studies/reid_mars_resnet50.py --work-dir work_dirs/reid_mars_resnet50
# Cost: on one CPU thread with bfloat16 instructions and without AMX 2.4 minutes undefended (1.8 s a step of 64 images,
# 3.6 s in float32), a quarter of an hour with online AMD (10 s a step), 2 minutes a judgement.
# Paper's number: none (the paper does not use MARS); only differences between the rows mean anything.
title = "Person re-identification on a part of MARS with ResNet-50: defences and the nasty term"
seeds = [0]
attacks = "configs/attacks/reid_table12.py"
options = {
    "amp": "bfloat16",
    "task.model": "resnet50",
    "task.last_stride": 1,
    "task.channels_last": True,
    "train_cfg.max_epochs": 20,
    "param_scheduler.1.T_max": 15,
    "param_scheduler.1.end": 20,
}
rows = dict(
    base=dict(name="None", config="configs/reid/mars_mini_base.py", options=options),
    amd_online=dict(name="AMD online", config="configs/reid/mars_mini_amd_online.py", options=options),
    nat=dict(
        name="AMD online & NAT, share 0.1",
        config="configs/reid/mars_mini_amd_online_nat.py",
        options=options,
        adversary="base",
    ),
)
del options
