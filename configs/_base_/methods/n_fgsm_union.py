# N-FGSM on clean and adversarial images: Eq. 5 with a single step, to which a NAT config adds the nasty term.
_base_ = ["n_fgsm.py"]
method = dict(views=("clean", "adv"))
