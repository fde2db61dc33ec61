"""Checks of the machinery: does the attack do what the report says, to the model that would be deployed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from natx.attacks import PGD, Attack, AutoAttack
from natx.attacks.autoattack import LibraryAttack
from natx.attacks.base import random_point
from natx.batch import Batch, select
from natx.checks.applicable import NotApplicableError, guessing
from natx.checks.base import Check, Finding, finding
from natx.checks.case import Case, right_rows
from natx.checks.chance import Tested, difference, share_above, share_below
from natx.data import some_positions
from natx.errors import ConfigError, ConstraintError
from natx.evaluation.robust import CLEAN
from natx.runtime.device import widened
from natx.threat import Linf, pixel_fraction

SLACK = 1e-6  # in float32, `x + eps - x` may be larger than eps by less than this
CHANGED = 1.0  # % of the clean outcomes that may differ from another pass: kernels depend on the batch size
REACH = 0.9  # share of eps that an attack's largest pixel change must have


class VanillaBreaks(Check):
    """G5: the evaluation's attack leaves nothing of an undefended model."""

    id, title, tolerance, unit = "G5", "an undefended model breaks", 1.0, "%"
    doubt = 5.0  # points by which two writings of the same attack may differ

    def measure(self, case: Case) -> Finding:
        """See :meth:`Check.measure`."""
        if case.vanilla is None:
            raise NotApplicableError("no undefended model was given")
        case = case.with_model(case.vanilla)
        clean = case.require_better_than_chance()
        case.require_gradients()
        iterated = (a for a in case.attacks if isinstance(a, PGD) and a.steps > 1 and a.threat == case.threat)
        attack = next(iterated, case.pgd(steps=10))
        unbroken = case.right.clone()
        for part, batch in case.parts():
            unbroken[part] &= ~attack.judge(case.task, batch).broken[attack.columns()[0]].cpu()
        kept = case.accuracy(unbroken)
        reason = f"undefended: {clean:.2f} without attack, {kept:.2f} under {attack.columns()[0]}"
        rest = unbroken.clone()
        if kept <= self.tolerance and rest.any() and case.task.num_classes >= 4:
            rest &= case.survivors(AutoAttack(case.threat, seed=case.seed), rows=rest.nonzero().squeeze(1))
            reason += f", {case.accuracy(rest):.2f} when AutoAttack has had the rest"
        if not rest.any():
            return Finding(kept, False, reason, math.inf)
        again = _plainly(case, case.threat.eps, steps=(attack.milestones or (attack.steps,))[0])
        anew = difference(unbroken, again, tolerance=self.doubt, comparisons=2)
        if anew.red:
            reason += f", but {case.accuracy(again):.2f} under the same attack written anew: the pipeline is wrong"
            return Finding(kept, True, reason, math.inf, anew.p_value)
        far = _plainly(case, 16 * case.threat.eps if case.threat.norm == "L2" else 0.5, steps=20)
        widest = share_above(far, self.tolerance, comparisons=2)
        if widest.red:
            reason += f", and {widest.figure:.2f} at a distance that should break any model"
            return Finding(kept, True, reason, math.inf, widest.p_value)
        raise NotApplicableError(f"{reason}: {case.threat} does not break this undefended model, larger distances do")


def _plainly(case: Case, eps: float, *, steps: int) -> Tensor:
    """Images that PGD leaves right, written without any of the attack code, bool ``[N]``."""
    right = case.right.clone()
    flat = (slice(None), *[None] * 3)
    for part, batch in case.parts():
        x, labels = case.task.pixels(batch), batch["data_samples"]
        x_adv = x.clone()
        for _ in range(steps):
            x_adv = x_adv.detach().requires_grad_()
            with torch.enable_grad():
                logits = case.task.logits(x_adv)
                (grad,) = torch.autograd.grad(F.cross_entropy(logits.float(), labels, reduction="sum"), x_adv)
            right[part] &= right_rows(logits, labels).cpu()
            with torch.no_grad():
                if case.threat.norm == "L2":
                    delta = x_adv - x + eps / 4 * grad / grad.flatten(1).norm(dim=1).clamp_min(1e-12)[flat]
                    delta *= (eps / delta.flatten(1).norm(dim=1).clamp_min(1e-12)).clamp(max=1)[flat]
                else:
                    delta = (x_adv - x + eps / 4 * grad.sign()).clamp(-eps, eps)
                x_adv = (x + delta).clamp(0, 1)
        with torch.no_grad():
            right[part] &= right_rows(case.task.logits(x_adv), labels).cpu()
    return right


class Feasible(Check):
    """G14: the setting is what it claims to be. The figure is the number of things that are not."""

    id, title, unit = "G14", "the setting is sound", "faults"
    images = 16  # enough to see a fault, few enough for long attacks

    def measure(self, case: Case) -> Finding:
        """See :meth:`Check.measure`."""
        batch = select(case.batch, torch.arange(min(self.images, case.count)))
        faults = [*_labels(case), *_outputs(case, batch), *(f for attack in case.attacks for f in attack.shortfalls())]
        for attack in case.attacks:
            if attack.threat == case.threat and not isinstance(attack, LibraryAttack):
                faults += [fault for fault in _attack(case, attack, batch) if fault not in faults]
        sound = "eval mode, deterministic, logits, labels that fit, perturbations within eps and up to it"
        return Finding(len(faults), bool(faults), "; ".join(faults) or sound, limit=1)


def _labels(case: Case) -> Iterator[str]:
    """What is wrong with labels."""
    low, high, classes = int(case.labels.min()), int(case.labels.max()), case.task.num_classes
    if low < 0 or high >= classes:
        yield f"labels run from {low} to {high}, the model has {classes} classes"
        return
    clean = share_below(case.right, guessing(classes), comparisons=2)
    if clean.red:
        yield f"without attack only {clean.figure:.1f} % are right: labels or normalisation do not fit"
    if case.evaluation is not None:
        changed = case.evaluation.correct[CLEAN][case.positions] != case.right
        if share_above(changed, CHANGED, comparisons=2).red:
            yield f"{int(changed.sum())} of {case.count} clean outcomes differ from those of the evaluation"


def _outputs(case: Case, batch: Batch) -> Iterator[str]:
    """What is wrong with the model's inputs and outputs."""
    x = case.task.pixels(batch)
    if float(x.min()) < 0 or float(x.max()) > 1:
        yield f"pixels are in {float(x.min()):.3g}..{float(x.max()):.3g} instead of [0,1]: eps is in another space"
    with torch.no_grad():
        first = widened(case.task.logits(x))
        again = [widened(case.task.logits(x)) for _ in range(4)]
        alone = torch.cat([widened(case.task.logits(one)) for one in x.split(1)])
    # Both limits are relative to the output's length; the first is that of AutoAttack's own flag.
    random = max(_apart(first, other) for other in again) > 1e-4
    if random:
        yield "the same images give other outputs each time: the model is randomised"
    elif _apart(first, alone) > 1e-2:
        yield "an image's output depends on the other images of its batch"
    if bool((first >= -1e-5).all()) and bool(((first.sum(1) - 1).abs() < 1e-5).all()):
        yield "outputs are probabilities, attacks need logits"


def _apart(one: Tensor, other: Tensor) -> float:
    """Largest distance of two outputs' directions over the images."""
    return float((F.normalize(one, dim=1) - F.normalize(other, dim=1)).norm(dim=1).max())


def _attack(case: Case, attack: Attack, batch: Batch) -> Iterator[str]:
    """What is wrong with the pixels that an attack makes, and with the model while it makes them."""
    name, x, eps = attack.name, case.task.pixels(batch), case.threat.eps
    try:
        with _in_training(case.task) as layers:
            x_adv = attack.judge(case.task, batch, success="last").x_adv
    except (ConstraintError, ConfigError) as error:  # it leaves the ball, or gets no gradient to follow
        yield f"{name}: {error}"
        return
    if layers:
        yield f"{name}: {', '.join(sorted(layers))} in training mode while attacked"
    size = float(case.threat.around(x).distance(x_adv).max())
    if size > eps + SLACK * max(1.0, eps):
        yield f"{name}: perturbations up to {pixel_fraction(size)}, beyond {case.threat}"
    if float(x_adv.min()) < 0 or float(x_adv.max()) > 1:
        yield f"{name}: pixels outside [0,1]"
    # Clipping to [0,1] shortens L2 perturbations, but leaves each pixel one way to go.
    if isinstance(case.threat, Linf) and size < REACH * eps:
        yield f"{name}: perturbations reach {pixel_fraction(size)} of {case.threat}: eps is in another space"


@contextmanager
def _in_training(task: nn.Module) -> Iterator[set[str]]:
    """Collects the types of layers that run in training mode."""
    seen: set[str] = set()

    def look(module: nn.Module, _: object) -> None:
        if module.training:
            seen.add(type(module).__name__)

    leaves = [m for m in task.modules() if not list(m.children())]
    handles = [module.register_forward_pre_hook(look) for module in leaves]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


class RandomSearch(Check):
    """G15: uniform random points break no more images than PGD does."""

    id, title, tolerance, unit = "G15", "random points break more than PGD", 0.0, "images"
    share, least = 5, 40  # one in so many of the checks' images is searched, and so many at least

    def measure(self, case: Case) -> Finding:
        """See :meth:`Check.measure`; stops where no outcome of the other images could make it red."""
        case.require_better_than_chance()
        right = case.right.nonzero().squeeze(1).tolist()
        some = some_positions(case.dataset, max(self.least, case.count // self.share), among=right)
        # Images that PGD broke come first: most stand random points, and speak for PGD.
        order = sorted(some, key=lambda row: bool(case.pgd_right[row]))
        by_pgd, by_chance = ~case.pgd_right[order], torch.ones(len(order), dtype=torch.bool)
        searched = 0
        for searched, row in enumerate(order, 1):
            by_chance[searched - 1] = self._breaks(case, select(case.batch, torch.tensor([row])))
            # Were all others to break: as much as there can be against PGD.
            if not self._tested(by_pgd, by_chance).red:
                break
        reason = f"of {searched} images {int(by_chance[:searched].sum())} break among {case.draws} random points each, "
        reason += f"{int(by_pgd[:searched].sum())} under PGD-20"
        if searched < len(order):
            reason += f"; whatever the other {len(order) - searched} do is no surprise"
        # That no more were searched is no lack of images.
        enough = self._tested(torch.zeros_like(by_pgd), torch.ones_like(by_pgd)).possible
        return finding(replace(self._tested(by_pgd[:searched], by_chance[:searched]), possible=enough), reason)

    def _tested(self, by_pgd: Tensor, by_chance: Tensor) -> Tested:
        return difference(by_chance, by_pgd, tolerance=self.tolerance, unit=len(by_pgd))

    def _breaks(self, case: Case, batch: Batch) -> bool:
        x = case.task.pixels(batch)
        for first in range(0, case.draws, case.batch_size):
            draws = torch.arange(first, min(first + case.batch_size, case.draws), device=x.device)
            many = x.expand(len(draws), *x.shape[1:])
            # Draws take the place of images in the key, and the image that of the epoch.
            ball, image = case.threat.around(many), int(batch["index"][0])
            with torch.no_grad():
                logits = case.task.logits(random_point(ball, draws, seed=case.seed, epoch=image, stream=15))
            if not bool(right_rows(logits, batch["data_samples"]).all()):
                return True
        return False
