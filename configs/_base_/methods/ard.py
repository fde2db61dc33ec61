# ARD (adversarially robust distillation, Goldblum et al. 2020); a config names the teacher.
_base_ = ["pgd_at.py"]
method = dict(
    _delete_=True,
    type="Distillation",
    method=dict(_base_.method, terms=[dict(type="ARD", weight=1.0, temperature=30.0)]),
)
