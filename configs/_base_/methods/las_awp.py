# LAS-AWP (Jia et al. 2022): LAS with stronger options and a lesson in every step, its images brought back to 8/255, at
# adversarially perturbed weights. Options, rewards and rates are the original's (LAS_AWP_train_cifar10.py).
_base_ = ["las_pgd_at.py"]
method = dict(
    _delete_=True,
    type="AWP",
    gamma=0.01,
    method=dict(
        _base_.method,
        eps=[e / 255 for e in range(7, 16)],
        steps=list(range(8, 17)),
        step_size=[s / 255 for s in range(2, 6)],
        clip=8 / 255,
        interval=1,
        reward=(1.0, 1.0, 1.0),
        lr=[(0, 1e-4), (100, 1e-5), (150, 1e-6)],
        copy_lr=[(0, 0.1), (100, 0.01), (150, 0.001)],
    ),
)
