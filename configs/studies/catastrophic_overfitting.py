# What does the guard against catastrophic overfitting do? A small net on the digits at eps 77/255, trained on FGSM
# without start: without a guard; with one that goes back to the last good epoch and on with N-FGSM; and N-FGSM from the
# first epoch on. The best epoch is chosen by PGD-10 on held-out images in all of them, so it is the last one that shows
# what the training ends in. FGSM far above PGD in a row is the overfitting.
# Command: python tools/study.py configs/studies/catastrophic_overfitting.py --threads 1
# Cost: under a minute a training and a judgement on one CPU thread, five of each a seed. Paper's number: none.
title = "Catastrophic overfitting on the digits: FGSM without start, Linf 77/255"
seeds = [0, 1]
subset = 200
attacks = "configs/attacks/digits_overfit.py"
linf = dict(type="Linf", eps=77 / 255)
fgsm = {
    "method": dict(
        _delete_=True,
        type="Adversarial",
        views=("adv",),
        attack=dict(type="SingleStep", threat=linf, noise=0.0, step=1.0),
    ),
    "select": dict(_delete_=True, every=1),
    "task.model_args.width": 32,
    "optim_wrapper.optimizer.lr": 0.1,
}
n_fgsm = {"method.attack.noise": 2.0, "method.attack.clip": False}
unguarded = {**fgsm, "guard": None}
guarded = {**fgsm, "guard": dict(stronger=[n_fgsm])}
net = "configs/cls/digits_pgd_at.py"
rows = dict(
    fgsm=dict(name="FGSM, no guard, last epoch", config=net, options=unguarded, checkpoint="last"),
    fgsm_best=dict(name="FGSM, no guard, best epoch", config=net, options=unguarded),
    guarded=dict(
        name="FGSM, guard goes back, on with N-FGSM, last epoch", config=net, options=guarded, checkpoint="last"
    ),
    guarded_best=dict(name="FGSM, guard goes back, on with N-FGSM, best epoch", config=net, options=guarded),
    n_fgsm=dict(name="N-FGSM, last epoch", config=net, options={**unguarded, **n_fgsm}, checkpoint="last"),
)
