"""Check and Verdict: one question about an evaluation, with its figure, threshold and answer."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal, final

from natx.checks.case import Case, NotApplicableError

GREEN, RED, NOT_APPLICABLE = "green", "red", "not applicable"
Colour = Literal["green", "red", "not applicable"]
DECISIVE = "G2"  # PGD against AutoAttack: without it nothing is called robust
IMAGES_TO_COUNT = 2  # a difference between two accuracies that a single image makes is chance


@dataclass(frozen=True)
class Finding:
    """What a check measured.

    Attributes:
        figure: the measured number, in the check's unit.
        red: whether it speaks against the evaluation.
        reason: one line.
        points: the curve behind the figure, if there is one: (x, y) with x rising.
    """

    figure: float
    red: bool
    reason: str
    points: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Verdict:
    """A check's answer.

    Attributes:
        id: the check's id.
        title: what it looks at.
        verdict: green, red or not applicable.
        figure: the measured number; None where not applicable.
        threshold: what the figure is compared with; None for a check without one.
        unit: of both.
        limit: in words, where the figure is red; empty without a threshold.
        reason: one line: what was seen, or why the check does not apply.
        points: the curve behind the figure, see :class:`Finding`.
    """

    id: str
    title: str
    verdict: Colour
    figure: float | None
    threshold: float | None
    unit: str
    limit: str
    reason: str
    points: tuple[tuple[float, float], ...] = ()

    def plain(self) -> dict[str, Any]:
        """As it stands in report.json."""
        return asdict(self)


class Check:
    """Base of all checks; subclasses write :meth:`measure`.

    Attributes:
        id: short and unique (``G1``).
        title: what it looks at, in a few words.
        threshold: what the figure is compared with; None where there is no number to compare.
        unit: of figure and threshold.
        limit: in words, where the figure is red.
    """

    id: ClassVar[str]
    title: ClassVar[str]
    threshold: ClassVar[float | None] = None
    unit: ClassVar[str] = ""
    limit: ClassVar[str] = "above {threshold:g} {unit}"

    @final
    def __call__(self, case: Case) -> Verdict:
        """The verdict on a case."""
        try:
            found = self.measure(case)
        except NotApplicableError as reason:
            return self.not_applicable(str(reason))
        doubtful = found.red or math.isnan(found.figure)  # NaN is never above a threshold, and never good
        verdict = self._verdict(RED if doubtful else GREEN, found.reason, figure=float(found.figure))
        return replace(verdict, points=found.points)

    @final
    def not_applicable(self, reason: str) -> Verdict:
        """The verdict where the setting does not support the check."""
        return self._verdict(NOT_APPLICABLE, reason)

    def measure(self, case: Case) -> Finding:
        """Look at a case; raises NotApplicableError where it has nothing to look at."""
        raise NotImplementedError

    def _verdict(self, verdict: Colour, reason: str, *, figure: float | None = None) -> Verdict:
        limit = "" if self.threshold is None else self.limit.format(threshold=self.threshold, unit=self.unit)
        return Verdict(self.id, self.title, verdict, figure, self.threshold, self.unit, limit.strip(), reason)


def exceeds(points: float, threshold: float, *, images: int) -> bool:
    """Whether a difference of accuracies (percentage points over ``images``) counts.

    It must be above the threshold, and at least two images must make it: on a subset one image may be worth more than
    the threshold.
    """
    slack = 1e-9  # accuracies are quotients of whole numbers
    return points > threshold + slack and points * images / 100 > IMAGES_TO_COUNT - 0.5
