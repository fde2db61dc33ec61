"""Check and Verdict: one question about an evaluation, with its figure, limit and answer."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal, final

from natx.checks.applicable import NotApplicableError
from natx.checks.case import Case
from natx.checks.chance import LEVEL, Tested, worst

Colour = Literal["green", "red", "not applicable"]
GREEN: Colour = "green"
RED: Colour = "red"
NOT_APPLICABLE: Colour = "not applicable"
DECISIVE = "G2"  # PGD against AutoAttack: without it nothing is called robust


@dataclass(frozen=True)
class Finding:
    """What a check measured.

    Attributes:
        figure: the measured number, in the check's unit.
        red: whether it speaks against the evaluation.
        reason: one line.
        limit: the figure from which on it is red.
        p_value: chance of such a figure from a model that keeps the tolerance; None for a fact, which has none.
        points: the curve behind the figure, if there is one: (x, y) with x rising.
    """

    figure: float
    red: bool
    reason: str
    limit: float
    p_value: float | None = None
    points: tuple[tuple[float, float], ...] = ()


def finding(tested: Tested, reason: str, *others: Tested, points: tuple[tuple[float, float], ...] = ()) -> Finding:
    """What a test found, as a finding; NotApplicableError where so few images cannot be red.

    Args:
        tested: the test whose figure is shown.
        reason: one line.
        others: the check's other tests, one of which may be the worst answer.
        points: see :class:`Finding`.
    """
    tests = [tested, *others]
    if not any(test.possible for test in tests):
        raise NotApplicableError(f"too few images to tell a fault from chance ({reason})")
    return Finding(tested.figure, any(t.red for t in tests), reason, tested.limit, worst(tests).p_value, points)


@dataclass(frozen=True)
class Verdict:
    """A check's answer.

    Attributes:
        id: the check's id.
        title: what it looks at.
        verdict: green, red or not applicable.
        figure: the measured number; None where not applicable.
        threshold: the figure from which on it is red on these images; None where not applicable or where none is.
        unit: of both.
        limit: the threshold in words; empty without one.
        reason: one line: what was seen, or why the check does not apply.
        points: the curve behind the figure, see :class:`Finding`.
        tolerance: what a model may show over all images, in words; empty for a fact.
        p_value: see :class:`Finding`.
        level: the check is red where its p-value is at most this; None for a fact.
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
    tolerance: str = ""
    p_value: float | None = None
    level: float | None = None

    def plain(self) -> dict[str, Any]:
        """As it stands in report.json."""
        return asdict(self)


class Check:
    """Base of all checks; subclasses write :meth:`measure`.

    Attributes:
        id: short and unique (``G1``).
        title: what it looks at, in a few words.
        tolerance: what a model may show over all images (:mod:`natx.checks.chance`); None for checks that state facts.
        unit: of figure and tolerance.
        small: whether small figures are red.
    """

    id: ClassVar[str]
    title: ClassVar[str]
    tolerance: ClassVar[float | None] = None
    unit: ClassVar[str] = ""
    small: ClassVar[bool] = False

    @final
    def __call__(self, case: Case) -> Verdict:
        """The verdict on a case."""
        try:
            measured = self.measure(case)
        except NotApplicableError as error:
            return self.not_applicable(str(error))
        doubtful = measured.red or math.isnan(measured.figure)  # NaN is never beyond a limit, and never good
        threshold = measured.limit if math.isfinite(measured.limit) else None
        return replace(
            self.not_applicable(measured.reason),
            verdict=RED if doubtful else GREEN,
            figure=float(measured.figure),
            threshold=threshold,
            limit=self._limit(threshold),
            points=measured.points,
            p_value=measured.p_value,
            level=None if measured.p_value is None else LEVEL,
        )

    @final
    def not_applicable(self, reason: str) -> Verdict:
        """The verdict where the setting does not support the check."""
        side = "at least" if self.small else "up to"
        tolerance = "" if self.tolerance is None else f"{side} {self.tolerance:g} {self.unit}".strip()
        return Verdict(self.id, self.title, NOT_APPLICABLE, None, None, self.unit, "", reason, tolerance=tolerance)

    def measure(self, case: Case) -> Finding:
        """Look at a case; raises NotApplicableError where it has nothing to look at."""
        raise NotImplementedError

    def _limit(self, threshold: float | None) -> str:
        if threshold is None:
            return ""
        return f"at {threshold:z.4g} {self.unit} or {'below' if self.small else 'above'}"
