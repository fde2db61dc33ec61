"""Checks that read the columns of an evaluation: who is stronger than whom, on the same images."""

from __future__ import annotations

from collections.abc import Iterable

from natx.attacks import FGSM
from natx.checks.base import Check, Finding, exceeds
from natx.checks.case import STEPS, Case, NotApplicableError, require_above_chance
from natx.evaluation.robust import CLEAN, AttackResult, Evaluation

BLACK_BOX = ("Square", "SPSA", "Transfer")  # attacks that see no gradient of the model
MILESTONES = (10, 20, 50, 100)


def results(case: Case, types: Iterable[str], *, objective: str | None = None) -> list[AttackResult]:
    """The evaluation's attacks of some types (and objective) under the claimed threat model."""
    if case.evaluation is None:
        return []
    found = [
        result
        for result in case.evaluation.attacks
        if result.settings.get("type") in types
        and result.settings.get("threat") == str(case.threat)
        # An evaluation of the worst case alone fills no column but the clean one.
        and all(column in case.evaluation.correct for column in result.columns)
    ]
    return [r for r in found if objective is None or r.settings.get("objective") == objective]


def step_columns(case: Case, objective: str) -> dict[int, str]:
    """Columns of plain PGD (one start, no momentum) on an objective by their number of steps, fewest first."""
    columns: dict[int, str] = {}
    for result in results(case, ("PGD",), objective=objective):
        if result.settings.get("restarts", 1) > 1 or result.settings.get("momentum"):
            continue
        steps = result.settings.get("milestones") or (result.settings["steps"],)
        columns.update(zip(steps, result.columns))
    return dict(sorted(columns.items()))


def one_column(case: Case, kind: str, what: str) -> tuple[Evaluation, str]:
    """The evaluation and its first column of an attack; NotApplicableError where it has none."""
    found = results(case, (kind,))
    if case.evaluation is None or not found:
        raise NotApplicableError(f"{what} was not run")
    return case.evaluation, found[0].columns[0]


def autoattack(case: Case) -> tuple[Evaluation, str]:
    """AutoAttack's column."""
    if case.task.num_classes < 4:
        raise NotApplicableError(
            f"AutoAttack's targeted losses need at least 4 classes; the model has {case.task.num_classes}"
        )
    return one_column(case, "AutoAttack", "AutoAttack")


class StepMonotony(Check):
    """G1: more steps of PGD never leave more images right at the last step."""

    id, title, threshold, unit = "G1", "more steps break more", 0.3, "points"

    def measure(self, case: Case) -> Finding:
        """See :meth:`Check.measure`; where broken images stay broken by convention, on the checks' own trajectory."""
        evaluation, columns = case.evaluation, step_columns(case, "CrossEntropy")
        if evaluation is not None and evaluation.success == "last" and len(columns) > 1:
            accuracies = {f"{steps}": evaluation.accuracy(column) for steps, column in columns.items()}
            count = evaluation.count
        else:
            case.require_better_than_chance()
            wrong, count = case.trajectory.wrong, case.count
            accuracies = {f"{steps}": case.accuracy(~wrong[steps]) for steps in MILESTONES}
        values = list(accuracies.values())
        rise = max(later - earlier for i, earlier in enumerate(values) for later in values[i:])
        told = ", ".join(f"PGD-{steps} {value:.2f}" for steps, value in accuracies.items())
        return Finding(rise, exceeds(rise, self.threshold, images=count), f"at the last step {told}")


class AutoAttackGap(Check):
    """G2: AutoAttack is not far below PGD, by more than the images at hand can tell."""

    id, title, threshold, unit = "G2", "PGD-20 above AutoAttack", 6.0, "points"
    limit = "above {threshold:g} {unit} by more than its standard error"

    def measure(self, case: Case) -> Finding:
        """See :meth:`Check.measure`."""
        evaluation, strong = autoattack(case)
        columns = step_columns(case, "CrossEntropy")
        if not columns:
            raise NotApplicableError("PGD on the cross-entropy was not run")
        require_above_chance(evaluation.accuracy(CLEAN), case.task.num_classes)
        weak = columns[min(columns, key=lambda steps: abs(steps - STEPS))]
        gap = evaluation.accuracy(weak) - evaluation.accuracy(strong)
        difference = evaluation.correct[weak].double() - evaluation.correct[strong].double()
        error = 100 * float(difference.std(correction=0)) / evaluation.count**0.5
        reason = f"{weak} {evaluation.accuracy(weak):.2f}, {strong} {evaluation.accuracy(strong):.2f}"
        reason += f", standard error of the difference {error:.2f}"
        return Finding(gap, exceeds(gap - error, self.threshold, images=evaluation.count), reason)


class MarginBelowPGD(Check):
    """G3: the margin attack is at least as strong as PGD on the cross-entropy with no more steps."""

    id, title, threshold, unit = "G3", "C&W above PGD", 1.0, "points"

    def measure(self, case: Case) -> Finding:
        """See :meth:`Check.measure`."""
        evaluation, margin, plain = case.evaluation, step_columns(case, "Margin"), step_columns(case, "CrossEntropy")
        if evaluation is None or not margin:
            raise NotApplicableError("PGD on the margin (C&W) was not run")
        steps = max(margin)
        fair = [fewer for fewer in plain if fewer <= steps]
        if not fair:
            raise NotApplicableError(f"no PGD on the cross-entropy with at most {steps} steps was run")
        one, other = margin[steps], plain[max(fair)]
        above = evaluation.accuracy(one) - evaluation.accuracy(other)
        reason = f"{one} ({steps} steps) {evaluation.accuracy(one):.2f}, {other} {evaluation.accuracy(other):.2f}"
        return Finding(above, exceeds(above, self.threshold, images=evaluation.count), reason)


class AutoAttackIsLowest(Check):
    """G4: no other attack of the pool is stronger than AutoAttack."""

    id, title, threshold, unit = "G4", "AutoAttack above another attack", 0.0, "points"

    def measure(self, case: Case) -> Finding:
        """See :meth:`Check.measure`."""
        evaluation, strong = autoattack(case)
        known = {
            column for r in evaluation.attacks if r.settings.get("threat") == str(case.threat) for column in r.columns
        }
        others = [column for column in evaluation.correct if column in known and column not in (strong, CLEAN)]
        if not others:
            raise NotApplicableError("no other attack was run")
        lowest = min(others, key=evaluation.accuracy)
        above = evaluation.accuracy(strong) - evaluation.accuracy(lowest)
        reason = f"{strong} {evaluation.accuracy(strong):.2f}, the lowest other column {lowest} "
        reason += f"{evaluation.accuracy(lowest):.2f}"
        return Finding(above, exceeds(above, self.threshold, images=evaluation.count), reason)


class OneStepWeaker(Check):
    """G7: one step of eps is not stronger than many small ones."""

    id, title, threshold, unit = "G7", "PGD above FGSM", 0.0, "points"

    def measure(self, case: Case) -> Finding:
        """See :meth:`Check.measure`; runs both on the checks' images where the evaluation has no FGSM."""
        evaluation, columns, single = case.evaluation, step_columns(case, "CrossEntropy"), results(case, ("FGSM",))
        if evaluation is not None and columns and single:
            one, many = evaluation.accuracy(single[0].columns[0]), evaluation.accuracy(columns[max(columns)])
            count, name = evaluation.count, columns[max(columns)]
        else:
            case.require_better_than_chance()
            many, name = case.accuracy(case.pgd_right), f"PGD-{STEPS}"
            one, count = case.accuracy(case.survivors(FGSM(case.threat))), case.count
        return Finding(
            many - one, exceeds(many - one, self.threshold, images=count), f"FGSM {one:.2f}, {name} {many:.2f}"
        )


class BlackBoxWeaker(Check):
    """G8: an attack without gradients is not stronger than all that have them."""

    id, title, threshold, unit = "G8", "white box above black box", 0.2, "points"

    def measure(self, case: Case) -> Finding:
        """See :meth:`Check.measure`."""
        # A transferred attack that goes on with the model's own gradients is no black box.
        blind_ones = [r for r in results(case, BLACK_BOX) if not r.settings.get("refine")]
        evaluation, black = case.evaluation, [c for r in blind_ones for c in r.columns]
        gradient = ("PGD", "APGD", "AutoPGD", "Targeted", "FGSM", "WorstOf")  # AutoAttack has Square inside
        white = [c for r in results(case, gradient) for c in r.columns]
        if evaluation is None or not black or not white:
            missing = "an attack without gradients (Square)" if not black else "an attack with gradients (PGD)"
            raise NotApplicableError(f"{missing} was not run")
        blind, seeing = min(black, key=evaluation.accuracy), min(white, key=evaluation.accuracy)
        above = evaluation.accuracy(seeing) - evaluation.accuracy(blind)
        reason = f"{blind} {evaluation.accuracy(blind):.2f}, the lowest with gradients {seeing} "
        reason += f"{evaluation.accuracy(seeing):.2f}"
        return Finding(above, exceeds(above, self.threshold, images=evaluation.count), reason)
