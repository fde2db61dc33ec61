# AMD online: adversarial images made anew for every batch on the current model. As GOAT (Bouniot et al.): 7 steps from
# a random start, guides from the batch; within 8/255 here, 5/255 there.
_base_ = ["pgd_at_union.py"]
method = dict(attack=dict(steps=7, objective=dict(type="IFGSM", guides="batch")))
