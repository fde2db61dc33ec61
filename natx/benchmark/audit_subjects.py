"""What the audit is measured on: honest nets on scikit-learn's digits, and masked models made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from natx.attacks import FGSM, PGD, Attack, AutoAttack, Square
from natx.benchmark.masks import (
    BetweenLevels,
    Bytes,
    Clamped,
    Detached,
    FalseGradient,
    HardLabels,
    LargestCut,
    Moat,
    NoisyLogits,
    NoNumbers,
    Normalised,
    OfTheBatch,
    Purified,
    Quantised,
    RandomShift,
    Rippled,
    Scale,
    Weary,
)
from natx.data.base import InMemory
from natx.methods import Adversarial, Method, Standard
from natx.models.adversary import Adversary
from natx.models.wrap import ModuleTask
from natx.threat import Linf

TEST = 1000  # of the 1,797 digits; the others train
TRAINING_EPS, EPS = 51 / 255, 45 / 255  # at 8/255 not even an undefended net breaks on 8x8 pixels
THREAT, STEP = Linf(EPS), EPS / 4
MEAN, STD = 0.3, 0.4  # of the digits, roughly
EPOCHS, BATCH = 15, 64
SIZES = ("cnn", "mlp")
SEEDS = (0, 1, 2)
# Of nets that were trained when the checks' tolerances had been set; the others were in part seen before.
LATER_SEEDS, LATER_SIZES = (3,), (*SIZES, "residual")
GREY_LEVELS = 16  # of the digits


class BriefAutoAttack(AutoAttack):
    """AutoAttack without FAB, with 20 iterations and 300 queries: a twentieth of its cost, for these tiny nets.

    It takes AutoAttack's place before the checks, which know it by its type; no report is made of it.
    """

    members = ["apgd-ce", "apgd-t", "square"]  # noqa: RUF012 - read only
    options = {"iterations": 20, "queries": 300}  # noqa: RUF012 - read only

    def describe(self) -> dict[str, Any]:
        """As AutoAttack, which the checks look for."""
        return {**super().describe(), "type": "AutoAttack"}


@dataclass(frozen=True)
class Subject:
    """A model to audit.

    Attributes:
        name: unique.
        kind: 'honest', 'later' (honest, and trained when the tolerances had been set) or 'masked'.
        group: the method of an honest net, or what masks the other.
        task: the model.
        vanilla: an undefended net of the same size.
        attacks: the evaluation's attacks; none where the model refuses every gradient.
        made_for: ids of the checks that are made to find this mask.
        labels: classes that are claimed to be right, where they are not the true ones.
    """

    name: str
    kind: str
    group: str
    task: ModuleTask
    vanilla: ModuleTask
    attacks: list[Attack]
    made_for: tuple[str, ...] = ()
    labels: Tensor | None = None


def digits() -> tuple[InMemory, InMemory]:
    """Training and test images, drawn once: pixels in [0,1] ``[N, 1, 8, 8]``."""
    pixels, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    images = torch.tensor(pixels / 16, dtype=torch.float32).view(-1, 1, 8, 8)[order]
    classes, targets = [str(i) for i in range(10)], torch.tensor(labels)[order]
    test, train = slice(TEST), slice(TEST, None)
    return InMemory(images[train], targets[train], classes=classes), InMemory(
        images[test], targets[test], classes=classes
    )


def net(size: str) -> nn.Sequential:
    """A small network."""
    if size == "mlp":
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    if size == "residual":
        blocks = [Residual(16), nn.MaxPool2d(2), Residual(16)]
        return nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), *blocks, nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))
    convolutions = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(256, 10))


class Residual(nn.Module):
    """A block of two normalised convolutions beside its input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers = [nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1, bias=False)]
        again = [nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1, bias=False)]
        self.body = nn.Sequential(*layers, *again)

    def forward(self, x: Tensor) -> Tensor:
        """Features of the size of ``x``."""
        return x + self.body(x)


class Standardised(nn.Module):
    """Pixels in [0,1] as networks take them."""

    def forward(self, x: Tensor) -> Tensor:
        """About zero mean and unit deviation."""
        return (x - MEAN) / STD


def wrapped(network: nn.Module) -> ModuleTask:
    """A network on standardised pixels as a task."""
    return ModuleTask(nn.Sequential(Standardised(), network), 10)


def inside(task: ModuleTask) -> nn.Sequential:
    """The network that :func:`wrapped` was given."""
    network = list(task.module.children())[1]
    assert isinstance(network, nn.Sequential)
    return network


def fit(method: Method, size: str, *, seed: int, epochs: int = EPOCHS) -> ModuleTask:
    """A net trained by a method; the global generator is left as it was."""
    data = digits()[0]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        task = wrapped(net(size))
        method.prepare(task, torch.device("cpu"))
        optimiser = torch.optim.Adam(task.parameters(), lr=3e-3)
        for epoch in range(epochs):
            optimiser.param_groups[0]["lr"] = 3e-3 * (1 - epoch / epochs)
            for rows in torch.randperm(len(data)).split(BATCH):
                task.train()
                scalars = method(task, data.__getitems__(rows.tolist()), epoch=epoch)
                optimiser.zero_grad()
                torch.stack([value for key, value in scalars.items() if "loss" in key]).sum().backward()
                optimiser.step()
    return task.requires_grad_(False).eval()


def inner(**settings: Any) -> dict[str, Any]:
    """The inner attack of the trainings."""
    threat = {"type": "Linf", "eps": TRAINING_EPS}
    return {"type": "PGD", "threat": threat, "steps": 7, "step_size": TRAINING_EPS / 4, **settings}


BOTH, APART = ("clean", "adv"), {"random_start": "normal"}
CLEAN_LOSS = {"type": "TaskLoss", "on": ("clean",)}
# Trainings of honest nets; NAT keeps away from the undefended one.
METHODS: dict[str, Callable[[ModuleTask], Method]] = {
    "PGD-AT": lambda vanilla: Adversarial(inner()),
    "PGD-AT (union)": lambda vanilla: Adversarial(inner(), BOTH),
    "TRADES": lambda vanilla: Adversarial(
        inner(objective={"type": "KL"}, **APART),
        BOTH,
        terms=[CLEAN_LOSS, {"type": "TRADES", "weight": 3.0}],
        joint_batch=False,
    ),
    "MART": lambda vanilla: Adversarial(
        inner(**APART), BOTH, terms=[{"type": "MART", "weight": 5.0}], joint_batch=False
    ),
    "NAT": lambda vanilla: Adversarial(
        inner(),
        BOTH,
        terms=[{"type": "TaskLoss"}, {"type": "NastyKL", "adversary": Adversary([vanilla]), "weight": 0.02}],
    ),
}


def attacks() -> list[Attack]:
    """The evaluation's attacks: all columns that checks read."""
    return [
        FGSM(THREAT),
        PGD(THREAT, 50, step_size=STEP, milestones=(10, 20, 50)),
        PGD(THREAT, 30, step_size=STEP, objective={"type": "Margin"}, name="C&W"),
        Square(THREAT, queries=300, block_size=TEST),
        BriefAutoAttack(THREAT, block_size=TEST),
    ]


Build = Callable[[], Subject]


@cache
def undefended(size: str, seed: int) -> ModuleTask:
    """A net that is trained on clean images."""
    return fit(Standard(), size, seed=seed)


def honest(seed: int) -> Iterator[tuple[str, Build]]:
    """The honest nets of a seed by name, trained when they are built: each method, and none, in each size."""
    later = seed in LATER_SEEDS
    for number, method in enumerate(("undefended", *METHODS)):
        for size in LATER_SIZES if later else SIZES:
            name = f"{method}, {size}, seed {seed}"
            kind = "later" if later else "honest"
            yield name, partial(_honest, name, kind, method, size, seed, 100 * seed + number)


def _honest(name: str, kind: str, method: str, size: str, seed: int, draw: int) -> Subject:
    vanilla = undefended(size, seed)
    task = vanilla if method == "undefended" else fit(METHODS[method](vanilla), size, seed=draw)
    return Subject(name, kind, method, task, vanilla, attacks())


def masked(seed: int = 0, size: str = "mlp") -> Iterator[tuple[str, Build]]:
    """The masked models by name, of an adversarially trained net or of an undefended one."""
    for number, group in enumerate(MASKS):
        yield f"masked {number:02d} {group}", partial(_masked, group, size, seed)


@cache
def _robust(size: str, seed: int) -> ModuleTask:
    return fit(Adversarial(inner()), size, seed=seed)


def _masked(group: str, size: str, seed: int) -> Subject:
    mask = MASKS[group]
    plain, robust = undefended(size, seed), _robust(size, seed)
    task = mask.build(inside(plain), inside(robust))
    if not isinstance(task, ModuleTask):
        task = wrapped(task).eval().requires_grad_(False)
    labels = (digits()[1].labels + 1) % 10 if mask.moved else None
    return Subject(group, "masked", group, task, plain, mask.attacks(), mask.made_for, labels)


@dataclass(frozen=True)
class Mask:
    """How a masked model is made.

    Attributes:
        build: the network, on normalised pixels, from an undefended and an adversarially trained one; or a task.
        made_for: ids of the checks that are made to find it.
        attacks: the evaluation's attacks.
        moved: whether the labels are those of other classes.
    """

    build: Callable[[nn.Sequential, nn.Sequential], nn.Module]
    made_for: tuple[str, ...]
    attacks: Callable[[], list[Attack]] = attacks
    moved: bool = False


def _chain(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers)


def _other_pgd(attack: Attack) -> list[Attack]:
    """The attacks with another one in place of PGD."""
    fgsm, _, *others = attacks()
    return [attack, fgsm, *others]


def _moat(plain: nn.Sequential) -> nn.Module:
    test = digits()[1]
    return Moat(plain, Standardised()(test.images), test.labels, width=0.1 / STD)


def _between_levels(factor: float) -> nn.Module:
    return BetweenLevels(factor, mean=MEAN, deviation=STD, levels=GREY_LEVELS)


SURE, BLIND, RANDOM = ("G9", "G10", "G16"), ("G6", "G9", "G12", "G13"), ("G14", "AA-RAND")
MASKS: dict[str, Mask] = {
    "logits times 1000": Mask(lambda plain, robust: _chain(robust, Scale(1000)), SURE),
    "logits times 1000, undefended": Mask(lambda plain, robust: _chain(plain, Scale(1000)), SURE),
    "logits times 100": Mask(lambda plain, robust: _chain(robust, Scale(100)), ("G10", "G16")),
    "input of 3 levels": Mask(lambda plain, robust: _chain(Quantised(0.8), robust), BLIND),
    "input of 3 levels, undefended": Mask(lambda plain, robust: _chain(Quantised(0.8), plain), (*BLIND, "G11", "G15")),
    "input of 6 levels, undefended": Mask(lambda plain, robust: _chain(Quantised(2), plain), (*BLIND, "G11", "G15")),
    "features of few levels": Mask(lambda plain, robust: _chain(*robust[:3], Quantised(2), robust[3]), BLIND),
    "gradient detached": Mask(lambda plain, robust: _chain(Detached(), robust), ("G9",), attacks=list),
    "random logits": Mask(lambda plain, robust: _chain(robust, NoisyLogits()), RANDOM),
    "random logits, faint": Mask(lambda plain, robust: _chain(robust, NoisyLogits(0.02)), RANDOM),
    "random shift": Mask(lambda plain, robust: _chain(RandomShift(), robust), RANDOM),
    "dropout left on": Mask(lambda plain, robust: _chain(*robust[:-1], AlwaysDropout(), robust[-1]), RANDOM),
    "probabilities": Mask(lambda plain, robust: _chain(robust, nn.Softmax(1)), ("G14", "AA-PROB")),
    "logits of the batch": Mask(lambda plain, robust: _chain(robust, OfTheBatch()), ("G14",)),
    "clamped logits": Mask(lambda plain, robust: _chain(plain, Clamped(1.0)), ("G9",)),
    "labels alone": Mask(lambda plain, robust: _chain(plain, HardLabels()), ("G6", "G9", "G13")),
    "gradient of no number": Mask(lambda plain, robust: _chain(plain, NoNumbers()), ("G9",)),
    "eps of normalised pixels": Mask(
        lambda plain, robust: robust, ("G14",), lambda: _other_pgd(Normalised(THREAT, 20, step_size=STEP))
    ),
    "eps divided by 255": Mask(
        lambda plain, robust: robust, ("G5", "G14"), lambda: _other_pgd(Bytes(THREAT, 20, step_size=STEP))
    ),
    "attack stopped too soon": Mask(
        lambda plain, robust: robust, ("G13",), lambda: _other_pgd(PGD(THREAT, 10, step_size=EPS / 40))
    ),
    "labels of other classes": Mask(lambda plain, robust: robust, ("G14",), moved=True),
    "trained on FGSM alone": Mask(lambda plain, robust: overfitted("cnn", seed=0), ("G2", "G12")),
    # New kinds, which no test of a check knows.
    "new: fine ripple": Mask(lambda plain, robust: _chain(Rippled(), plain), ("G12",)),
    "new: gradient of the wrong sign": Mask(
        lambda plain, robust: _chain(FalseGradient(-1.0), plain), ("G6", "G8", "G12")
    ),
    "new: gradient times 1e-13": Mask(lambda plain, robust: _chain(FalseGradient(1e-13), plain), ("G9",)),
    "new: moat around the test images": Mask(lambda plain, robust: _moat(plain), ("G9", "G13")),
    # Made for checks that no mask above is made for.
    "gradient turned after 15 calls": Mask(lambda plain, robust: _chain(Weary(15), plain), ("G1",)),
    "gradient of the two largest logits cut": Mask(lambda plain, robust: _chain(plain, LargestCut()), ("G3",)),
    "gradient cut between grey levels": Mask(
        lambda plain, robust: _chain(_between_levels(0.0), plain), ("G7", "G12", "AA-GRAD", "AA-SQUARE")
    ),
    "gradient turned between grey levels": Mask(
        lambda plain, robust: _chain(_between_levels(-1.0), plain), ("G4", "G7", "G12")
    ),
    "images moved towards their answer": Mask(lambda plain, robust: Purified(robust, EPS / 2 / STD), ("AA-DYN",)),
}
# Checks for which no masked model can be made, and why.
UNMASKED = {
    "AA-CLASSES": "it looks at the attack's setting and not at the model, and natx refuses AutoAttack on fewer than 4 "
    "classes and gives it no more targets than there are other classes",
}


class AlwaysDropout(nn.Module):
    """Dropout that no eval mode turns off."""

    def forward(self, x: Tensor) -> Tensor:
        """``x`` with a fifth of its entries set to zero."""
        return F.dropout(x, 0.2, training=True)


def overfitted(size: str, *, seed: int) -> ModuleTask:
    """A net trained on FGSM from the image itself at a large eps: it hides the gradient from one step (Wong 2020)."""
    threat = {"type": "Linf", "eps": 2 * TRAINING_EPS}
    attack = {"type": "PGD", "threat": threat, "steps": 1, "step_size": 2 * TRAINING_EPS, "random_start": False}
    return fit(Adversarial(attack), size, seed=seed, epochs=2 * EPOCHS)
