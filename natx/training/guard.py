"""Catastrophic overfitting, looked for on held-out images: a model that withstands one step and no longer several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from natx.attacks import FGSM, PGD, counted
from natx.errors import ConfigError
from natx.evaluation.robust import evaluate
from natx.evaluation.statistics import wilson
from natx.methods import Method
from natx.task import Task
from natx.threat import ThreatModel
from natx.training.selection import Selection

GAP = 20.0  # percentage points; networks that withstand several steps too measure 5 to 12
STEPS = 10


@dataclass(frozen=True)
class Look:
    """What the guard saw of a model.

    Attributes:
        fgsm: accuracy (%) under one step of eps from the image.
        pgd: accuracy (%) under PGD-10.
        images: how many images both were measured on.
        gap: the difference in percentage points that is still none to worry about.
    """

    fgsm: float
    pgd: float
    images: int
    gap: float

    @property
    def overfitted(self) -> bool:
        """Whether the difference is above ``gap`` beyond the chance of which images were held out.

        PGD-10 breaks what FGSM breaks, but for few images, so the images that FGSM alone leaves right are a share of
        all; it counts by the lower end of its Wilson interval (95 %).
        """
        apart = round(max(0.0, self.fgsm - self.pgd) / 100 * self.images)
        return 100 * wilson(apart, self.images)[0] > self.gap


class Guard:
    """Compares FGSM with PGD-10 on held-out images after every epoch, and knows the settings to go on with.

    A network trained on single steps can learn to withstand that step alone, from one epoch to the next: its accuracy
    under FGSM rises while that under PGD falls to nothing (Wong et al. 2020; Andriushchenko & Flammarion 2020). Wong
    et al. stop there, on the accuracy of a training batch under PGD.

    Args:
        selection: whose images are looked at; its attack's accuracy is used where that is the PGD-10 meant here.
        threat: the threat model of the training.
        seed: of PGD's starts.
        gap: see :class:`Look`.
        stronger: overrides of the config's ``method`` by dotted key, one dict for each time that the training goes
            back; they add up. Empty: it never goes back.
        method_after: the method after so many of them, ready to train.

    Raises:
        ConfigError: a setting out of range.
    """

    def __init__(
        self,
        selection: Selection,
        threat: ThreatModel,
        *,
        seed: int = 0,
        gap: float = GAP,
        stronger: Sequence[dict[str, Any]] = (),
        method_after: Callable[[int], Method] | None = None,
    ) -> None:
        if not 0 < gap < 100:
            raise ConfigError(f"guard.gap is a number of percentage points between 0 and 100; got {gap}")
        self.selection, self.threat, self.gap = selection, threat, float(gap)
        self.stronger, self._method_after = list(stronger), method_after
        self.fgsm, self.pgd = FGSM(threat), PGD(threat, STEPS, seed=seed)

    @property
    def shares_pgd(self) -> bool:
        """Whether the attack that chooses the best epoch is this PGD-10."""
        attack = self.selection.attack
        return attack is not None and {**attack.describe(), "seed": 0} == {**self.pgd.describe(), "seed": 0}

    def describe(self) -> str:
        """What is looked at, and what follows, for the plan."""
        then = "goes back to the last good epoch" if self.stronger else "keeps the last good weights as best"
        return (
            f"FGSM against PGD-{STEPS} ({self.threat}) on {self.selection.name}, every epoch; {then} where FGSM's "
            f"accuracy is more than {self.gap:g} points higher"
        )

    def cost(self, *, scored: bool) -> float:
        """Forwards and backwards of one image that a look takes; ``scored``: the best epoch is chosen then too."""
        attacks = [self.fgsm] if scored and self.shares_pgd else [self.fgsm, self.pgd]
        return len(self.selection.dataset) * (1 + sum(sum(counted(attack)) for attack in attacks))

    def __call__(self, task: Task, *, robust: float | None = None) -> Look:
        """Look at a model; ``robust`` is its accuracy (%) under the selection's attack, where that was measured."""
        attacks = [self.fgsm] if robust is not None and self.shares_pgd else [self.fgsm, self.pgd]
        images = self.selection.dataset
        evaluation = evaluate(task, images, attacks, batch_size=self.selection.batch_size)
        pgd = robust if robust is not None and len(attacks) == 1 else evaluation.accuracy(self.pgd.name)
        return Look(evaluation.accuracy(self.fgsm.name), pgd, len(images), self.gap)

    def method_after(self, times: int) -> Method:
        """The method after the first ``times`` of :attr:`stronger`, prepared for the training.

        Raises:
            ConfigError: there are none.
        """
        if self._method_after is None:
            raise ConfigError("guard.stronger names no settings to go on with")
        return self._method_after(times)

    def remark(self, look: Look, *, best: int | None, good: int | None, times: int) -> str:
        """One line about an epoch that overfitted.

        Args:
            look: what was seen.
            best: the epoch of the best weights; None where there are none yet.
            good: the epoch that the training goes back to; None where it does not.
            times: how often it has gone back before.
        """
        line = (
            f"catastrophic overfitting: {look.fgsm:.2f} % of {self.selection.name} withstand FGSM and {look.pgd:.2f} % "
            f"PGD-{STEPS} ({self.threat})"
        )
        line += "" if best is None else f"; the best weights stay those of epoch {best}"
        if good is None:
            return f"{line}; to go back and on with other settings name them in guard.stronger (docs/methods.md)"
        if times >= len(self.stronger):
            return f"{line}; going back to epoch {good}, on with the last of guard.stronger"
        changes = ", ".join(f"{key}={value!r}" for key, value in self.stronger[times].items())
        return f"{line}; going back to epoch {good}, on with {changes}"
