"""AutoAttack's own flags as checks: what the library says about a model while it attacks it."""

from __future__ import annotations

import torch

from natx.attacks.remarks import square_broke
from natx.checks.applicable import NotApplicableError
from natx.checks.base import Check, Finding, finding
from natx.checks.case import Case
from natx.checks.chance import share_above

MEMBERS = ("AutoAttack", "APGD", "Square")


class Flag(Check):
    """A warning of pyautoattack, found by its words among the remarks of the attacks that it ran."""

    words: tuple[str, ...]
    meaning: str
    types: tuple[str, ...] = MEMBERS
    unit = "flags"

    def measure(self, case: Case) -> Finding:
        """See :meth:`Check.measure`."""
        attacks = [] if case.evaluation is None else case.evaluation.attacks
        ran = [result for result in attacks if result.settings.get("type") in self.types]
        if not ran:
            raise NotApplicableError(f"{' or '.join(self.types)} was not run")
        raised = [note for result in ran for note in result.notes if any(words in note for words in self.words)]
        reason = raised[0].partition(" See ")[0] if raised else self.meaning
        return Finding(len(raised), bool(raised), reason, limit=1)


class Randomised(Flag):
    """AA-RAND: the model's outputs differ between calls."""

    id, title = "AA-RAND", "AutoAttack: randomised"
    words, meaning = ("randomized defense",), "the same images give the same outputs"


class Probabilities(Flag):
    """AA-PROB: the model's outputs are probabilities."""

    id, title = "AA-PROB", "AutoAttack: probabilities"
    words, meaning = ("probability distribution",), "outputs are logits"


class ZeroGradient(Flag):
    """AA-GRAD: points without gradient at the start of an attack on the DLR loss."""

    id, title = "AA-GRAD", "AutoAttack: zero gradients"
    words, meaning = ("with zero gradient",), "no attack on the DLR loss began without gradient"
    types = ("AutoAttack", "APGD")

    def measure(self, case: Case) -> Finding:
        """See :meth:`Check.measure`; the library asks it of DLR losses only."""
        attacks = [] if case.evaluation is None else case.evaluation.attacks
        on_dlr = [r for r in attacks if r.settings.get("type") in self.types and r.settings.get("loss") != "ce"]
        if not on_dlr:
            raise NotApplicableError("no attack on the DLR loss (AutoAttack, APGD on it) was run")
        return super().measure(case)


class SquareHelps(Check):
    """AA-SQUARE: Square broke images that the gradient attacks left.

    The library asks this of each call, where one image of 250 is more than its 0.2 points; here all images count.
    """

    id, title, tolerance, unit = "AA-SQUARE", "AutoAttack: Square is needed", 0.2, "points"

    def measure(self, case: Case) -> Finding:
        """See :meth:`Check.measure`."""
        evaluation = case.evaluation
        ran = [r for r in evaluation.attacks if r.settings.get("type") == "AutoAttack"] if evaluation else []
        if evaluation is None or not ran:
            raise NotApplicableError("AutoAttack was not run")
        broken = max(square_broke(result.notes) for result in ran)
        reason = f"Square broke {broken} of {evaluation.count} images after the gradient attacks"
        return finding(share_above(torch.arange(evaluation.count) < broken, self.tolerance), reason)


class Dynamic(Flag):
    """AA-DYN: the model differentiates or optimises in its forward pass."""

    id, title = "AA-DYN", "AutoAttack: dynamic"
    words, meaning = ("dynamic defense",), "no optimisation in the forward pass"


class Classes(Flag):
    """AA-CLASSES: fewer classes than a loss or its targets need."""

    id, title = "AA-CLASSES", "AutoAttack: class count"
    words = ("not possible to use", "more target classes", "too many target classes")
    meaning = "enough classes for every loss"
    types = ("AutoAttack", "APGD")

    def measure(self, case: Case) -> Finding:
        """See :meth:`Check.measure`."""
        if case.task.num_classes < 4:
            raise NotApplicableError(f"AutoAttack needs at least 4 classes; the model has {case.task.num_classes}")
        return super().measure(case)
