# RSLAD (robust soft label adversarial distillation, Zi et al. 2021): no labels enter, the inner attack climbs the KL
# from the teacher's prediction on the clean image; a config names the teacher.
_base_ = ["trades.py"]
method = dict(
    _delete_=True,
    type="Distillation",
    method=dict(
        _base_.method,
        attack=dict(_base_.method.attack, objective=dict(type="TeacherKL")),
        terms=[dict(type="RSLAD")],
    ),
)
