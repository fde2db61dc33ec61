"""Checks that attack again, stronger: larger eps, rescaled logits, more starts."""

from __future__ import annotations

import math
from dataclasses import replace

from natx.attacks import PGD
from natx.checks.applicable import NotApplicableError
from natx.checks.base import Check, Finding, finding
from natx.checks.case import STEPS, Case
from natx.checks.chance import difference, mean_above, mean_below, share_above, worst
from natx.objectives import RescaledCrossEntropy
from natx.threat import Linf, pixel_fraction

SWEEP = (0, 1, 2, 4, 8, 16, 32, 64, 128)  # eps in 1/255
SCALES = (3, 10, 30, 100)
RESTARTS = (1, 5, 10)


class EpsSweep(Check):
    """G6: a larger eps breaks more, and a huge one everything. Points: accuracy (%) at each eps (Linf: in 1/255)."""

    id, title, tolerance, unit = "G6", "accuracy left at the largest eps", 1.0, "%"
    rise = 1.0  # points by which a larger eps may leave more: the step grows with it

    def measure(self, case: Case) -> Finding:
        """See :meth:`Check.measure`."""
        clean = case.require_better_than_chance()
        case.require_gradients()
        linf = isinstance(case.threat, Linf)
        # Under L2 the same multiples of eps that the sweep is of 8/255.
        sizes = [k / 255 if linf else k / 8 * case.threat.eps for k in SWEEP]
        right, rows = [case.right], case.right.nonzero().squeeze(1)
        for eps in sizes[1:]:
            attack = PGD(replace(case.threat, eps=eps), STEPS, step_size=2.5 * eps / STEPS, seed=case.seed)
            right.append(case.survivors(attack, rows=rows))
        values = [clean, *(case.accuracy(outcome) for outcome in right[1:])]
        last = share_above(right[-1], self.tolerance, comparisons=len(right))
        rises = [difference(b, a, tolerance=self.rise, comparisons=len(right)) for a, b in zip(right, right[1:])]
        rose = any(rise.red for rise in rises)
        names = [pixel_fraction(eps) if linf else f"{eps:g}" for eps in sizes]
        curve = ", ".join(f"{value:.1f} at {name}" for name, value in zip(names, values))
        points = tuple((float(eps), value) for eps, value in zip(SWEEP if linf else sizes, values))
        reason = f"{curve}{'; a larger eps leaves more' if rose else ''}"
        return finding(last, reason, *rises, points=points)


class LogitScale(Check):
    """G10: dividing the logits by a constant does not help the attack."""

    id, title, tolerance, unit = "G10", "drop on rescaled logits", 1.0, "points"

    def measure(self, case: Case) -> Finding:
        """See :meth:`Check.measure`."""
        case.require_better_than_chance()
        right, rows = {1: case.pgd_right}, case.right.nonzero().squeeze(1)
        for scale in SCALES:
            right[scale] = case.survivors(case.pgd(objective=RescaledCrossEntropy(scale)), rows=rows)
        tests = [
            difference(right[1], right[scale], tolerance=self.tolerance, comparisons=len(SCALES)) for scale in SCALES
        ]
        curve = ", ".join(f"{case.accuracy(outcome):.1f} for z/{scale}" for scale, outcome in right.items())
        return finding(worst(tests), f"PGD-{STEPS}: {curve}")


class Restarts(Check):
    """G11: more random starts break little more."""

    id, title, tolerance, unit = "G11", "drop from 1 to 10 random starts", 5.0, "points"

    def measure(self, case: Case) -> Finding:
        """See :meth:`Check.measure`."""
        case.require_better_than_chance()
        unbroken, values = case.pgd_right.clone(), {}
        for start in range(1, max(RESTARTS) + 1):
            rows = unbroken.nonzero().squeeze(1)
            if start > 1 and len(rows):
                unbroken &= case.survivors(case.pgd(seed=case.seed + 1000 * start), rows=rows)
            if start in RESTARTS:
                values[start] = case.accuracy(unbroken)
        curve = ", ".join(f"{value:.1f} from {start}" for start, value in values.items())
        # Further starts only ever break more, so that no image speaks for the other side.
        return finding(share_above(case.pgd_right & ~unbroken, self.tolerance), f"PGD-{STEPS}: {curve}")


class Convergence(Check):
    """G13: the attack's loss has settled, and is above that of random noise."""

    id, title, tolerance, unit = "G13", "rise of the loss in the last fifth of the steps", 5.0, "%"
    least = 0.01  # of the loss at random points: an attack that climbs less climbs nothing

    def measure(self, case: Case) -> Finding:
        """See :meth:`Check.measure`; the steps are those of the evaluation's PGD."""
        case.require_better_than_chance()
        steps = min(STEPS if case.model is None else case.model.steps, len(case.trajectory.loss) - 1)
        if steps < 5:
            raise NotApplicableError(f"the evaluation's PGD has {steps} steps: too few for a trajectory")
        loss = case.trajectory.loss[: steps + 1].double()  # [steps + 1, N]
        begin, end, before = loss[0], loss[steps], loss[steps - steps // 5]
        reason = (
            f"mean cross-entropy {begin.mean():.3g} at random points of the ball, {end.mean():.3g} after {steps} steps"
        )
        climb = float((end - begin).mean())
        climbs = mean_below(end - (1 + self.least) * begin, 0.0, comparisons=2)
        if climbs.red or climb <= 0:
            return Finding(0.0, True, f"{reason}: the attack climbs nothing", math.inf, climbs.p_value)
        # The share of the climb is above the tolerance where the mean of this is above 0.
        late = mean_above(end - before - self.tolerance / 100 * (end - begin), 0.0, comparisons=2)
        share, limit = (self.tolerance + 100 * value / climb for value in (late.figure, late.limit))
        reason += f", {round(share, 1) + 0.0:.1f} % of the climb in the last fifth"  # no zero is negative
        return finding(replace(late, figure=share, limit=limit), reason)
