# NAT of WRN-34-10 on CIFAR-10 with an adversary of its own architecture that is untrained instead of vanilla; otherwise
# wrn34_10_cifar10_nat.py, which is the vanilla state.
# Command: python tools/train.py configs/cls/wrn34_10_cifar10_nat_state_random.py
# (Its weights are drawn from the run's seed.)
# Cost: 14 forwards and 12 backwards per image and step.
# Paper's number: none (Sec. 4.3 and App. G name this state, Table 8 has no row of it).
_base_ = ["wrn34_10_cifar10_nat.py"]
method = dict(
    terms=[
        _base_.method.terms[0],
        dict(
            _base_.method.terms[1],
            adversary=dict(task=dict(type="ClassificationTask", model="wrn_34_10", num_classes=10), state="random"),
        ),
    ],
)
