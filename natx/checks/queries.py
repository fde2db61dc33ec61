"""Checks of a ranking under attack: is the worst case per query as low as other attacks easily make it?

An image has no class that could be lost here, so the checks of classifiers do not apply; these ask the same of queries.
Each judges some queries again under the evaluation's attacks and under stronger ones, and looks at how much lower the
worst case becomes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from natx.attacks import PGD, Attack, Transfer
from natx.checks.applicable import NotApplicableError
from natx.checks.base import Check, Finding, Verdict, finding
from natx.checks.chance import mean_above
from natx.data import subset
from natx.evaluation.groups import group_sums
from natx.evaluation.metric import Metric
from natx.evaluation.robust import CLEAN
from natx.evaluation.sets import SetEvaluation, attacked_positions, evaluate_set
from natx.evaluation.statistics import mean_interval
from natx.models.adversary import Adversary
from natx.runtime.progress import Meter
from natx.task import Task

LONGER, STARTS = 5, 5  # times as many steps, and as many starts, as the evaluation's strongest attack has
Forms = Callable[["Searches"], Iterator[Attack]]


@dataclass(frozen=True)
class Searches:
    """What the checks look at.

    Attributes:
        attacks: the evaluation's PGD attacks on the queries within the threat model that is claimed, the strongest one
            first; what changes the gallery leaves a query no worst case of its own.
        vanilla: a normally trained model of the same task, or None.
        value: the first value of a cell, which is looked at.
        scores: of every query judged again (%), float64 ``[Q]`` by column; empty until they are.
        chance: what a ranking at random has of ``value`` (%); None where the metric does not say.
        groups: which of the queries judged again belong together, ``[Q]``; None where each is one by itself.
    """

    attacks: Sequence[PGD]
    vanilla: Task | None
    value: str
    scores: dict[str, Tensor]
    chance: float | None
    groups: Sequence[int] | None = None

    @property
    def own(self) -> Tensor:
        """The lowest that the evaluation's own columns leave each query."""
        return torch.stack([self.scores[name] for name in (CLEAN, *(attack.name for attack in self.attacks))]).amin(0)

    def clean_low(self) -> float:
        """The low end of the interval of the mean without attack (%)."""
        return mean_interval(self.scores[CLEAN].tolist(), groups=self.groups)[0]

    def by_person(self, gaps: Tensor) -> Tensor:
        """The mean of each person's queries, float64 ``[G]``: people are independent, their queries are not."""
        totals, counts = group_sums(gaps.tolist(), self.groups)
        return torch.from_numpy(totals / counts)

    def require_something_to_lose(self) -> None:
        """NotApplicableError where the ranking without attack is no better than chance."""
        if self.chance is not None and self.clean_low() <= self.chance:
            raise NotApplicableError("the ranking without attack is no better than chance; see Q5")


class Stronger(Check):
    """A check that other attacks do not lower the worst case by much.

    Args:
        identity: the check's id.
        title: what it looks at.
        forms: the other attacks.
        lacking: why it does not apply where there are none.
    """

    tolerance, unit = 2.0, "points"

    def __init__(self, identity: str, title: str, forms: Forms, *, lacking: str) -> None:
        self.id, self.title, self._forms, self._lacking = identity, title, forms, lacking  # type: ignore[misc]

    def forms(self, searches: Searches) -> list[Attack]:
        """The other attacks, named after the check."""
        attacks = list(self._forms(searches))
        for number, attack in enumerate(attacks):
            attack.name = f"{self.id}.{number} {attack.name}"
        return attacks

    def measure(self, case: Any) -> Finding:
        """See :meth:`Check.measure`; the case is a :class:`Searches`."""
        columns = [scores for name, scores in case.scores.items() if name.startswith(f"{self.id}.")]
        if not columns:
            raise NotApplicableError(self._lacking)
        case.require_something_to_lose()
        own, lowest = case.own, torch.stack(columns).amin(0)
        drop = own - torch.minimum(own, lowest)
        reason = f"worst case {float(own.mean()):.2f} {case.value}, {float((own - drop).mean()):.2f} with these"
        return finding(mean_above(case.by_person(drop), self.tolerance), reason)


class BlackBox(Stronger):
    """Q4: images made on another model do less than those made on this one."""

    tolerance = 0.0

    def measure(self, case: Any) -> Finding:
        """See :meth:`Check.measure`."""
        columns = [scores for name, scores in case.scores.items() if name.startswith(f"{self.id}.")]
        if not columns:
            raise NotApplicableError(self._lacking)
        case.require_something_to_lose()
        own, other = case.own, columns[0]
        reason = f"{float(own.mean()):.2f} {case.value} in the worst case, {float(other.mean()):.2f} by transfer"
        return finding(mean_above(case.by_person(own - other), self.tolerance), reason)


class AboveChance(Check):
    """Q5: without attack the ranking is better than one at random."""

    id, title, unit = "Q5", "the ranking is better than chance", "points"
    small = True

    def measure(self, case: Any) -> Finding:
        """See :meth:`Check.measure`."""
        if case.chance is None:
            raise NotApplicableError("the metric does not say what chance gives")
        low, mean = case.clean_low(), float(case.scores[CLEAN].mean())
        reason = (
            f"{mean:.2f} {case.value} without attack, {low:.2f} at the interval's low end, {case.chance:.2f} by chance"
        )
        return Finding(low - case.chance, low <= case.chance, reason, 0.0)


def _changed(attack: PGD, **settings: Any) -> PGD:
    """The attack with other settings; it is not changed itself."""
    other = copy.copy(attack)
    for name, value in settings.items():
        setattr(other, name, value)
    return other


def _more_steps(searches: Searches) -> Iterator[Attack]:
    for attack in searches.attacks[:1]:
        yield _changed(attack, steps=LONGER * attack.steps)


def _more_starts(searches: Searches) -> Iterator[Attack]:
    for attack in searches.attacks[:1]:
        yield _changed(attack, restarts=STARTS, random_start=True, seed=attack.seed + 1)


def _other_forms(searches: Searches) -> Iterator[Attack]:
    for attack in searches.attacks:
        for form in attack.objective.forms():
            yield _changed(attack, objective=form)


def _transferred(searches: Searches) -> Iterator[Attack]:
    """The first attack without guides, which are embeddings of the model that is judged, on the undefended model."""
    free = [attack for attack in searches.attacks if not hasattr(attack.objective, "guides")]
    if searches.vanilla is not None and free:
        yield Transfer(free[0].threat, Adversary([searches.vanilla]), copy.copy(free[0]), name="transfer")


NO_PGD = "the evaluation has no PGD on the queries within the threat model that is claimed"
CHECKS: list[Check] = [
    Stronger("Q1", "more steps do not lower the worst case", _more_steps, lacking=NO_PGD),
    Stronger("Q2", "more starts do not lower the worst case", _more_starts, lacking=NO_PGD),
    Stronger(
        "Q3",
        "gallery guides and distances as the ranking measures them do not lower the worst case",
        _other_forms,
        lacking="the evaluation's objectives have no other forms",
    ),
    BlackBox(
        "Q4",
        "images made on an undefended model do less",
        _transferred,
        lacking="no undefended model was given, or no attack was run that needs no guides",
    ),
    AboveChance(),
]


def audit_queries(
    task: Task,
    dataset: Any,
    *,
    metric: Metric,
    evaluation: SetEvaluation,
    attacks: Sequence[Attack],
    vanilla: Task | None = None,
    images: int = 200,
    batch_size: int = 250,
    meter: Meter | None = None,
) -> list[Verdict]:
    """Ask every check about a ranking, in eval mode and fp32; the model is left as it was.

    Args:
        task: the model.
        dataset: the test set.
        metric: scores queries (:meth:`Metric.scores`).
        evaluation: of the attacks.
        attacks: the evaluation's attacks; the first one's threat model is the one that is claimed.
        vanilla: a normally trained model of the same task, for Q4.
        images: how many queries are judged again.
        batch_size: images per step.
        meter: progress display.

    Returns:
        One verdict a check, in the order of :data:`CHECKS`.
    """
    value, part = metric.cell[0], subset(dataset, min(images, len(attacked_positions(dataset))))
    claimed = attacks[0].threat if attacks else None
    iterated = [
        attack
        for attack in attacks
        if isinstance(attack, PGD) and attack.threat == claimed and attack.images_of(part) is None
    ]
    iterated.sort(key=lambda attack: evaluation.values[attack.name][value])
    random, groups = metric.chance(part), metric.groups(part)
    searches = Searches(
        iterated,
        vanilla,
        value,
        {},
        None if random is None else random[value],
        None if groups is None else groups.tolist(),
    )
    others = [form for check in CHECKS if isinstance(check, Stronger) for form in check.forms(searches)]
    again = evaluate_set(task, part, [*iterated, *others], metric=metric, batch_size=batch_size, meter=meter)
    searches.scores.update({column: scores[value] for column, scores in again.scores.items()})
    return [check(searches) for check in CHECKS]  # type: ignore[arg-type]  # these checks look at searches
