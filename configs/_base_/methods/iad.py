# IAD-I (introspective adversarial distillation, Zhu et al. 2021), introspective from epoch 60 on; a config names the
# teacher.
_base_ = ["pgd_at_union.py"]
method = dict(
    _delete_=True,
    type="Distillation",
    method=dict(_base_.method, terms=[dict(type="IAD", temperature=1.0, power=0.1, begin=60)], joint_batch=False),
)
