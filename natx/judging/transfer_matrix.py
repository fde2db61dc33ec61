"""Black-box transfer between several models: a matrix of sources and targets, and what it says about masking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.dist import all_gather_object, all_reduce, get_dist_info

from natx.attacks import Attack, Cost
from natx.attacks.remarks import merged as merged_remarks
from natx.batch import to_device
from natx.checks.chance import FAMILY, paired_excess
from natx.checks.columns import BlackBoxWeaker
from natx.errors import ConfigError
from natx.evaluation.applicable import settings_remarks
from natx.evaluation.outcomes import discordant
from natx.evaluation.robust import CLEAN, check_columns, share
from natx.models.adversary import Adversary
from natx.models.half import in_float32
from natx.models.mode import attack_mode
from natx.runtime.precision import exact_float32
from natx.runtime.progress import Meter, silent
from natx.task import Task


@dataclass
class Matrix:
    """Outcomes of a transfer matrix.

    Attributes:
        sources: names of the models that attacks were crafted on.
        targets: names of those that were asked; each is a source too.
        correct: which images a target gets right, bool ``[N]``, by (attack, source, target), and by ('Clean', target).
        costs: forwards and backwards by (attack, source), the targets' own included.
        notes: what each attack met on each source, and what in its settings keeps it from its ball, by the same.
    """

    sources: list[str]
    targets: list[str]
    attacks: list[str]
    correct: dict[tuple[str, ...], torch.Tensor] = field(default_factory=dict)
    costs: dict[tuple[str, str], Cost] = field(default_factory=dict)
    notes: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def accuracy(self, *key: str) -> float:
        """Accuracy (%) of a target by (attack, source, target), or by ('Clean', target)."""
        return 100 * float(self.correct[key].double().mean())

    def flags(self) -> list[dict[str, Any]]:
        """Where pixels crafted on another model do more harm than those crafted on the target itself.

        By more than check G8 tolerates and than chance explains: any flag of a matrix of honest models comes by chance
        with a probability of at most 5 %. Each entry has the accuracies (%), ``missed``, how many images the
        transferred pixels alone break, and ``p_value``, times the number of comparisons.
        """
        flags: list[dict[str, Any]] = []
        comparisons = len(self.attacks) * len(self.targets) * (len(self.sources) - 1)
        for attack in self.attacks:
            for target in self.targets:
                white = self.correct[attack, target, target]
                for source in self.sources:
                    missed, reverse = discordant(white, self.correct[attack, source, target])
                    p_value = comparisons * paired_excess(missed, reverse, len(white), BlackBoxWeaker.tolerance / 100)
                    if source != target and p_value <= FAMILY:
                        accuracies: dict[str, Any] = {
                            "transfer": self.accuracy(attack, source, target),
                            "white_box": self.accuracy(attack, target, target),
                        }
                        names = {"attack": attack, "source": source, "target": target}
                        flags.append({**names, **accuracies, "missed": missed, "p_value": p_value})
        return flags


def transfer_matrix(
    targets: dict[str, Task],
    dataset: Any,
    attacks: Sequence[Attack],
    *,
    sources: dict[str, Task] | None = None,
    batch_size: int = 250,
    meter: Meter | None = None,
) -> Matrix:
    """Craft every attack on every source and ask every target.

    The pixels are those at the end of the attack (success='last'): a point that the source barely gets wrong transfers
    badly. The diagonal is judged on its own model by the same pixels, so that transfer accuracy must be at least
    white-box accuracy wherever gradients lead the attack. Several processes share the batches.

    Args:
        targets: models by name, on one device; each is a source too.
        dataset: the test images.
        attacks: run with all images, also those that are wrong without attack.
        sources: further models to craft on.
        batch_size: images per step, where the attack does not decide it.
        meter: progress display.

    Raises:
        ConfigError: a name given twice, models that differ in classes or input size, or tasks without one class per
            image.
        UnsupportedError: an attack cannot attack one of the models; nothing was attacked then.
    """
    sources = sources or {}
    if set(sources) & set(targets):
        raise ConfigError(f"{', '.join(sorted(set(sources) & set(targets)))}: a target is a source already")
    if not targets:
        raise ConfigError("a transfer matrix needs at least one target")
    models, halves = {}, {}
    for name, task in {**targets, **sources}.items():
        models[name], halves[name] = in_float32(task)
    targets = {name: models[name] for name in targets}
    _check_models(models, targets)
    check_columns(attacks)
    names = [attack.name for attack in attacks]
    if double := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"two attacks are called {', '.join(double)}: give one of them name='...'")
    for attack in attacks:
        for task in models.values():
            attack.check(task)
    matrix = Matrix(list(models), list(targets), names)
    meter, count = meter or silent(), len(dataset)
    for name, task in targets.items():
        outcomes = torch.zeros(1, count, dtype=torch.uint8)
        for block in share(list(range(count)), batch_size):
            outcomes[:, block] = _right({name: task}, _batch(dataset, block, task), None)
        matrix.correct[CLEAN, name] = _merged(outcomes, task)[0]
    for attack in attacks:
        for name, source in models.items():
            outcomes, cost = torch.zeros(len(targets), count, dtype=torch.uint8), Cost()
            notes = [halves[name], settings_remarks(attack)]
            mine = share(list(range(count)), attack.block_size or batch_size)
            meter.begin(f"{attack.name} on {name}", sum(map(len, mine)))
            for block in mine:
                batch = _batch(dataset, block, source)
                attacked = attack.judge(source, batch, success="last")
                outcomes[:, block] = _right(targets, batch, attacked.x_adv)
                notes.append(attacked.notes)
                cost += attacked.cost
                cost.forwards += len(targets) * len(block)
                meter.advance(len(block))
            meter.end()
            merged = _merged(outcomes, source)
            matrix.correct.update({(attack.name, name, target): row for target, row in zip(targets, merged)})
            matrix.costs[attack.name, name] = _total(cost)
            matrix.notes[attack.name, name] = _together(notes)
    return matrix


def _check_models(models: dict[str, Task], targets: dict[str, Task]) -> None:
    """Raise ConfigError where a model has no class per image, or one of the targets cannot take another's images."""
    for name, task in models.items():
        if not task.per_image_success:
            raise ConfigError(f"{name}: a {type(task).__name__} has no one class per image, so no accuracy to compare")
        with attack_mode(task):  # an adversary freezes its model: undone on exit
            source = Adversary([task], role=f"source {name}")
            for target in targets.values():
                source.check(target)


def _batch(dataset: Any, block: list[int], task: Task) -> dict[str, Any]:
    return to_device(dataset.__getitems__(block), next(task.parameters()).device)


def _right(targets: dict[str, Task], batch: dict[str, Any], x: torch.Tensor | None) -> torch.Tensor:
    """Which images each target gets right, uint8 ``[targets, N]``, at pixels ``x`` or at the batch's own.

    Logits that are no numbers are of no class, so that the image is wrong.
    """
    rows, device = [], batch["inputs"].device.type
    for task in targets.values():
        with attack_mode(task), torch.no_grad(), torch.autocast(device, enabled=False), exact_float32():
            output = task(batch, x)
            rows.append(task.correct(output) & output.finite())
    return torch.stack(rows).to("cpu", torch.uint8)


def _merged(outcomes: torch.Tensor, task: Task) -> torch.Tensor:
    """Outcomes of all processes, bool."""
    if get_dist_info()[1] == 1:
        return outcomes.bool()
    outcomes = outcomes.to(next(task.parameters()).device, torch.int32)
    all_reduce(outcomes)
    return outcomes.cpu().bool()


def _together(notes: list[list[str]]) -> list[str]:
    """Remarks on all blocks of all processes."""
    if get_dist_info()[1] > 1:
        notes = [some for theirs in all_gather_object(notes) for some in theirs]
    return merged_remarks(notes)


def _total(cost: Cost) -> Cost:
    """The cost of all processes."""
    if get_dist_info()[1] == 1:
        return cost
    parts = all_gather_object(cost)
    return Cost(sum(part.forwards for part in parts), sum(part.backwards for part in parts))
