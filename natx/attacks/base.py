"""Attack: one final entry point that does mode, verification and cost counting once; subclasses write ``run``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal, final

import torch
from torch import Tensor

from natx.attacks.parts import Parts
from natx.attacks.tally import Tally
from natx.attacks.victim import Cost, Victim
from natx.batch import Batch
from natx.errors import ConfigError
from natx.models.mode import BNMode, attack_mode
from natx.registry import ATTACKS, THREATS
from natx.runtime.precision import exact_float32
from natx.runtime.rng import uniform
from natx.task import Task
from natx.threat import Ball, NormBall, ThreatModel, pixel_fraction

Success = Literal["any", "last"]
Information = Literal["gradients", "outputs", "other models", "everything"]
RADIUS = 1 << 20  # added to a stream: the draw for an image as a whole, apart from those for its pixels


def random_point(ball: Ball, index: Tensor, *, seed: int, epoch: int, stream: int) -> Tensor:
    """A random point of the ball around each image ``[N, C, H, W]``, keyed by the images' ``index``."""
    draws = partial(uniform, index.to(ball.x.device), seed=seed, epoch=epoch)
    return ball.start(draws(shape=ball.x.shape[1:], stream=stream), draws(shape=(), stream=RADIUS + stream))


@dataclass
class Attacked:
    """The outcome of an attack on a batch.

    Attributes:
        x_adv: pixels in [0,1] ``[N, C, H, W]``.
        broken: per table column, which images are misclassified ``[N]``; empty where that is not per image.
        cost: images pushed forward and backward.
        notes: remarks that belong in a report (AutoAttack's flags, ...).
    """

    x_adv: Tensor
    broken: dict[str, Tensor] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    notes: list[str] = field(default_factory=list)


class Attack:
    """Base of all attacks.

    Args:
        threat: config of a threat model, or one.
        name: column name in tables; each attack has a default.
        seed: seed of the attack's own draws (global generators are never touched).
        bn_mode: see :func:`natx.models.mode.attack_mode`.

    Raises:
        ConfigError: a threat model that the attack does not work under, or an unknown ``bn_mode``.

    Attributes:
        works_under: the threat models that the attack works under.
        information: what the attack follows: the model's gradients, its outputs alone, other models alone (both are
            black boxes, which must not find what gradients miss), or everything, as an ensemble does.
        block_size: images per call that the result depends on (a library that seeds per call), or None if it does not.
        tally: what the last :meth:`__call__` met on its images; None before.
    """

    works_under: ClassVar[tuple[type[ThreatModel], ...]] = (NormBall,)
    information: ClassVar[Information] = "gradients"
    block_size: int | None = None
    tally: Tally | None = None

    def __init__(
        self,
        threat: ThreatModel | dict[str, Any],
        *,
        name: str | None = None,
        seed: int = 0,
        bn_mode: BNMode = "eval",
    ) -> None:
        if bn_mode not in ("eval", "train"):
            raise ConfigError(f"bn_mode is 'eval' or 'train'; got {bn_mode!r}")
        self.threat: ThreatModel = THREATS.build(threat) if isinstance(threat, dict) else threat
        if not isinstance(self.threat, self.works_under):
            raise ConfigError(
                f"{type(self).__name__} attacks within a {self.works_under[0].kind}; got {self.threat}: use "
                f"{self.threat.attack}"
            )
        self.name = name or self.default_name()
        self.seed = seed
        self.bn_mode = bn_mode

    @property
    def reach(self) -> ThreatModel:
        """Where the result may lie: the threat model, or a wider one that an attack for training says it needs.

        What the result is verified against. An attack that reaches further than its threat model cannot judge.
        """
        return self.threat

    @property
    def single_step(self) -> bool:
        """Whether it takes one gradient step."""
        return False

    @property
    def takes_start(self) -> bool:
        """Whether the attack begins at the pixels that a batch holds under ``start``, where it holds any."""
        return False

    def default_name(self) -> str:
        """Column name where the config gives none."""
        return type(self).__name__

    def columns(self) -> list[str]:
        """Names of the table columns that :meth:`judge` fills."""
        return [self.name]

    def check(self, task: Task) -> None:
        """Raise UnsupportedError, with what to use instead, where the attack cannot attack a task; nothing is run."""

    def shortfalls(self) -> list[str]:
        """What in the settings keeps the attack from using its whole ball, a line each, for reports and logs."""
        return []

    def cost_per_image(self) -> tuple[float, float] | None:
        """(forwards, backwards) for one image in :meth:`__call__`, or None where it depends on the model."""
        return None

    def scaled(self, factor: float) -> Attack:
        """The same attack with ``factor`` times the eps and step size, as eps warm-up needs it; self is not changed.

        Raises:
            ConfigError: the attack has nothing to scale (stored copies, attacks of a library).
        """
        raise ConfigError(f"{type(self).__name__} cannot be scaled: eps_warmup is for PGD and attacks made of it")

    def describe(self) -> dict[str, Any]:
        """Plain values that define the attack, for the report."""
        skip = ("threat", "objective", "name")
        plain = {k: v for k, v in vars(self).items() if k not in skip and isinstance(v, (int, float, str, tuple))}
        return {"type": type(self).__name__, "threat": str(self.threat), **plain}

    def describe_inner(self) -> str:
        """The same as a part of another attack, whose seed it takes over when it runs."""
        return ", ".join(f"{key}={value}" for key, value in self.describe().items() if key != "seed")

    @final
    def __call__(self, task: Task, batch: Batch, *, epoch: int = 0) -> Tensor:
        """Adversarial pixels for a batch ``[N, C, H, W]``, as training needs them.

        The task's modes, gradient flags and buffers are the same before and after, also when interrupted.

        Raises:
            ConstraintError: the result leaves the threat model (a bug in the attack).
        """
        with attack_mode(task, self.bn_mode):
            victim = self.bind(task, batch)
            x_adv = self.run(victim, epoch=epoch).detach()
        self.tally = victim.tally
        self.reach.around(victim.x, victim.ball.mask).verify(x_adv)
        return x_adv

    @final
    def judge(self, task: Task, batch: Batch, *, success: Success = "any", parts: Parts | None = None) -> Attacked:
        """Attack in full precision and say per column which images broke.

        Args:
            task: the task; evaluated in eval mode.
            batch: images to attack.
            success: 'any' counts an image broken at any step as broken, 'last' looks at the last step only.
            parts: keeps what the attack finishes on the way, if it has parts (AutoAttack's members).
        """
        if success not in ("any", "last"):
            raise ConfigError(f"success is 'any' or 'last'; got {success!r}")
        if self.reach != self.threat:
            raise ConfigError(
                f"{self.name} is for training: its images lie in {self.reach}, outside {self.threat}; judge with PGD"
            )
        device = batch["inputs"].device.type
        with attack_mode(task, self.bn_mode), torch.autocast(device, enabled=False), exact_float32():
            victim = self.bind(task, batch)
            victim.parts = parts
            attacked = self.run_judged(victim, success=success)
            attacked.cost = victim.cost
            attacked.notes = [*attacked.notes, *victim.tally.notes()]
        victim.ball.verify(attacked.x_adv)
        return attacked

    def observe(self, dataset: Any, predictions: Any) -> list[str]:
        """See the clean predictions of the whole set that :meth:`judge` will work on; remarks for the report.

        Called once before a set-level evaluation; objectives with guides (metric attacks) take them from it.
        """
        return []

    def images_of(self, dataset: Any) -> list[int] | None:
        """Positions of the images of a set that the attack changes; None for those that the set itself names."""
        return None

    def run(self, victim: Victim, *, epoch: int = 0) -> Tensor:
        """Adversarial pixels; inside attack_mode. Subclasses write this."""
        raise NotImplementedError

    def run_judged(self, victim: Victim, *, success: Success) -> Attacked:
        """:meth:`run` and one forward to see what broke; iterative attacks track it on the way instead."""
        x_adv = self.run(victim).detach()
        if not victim.task.per_image_success:
            return Attacked(x_adv)
        with torch.no_grad():
            return Attacked(x_adv, {self.name: victim.wrong(victim.output(x_adv))})

    def bind(self, task: Task, batch: Batch) -> Victim:
        """The task on a batch of images under the attack's threat model, with nothing spent yet.

        Raises:
            UnsupportedError: see :meth:`check`.
        """
        self.check(task)
        x = task.pixels(batch)
        return Victim(task, batch, ball=self.threat.around(x, task.perturbable(batch)), cost=Cost())


def build_attack(config: Attack | dict[str, Any], *, threat: ThreatModel | dict[str, Any] | None = None) -> Attack:
    """An attack from its config; ``threat`` fills in where the config has none."""
    if isinstance(config, Attack):
        return config
    config = dict(config)
    if threat is not None:
        config.setdefault("threat", threat)
    if config.get("threat") is None:
        raise ConfigError(f"attack {config.get('type')} has no threat model: add threat=dict(type='Linf', eps=8/255)")
    return ATTACKS.build(config)


def too_short(attack: Attack, steps: int, step_size: float) -> list[str]:
    """The shortfall of an attack whose steps do not add up to the radius of its ball; none where they do."""
    if steps * step_size >= attack.threat.radius * (1 - 1e-6):
        return []
    return [
        f"{attack.name}: {steps} {'step' if steps == 1 else 'steps'} of {pixel_fraction(step_size)} do not add up to "
        f"{attack.threat}, so most of its ball is out of reach: take more steps or longer ones (4 of eps/4 get there)"
    ]


def counted(attack: Attack) -> tuple[float, float]:
    """(forwards, backwards) for one image in an attack; not-a-number, which no sum hides, where it does not say."""
    return attack.cost_per_image() or (math.nan, math.nan)


def total_cost(attacks: Sequence[Attack]) -> tuple[float, float] | None:
    """(forwards, backwards) for one image in all of several attacks, or None where one depends on the model."""
    costs = [cost for attack in attacks if (cost := attack.cost_per_image()) is not None]
    return (sum(f for f, _ in costs), sum(b for _, b in costs)) if len(costs) == len(attacks) else None
