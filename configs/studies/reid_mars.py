# The same question as reid_small.py on photographs: OSNet-x0.25 from random weights on mars_mini_marketstyle, 16 people
# of MARS for training and 16 others for testing, undefended, with online AMD, and with online AMD and NAT by a share of
# the gradient on the identity logits; all columns of the paper's Table 12.
# The configs' own 60 epochs of 4 steps. The set is not shipped (research use only): put it under
# data/mars_mini_marketstyle.
# Command: python tools/study.py configs/studies/reid_mars.py --work-dir work_dirs/reid_mars
# Cost: two minutes (undefended) to twenty a training on one free CPU thread.
# Paper's number: none (the paper does not use MARS); only differences between the rows mean anything.
title = "Person re-identification on a part of MARS: defences and the nasty term"
seeds = [0]
attacks = "configs/attacks/reid_table12.py"
rows = dict(
    base=dict(name="None", config="configs/reid/mars_mini_base.py"),
    amd_online=dict(name="AMD online", config="configs/reid/mars_mini_amd_online.py"),
    nat=dict(name="AMD online & NAT, share 0.1", config="configs/reid/mars_mini_amd_online_nat.py", adversary="base"),
)
