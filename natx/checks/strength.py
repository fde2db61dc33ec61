"""Checks that attack again, stronger: larger eps, rescaled logits, more starts."""

from __future__ import annotations

from dataclasses import replace

from natx.attacks import PGD
from natx.checks.base import Check, Finding, exceeds
from natx.checks.case import STEPS, Case, NotApplicableError
from natx.objectives import RescaledCrossEntropy
from natx.threat import Linf, pixel_fraction

SWEEP = (0, 1, 2, 4, 8, 16, 32, 64, 128)  # eps in 1/255
SCALES = (3, 10, 30, 100)
RESTARTS = (1, 5, 10)


class EpsSweep(Check):
    """G6: a larger eps breaks more, and a huge one everything. Points: accuracy (%) at each eps (Linf: in 1/255)."""

    id, title, threshold, unit = "G6", "accuracy left at the largest eps", 1.0, "%"
    rise = 1.0  # points by which a larger eps may leave more: the step grows with it

    def measure(self, case: Case) -> Finding:
        """See :meth:`Check.measure`."""
        clean = case.require_better_than_chance()
        case.require_gradients()
        linf = isinstance(case.threat, Linf)
        # Under L2 the same multiples of eps that the sweep is of 8/255.
        sizes = [k / 255 if linf else k / 8 * case.threat.eps for k in SWEEP]
        values, rows = [clean], case.right.nonzero().squeeze(1)
        for eps in sizes[1:]:
            attack = PGD(replace(case.threat, eps=eps), STEPS, step_size=2.5 * eps / STEPS, seed=case.seed)
            values.append(case.accuracy(case.survivors(attack, rows=rows)))
        rose = [i for i, (a, b) in enumerate(zip(values, values[1:])) if exceeds(b - a, self.rise, images=case.count)]
        names = [pixel_fraction(eps) if linf else f"{eps:g}" for eps in sizes]
        told = ", ".join(f"{value:.1f} at {name}" for name, value in zip(names, values))
        red = bool(rose) or exceeds(values[-1], self.threshold, images=case.count)
        points = tuple((float(eps), value) for eps, value in zip(SWEEP if linf else sizes, values))
        return Finding(values[-1], red, f"{told}{'; a larger eps leaves more' if rose else ''}", points=points)


class LogitScale(Check):
    """G10: dividing the logits by a constant does not help the attack."""

    id, title, threshold, unit = "G10", "drop on rescaled logits", 1.0, "points"

    def measure(self, case: Case) -> Finding:
        """See :meth:`Check.measure`."""
        case.require_better_than_chance()
        values, rows = {1: case.accuracy(case.pgd_right)}, case.right.nonzero().squeeze(1)
        for scale in SCALES:
            attack = case.pgd(objective=RescaledCrossEntropy(scale))
            values[scale] = case.accuracy(case.survivors(attack, rows=rows))
        drop = values[1] - min(values.values())
        told = ", ".join(f"{value:.1f} for z/{scale}" for scale, value in values.items())
        return Finding(drop, exceeds(drop, self.threshold, images=case.count), f"PGD-{STEPS}: {told}")


class Restarts(Check):
    """G11: more random starts break little more."""

    id, title, threshold, unit = "G11", "drop from 1 to 10 random starts", 1.5, "points"

    def measure(self, case: Case) -> Finding:
        """See :meth:`Check.measure`."""
        case.require_better_than_chance()
        left, values = case.pgd_right.clone(), {}
        for start in range(1, max(RESTARTS) + 1):
            rows = left.nonzero().squeeze(1)
            if start > 1 and len(rows):
                left &= case.survivors(case.pgd(seed=case.seed + 1000 * start), rows=rows)
            if start in RESTARTS:
                values[start] = case.accuracy(left)
        drop = values[1] - values[max(RESTARTS)]
        told = ", ".join(f"{value:.1f} from {start}" for start, value in values.items())
        return Finding(drop, exceeds(drop, self.threshold, images=case.count), f"PGD-{STEPS}: {told}")


class Convergence(Check):
    """G13: the attack's loss has settled, and is above that of random noise."""

    id, title, threshold, unit = "G13", "rise of the loss in the last fifth of the steps", 5.0, "%"

    def measure(self, case: Case) -> Finding:
        """See :meth:`Check.measure`; the steps are those of the evaluation's PGD."""
        case.require_better_than_chance()
        steps = min(STEPS if case.model is None else case.model.steps, len(case.trajectory.loss) - 1)
        if steps < 5:
            raise NotApplicableError(f"the evaluation's PGD has {steps} steps: too few for a trajectory")
        loss = case.trajectory.loss.double().mean(1)  # [steps + 1]
        total, late = float(loss[steps] - loss[0]), float(loss[steps] - loss[steps - steps // 5])
        reason = f"mean cross-entropy {loss[0]:.3g} at random points of the ball, {loss[steps]:.3g} after {steps} steps"
        if total <= 0.01 * float(loss[0].clamp_min(1e-6)):
            return Finding(0.0, True, f"{reason}: the attack climbs nothing")
        rise = 100 * late / total
        told = round(rise, 1) + 0.0  # no zero is negative
        return Finding(rise, rise > self.threshold, f"{reason}, {told:.1f} % of the climb in the last fifth")
