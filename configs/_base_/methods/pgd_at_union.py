# PGD adversarial training on clean and adversarial images: Eq. 5, to which a NAT config adds the nasty term.
_base_ = ["pgd_at.py"]
method = dict(views=("clean", "adv"))
