"""Checks that read the columns of an evaluation: who is stronger than whom, on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from natx.attacks import FGSM
from natx.attacks.base import Information
from natx.checks.applicable import NotApplicableError, require_above_chance
from natx.checks.base import Check, Finding, finding
from natx.checks.case import STEPS, Case
from natx.checks.chance import Tested, difference, worst
from natx.evaluation.robust import CLEAN, AttackResult, Evaluation
from natx.registry import ATTACKS

MILESTONES = (10, 20, 50, 100)
FEWEST = 100  # images that may show a gap to AutoAttack: of fewer, one of 30 points would go unseen too often


def results(case: Case, types: Sequence[str] | None = None, *, objective: str | None = None) -> list[AttackResult]:
    """The evaluation's attacks of some types (all by default), and objective, under the claimed threat model."""
    if case.evaluation is None:
        return []
    ran = [
        result
        for result in case.evaluation.attacks
        if (types is None or result.settings.get("type") in types)
        and result.settings.get("threat") == str(case.threat)
        # An evaluation of the worst case alone fills no column but the clean one.
        and all(column in case.evaluation.correct for column in result.columns)
    ]
    return [r for r in ran if objective is None or r.settings.get("objective") == objective]


def informed(case: Case, *information: Information) -> list[AttackResult]:
    """The evaluation's attacks that follow some information (:class:`natx.attacks.Attack`)."""

    def follows(result: AttackResult) -> Information | None:
        kind = ATTACKS.get(str(result.settings.get("type")))
        # A transferred attack that goes on with the model's own gradients is no black box.
        return "everything" if result.settings.get("refine") else getattr(kind, "information", None)

    return [result for result in results(case) if follows(result) in information]


def step_columns(case: Case, objective: str) -> dict[int, str]:
    """Columns of plain PGD (one start, no momentum) on an objective by their number of steps, fewest first."""
    columns: dict[int, str] = {}
    for result in results(case, ("PGD",), objective=objective):
        if result.settings.get("restarts", 1) > 1 or result.settings.get("momentum"):
            continue
        steps = result.settings.get("milestones") or (result.settings["steps"],)
        columns.update(zip(steps, result.columns))
    return dict(sorted(columns.items()))


def require_columns(case: Case) -> None:
    """NotApplicableError where attacks ran for the worst case alone."""
    if case.evaluation is not None and case.evaluation.survivors is not None:
        raise NotApplicableError("the worst case alone was asked for, so there are no columns to compare")


def one_column(case: Case, kind: str, what: str) -> tuple[Evaluation, str]:
    """The evaluation and its first column of an attack; NotApplicableError where it has none."""
    require_columns(case)
    ran = results(case, (kind,))
    if case.evaluation is None or not ran:
        raise NotApplicableError(f"{what} was not run")
    return case.evaluation, ran[0].columns[0]


def autoattack(case: Case) -> tuple[Evaluation, str]:
    """AutoAttack's column."""
    if case.task.num_classes < 4:
        raise NotApplicableError(
            f"AutoAttack's targeted losses need at least 4 classes; the model has {case.task.num_classes}"
        )
    return one_column(case, "AutoAttack", "AutoAttack")


class StepMonotony(Check):
    """G1: more steps of PGD do not leave more images right at the last step."""

    id, title, tolerance, unit = "G1", "more steps break more", 0.3, "points"

    def measure(self, case: Case) -> Finding:
        """See :meth:`Check.measure`; where broken images stay broken by convention, on the checks' own trajectory."""
        evaluation, columns = case.evaluation, step_columns(case, "CrossEntropy")
        if evaluation is not None and evaluation.success == "last" and len(columns) > 1:
            right = {steps: evaluation.correct[column] for steps, column in columns.items()}
        else:
            case.require_better_than_chance()
            right = {steps: ~case.trajectory.wrong[steps] for steps in MILESTONES}
        pairs = list(combinations(right, 2))
        tests = [
            difference(right[many], right[few], tolerance=self.tolerance, comparisons=len(pairs)) for few, many in pairs
        ]
        text = ", ".join(f"PGD-{steps} {case.accuracy(outcome):.2f}" for steps, outcome in right.items())
        return finding(worst(tests), f"at the last step {text}")


class AutoAttackGap(Check):
    """G2: AutoAttack is not far below PGD."""

    id, title, tolerance, unit = "G2", "PGD-20 above AutoAttack", 10.0, "points"

    def measure(self, case: Case) -> Finding:
        """See :meth:`Check.measure`; not applicable to fewer than ``FEWEST`` images, on which any gap may be chance."""
        evaluation, strong = autoattack(case)
        columns = step_columns(case, "CrossEntropy")
        if not columns:
            raise NotApplicableError("PGD on the cross-entropy was not run")
        require_above_chance(evaluation.accuracy(CLEAN), case.task.num_classes)
        if evaluation.count < FEWEST:
            raise NotApplicableError(f"{evaluation.count} images are too few, it takes {FEWEST}")
        weak = columns[min(columns, key=lambda steps: abs(steps - STEPS))]
        gap = difference(evaluation.correct[weak], evaluation.correct[strong], tolerance=self.tolerance)
        return finding(gap, _accuracies(evaluation, weak, strong))


class MarginBelowPGD(Check):
    """G3: the margin attack is at least as strong as PGD on the cross-entropy with no more steps."""

    id, title, tolerance, unit = "G3", "C&W above PGD", 3.0, "points"

    def measure(self, case: Case) -> Finding:
        """See :meth:`Check.measure`."""
        require_columns(case)
        evaluation, margin, plain = case.evaluation, step_columns(case, "Margin"), step_columns(case, "CrossEntropy")
        if evaluation is None or not margin:
            raise NotApplicableError("PGD on the margin (C&W) was not run")
        steps = max(margin)
        fair = [fewer for fewer in plain if fewer <= steps]
        if not fair:
            raise NotApplicableError(f"no PGD on the cross-entropy with at most {steps} steps was run")
        one, other = margin[steps], plain[max(fair)]
        above = difference(evaluation.correct[one], evaluation.correct[other], tolerance=self.tolerance)
        reason = f"{one} ({steps} steps) {evaluation.accuracy(one):.2f}, {other} {evaluation.accuracy(other):.2f}"
        return finding(above, reason)


class AutoAttackIsLowest(Check):
    """G4: no other attack of the pool is stronger than AutoAttack."""

    id, title, tolerance, unit = "G4", "AutoAttack above another attack", 0.0, "points"

    def measure(self, case: Case) -> Finding:
        """See :meth:`Check.measure`."""
        evaluation, strong = autoattack(case)
        claimed = [r for r in evaluation.attacks if r.settings.get("threat") == str(case.threat)]
        columns = {column for result in claimed for column in result.columns} - {strong, CLEAN}
        others = [column for column in evaluation.correct if column in columns]
        if not others:
            raise NotApplicableError("no other attack was run")
        other, above = _lowest(evaluation, others, strong, tolerance=self.tolerance)
        return finding(above, _accuracies(evaluation, strong, other))


class OneStepWeaker(Check):
    """G7: one step of eps is not stronger than many small ones."""

    id, title, tolerance, unit = "G7", "PGD above FGSM", 0.0, "points"

    def measure(self, case: Case) -> Finding:
        """See :meth:`Check.measure`; runs both on the checks' images where the evaluation has no FGSM."""
        evaluation, columns, single = case.evaluation, step_columns(case, "CrossEntropy"), results(case, ("FGSM",))
        if evaluation is not None and columns and single:
            name = columns[max(columns)]
            one, many = evaluation.correct[single[0].columns[0]], evaluation.correct[name]
        else:
            case.require_better_than_chance()
            many, name = case.pgd_right, f"PGD-{STEPS}"
            one = case.survivors(FGSM(case.threat))
        above = difference(many, one, tolerance=self.tolerance)
        return finding(above, f"FGSM {case.accuracy(one):.2f}, {name} {case.accuracy(many):.2f}")


class BlackBoxWeaker(Check):
    """G8: an attack without gradients is not stronger than the strongest that has them."""

    id, title, tolerance, unit = "G8", "white box above black box", 0.2, "points"

    def measure(self, case: Case) -> Finding:
        """See :meth:`Check.measure`."""
        require_columns(case)
        evaluation = case.evaluation
        black = [column for result in informed(case, "outputs", "other models") for column in result.columns]
        white = [column for result in informed(case, "gradients") for column in result.columns]
        if evaluation is None or not black or not white:
            missing = "an attack without gradients (Square)" if not black else "an attack with gradients (PGD)"
            raise NotApplicableError(f"{missing} was not run")
        seeing = min(white, key=evaluation.accuracy)
        blind, above = _lowest(evaluation, black, seeing, tolerance=self.tolerance)
        reason = f"{blind} {evaluation.accuracy(blind):.2f}, the lowest with gradients {seeing} "
        return finding(above, reason + f"{evaluation.accuracy(seeing):.2f}")


def _lowest(evaluation: Evaluation, others: Sequence[str], strong: str, *, tolerance: float) -> tuple[str, Tested]:
    """Of several columns the one that speaks most against the one that should be below all of them."""
    tests = {
        other: difference(
            evaluation.correct[strong], evaluation.correct[other], tolerance=tolerance, comparisons=len(others)
        )
        for other in others
    }
    other = min(others, key=lambda column: (tests[column].p_value, evaluation.accuracy(column)))
    return other, tests[other]


def _accuracies(evaluation: Evaluation, *columns: str) -> str:
    return ", ".join(f"{column} {evaluation.accuracy(column):.2f}" for column in columns)
