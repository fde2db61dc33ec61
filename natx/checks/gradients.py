"""Checks of the gradients that attacks follow, and of the logits that they come from."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from natx.attacks.base import random_point
from natx.attacks.tally import TINY
from natx.batch import Batch
from natx.checks.applicable import NotApplicableError
from natx.checks.base import Check, Finding, finding
from natx.checks.case import Case
from natx.checks.chance import mean_above, mean_below, share_above, share_below
from natx.expect import waived
from natx.objectives import CrossEntropy
from natx.runtime.device import widened


class ZeroGradients(Check):
    """G9: the loss has a gradient at the images."""

    id, title, tolerance, unit = "G9", "images without gradient", 1.0, "%"

    def measure(self, case: Case) -> Finding:
        """See :meth:`Check.measure`."""
        if not case.differentiable:
            none = torch.ones(case.count, dtype=torch.bool)
            return finding(share_above(none, self.tolerance), "autograd finds no path from the pixels to the loss")
        none = torch.cat([_without(case, batch) for _, batch in case.parts()])
        reason = f"{int(none.sum())} of {case.count} images have no gradient: NaN, infinite, or below {TINY:g}"
        return finding(share_above(none, self.tolerance), reason)


def _without(case: Case, batch: Batch) -> Tensor:
    """Which images have no gradient, or one with entries that are NaN or infinite; bool ``[n]``."""
    victim = case.victim(batch)
    grad, _, _ = victim.gradient(victim.x, CrossEntropy())
    return ((grad.flatten(1).abs().amax(1) < TINY) | victim.tally.undefined).cpu()


class Alignment(Check):
    """G12: gradients of near points agree, and the loss rises along them."""

    id, title, tolerance, unit = "G12", "alignment of nearby gradients", 0.1, "cosine"
    small = True
    agreement = 90.0  # % of the images whose loss must rise along the gradient
    step = 1 / 16  # of eps: the distance over which it must rise

    def measure(self, case: Case) -> Finding:
        """See :meth:`Check.measure`."""
        case.require_gradients()
        cosines, rises = zip(*(self._look(case, batch) for _, batch in case.parts()))
        cosine, rise = torch.cat(cosines), torch.cat(rises)
        aligned = mean_below(cosine, self.tolerance, comparisons=2)
        climbs = share_below(rise, self.agreement, comparisons=2)
        reason = f"mean cosine {aligned.figure:z.3f}, the loss rises along the gradient for {climbs.figure:.1f} % of "
        reason += "the images" + (f" (red at {climbs.limit:.1f} % or below)" if climbs.limit >= 0 else "")
        return finding(aligned, reason, climbs)

    def _look(self, case: Case, batch: Batch) -> tuple[Tensor, Tensor]:
        victim = case.victim(batch)
        near = random_point(victim.ball, batch["index"], seed=case.seed, epoch=0, stream=12)
        here, there = case.gradient(victim.x, batch), case.gradient(near, batch)
        cosine = F.cosine_similarity(widened(here.flatten(1)), widened(there.flatten(1)), dim=1)
        # Not clipped to [0,1], where the two sides would differ in length.
        far = self.step * case.threat.eps
        length = here.flatten(1).norm(dim=1).clamp_min(TINY)[:, None, None, None]
        step = far * (here / length if case.threat.norm == "L2" else here.sign())
        try:
            with waived():  # a loaded model refuses such pixels
                rises = case.loss(victim.x + step, batch) > case.loss(victim.x - step, batch)
        except (AssertionError, ValueError) as error:  # as one's own model may, in its own words
            raise NotApplicableError(f"the model takes no pixels outside of [0,1] ({error})") from error
        return cosine.cpu(), rises.cpu()


class Saturation(Check):
    """G16: the logits are of a size at which softmax still has gradients."""

    id, title, tolerance, unit = "G16", "mean gap of the two largest logits", 30.0, "logits"

    def measure(self, case: Case) -> Finding:
        """See :meth:`Check.measure`."""
        logits = case.logits.double()
        top = logits.topk(2, dim=1).values
        gaps, largest = top[:, 0] - top[:, 1], float(top[:, 0].mean())
        log_p = F.log_softmax(logits, dim=1)
        entropy = float(-(log_p.exp() * log_p).sum(1).mean())
        reason = f"mean gap {float(gaps.mean()):.3g}, mean largest logit {largest:.3g}, mean entropy {entropy:.3g} nats"
        return finding(mean_above(gaps, self.tolerance), reason)
