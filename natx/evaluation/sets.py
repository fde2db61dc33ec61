"""Evaluation of whole sets: a metric over all images, clean and with some of them attacked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from mmengine.dist import all_gather_object, get_dist_info
from torch import Tensor

from natx.attacks import Attack, Cost
from natx.attacks.remarks import WORST, merged
from natx.batch import to_device
from natx.errors import ConfigError, DataError
from natx.evaluation.applicable import OnUnsupported, applicable, settings_remarks
from natx.evaluation.examples import Examples
from natx.evaluation.metric import Metric
from natx.evaluation.predictions import gathered, replaced
from natx.evaluation.robust import CLEAN, AttackResult, check_columns, share
from natx.evaluation.set_columns import Columns, WorstCase, success
from natx.evaluation.set_progress import SetBlock, SetProgress
from natx.evaluation.size import SIZES, realised, summary
from natx.evaluation.statistics import Interval
from natx.models.half import in_float32
from natx.models.mode import attack_mode
from natx.runtime.memory import explained
from natx.runtime.precision import exact_float32
from natx.runtime.progress import Meter, silent
from natx.task import Task

EXAMPLES = 4


@dataclass
class SetAttackResult(AttackResult):
    """What one attack did over the whole set; plain values, None for the clean column.

    Attributes:
        perturbation: how large the perturbations became, see :func:`natx.evaluation.size.summary`.
        success: how many images were ``fooled`` ``of`` those that had something to lose, and the ``rate`` (%, None of
            no image) with its ``interval``; None where the metric does not tell.
        alarms: how many false alarms it ``added`` to an attacked image in the mean, and the ``interval``; likewise.
    """

    perturbation: dict[str, float | int | None] | None = None
    success: dict[str, Any] | None = None
    alarms: dict[str, Any] | None = None


@dataclass
class SetEvaluation:
    """Outcomes of a set-level evaluation.

    Attributes:
        values: per column the metric's values (%); the first column is clean.
        attacks: one entry per column, in the same order.
        count: images in the set.
        attacked: images that the attacks may change.
        notes: remarks about the set, the data set's own and the metric's.
        examples: the first attacked images under every attack, for pictures; None where no image is attackable.
        not_applicable: by column, why an attack that was asked for was left out.
        scores: per column what each query adds to the values, see :meth:`Metric.scores`; empty without queries.
        groups: which of the queries belong together, int64 ``[Q]``; None where each is one by itself.
        intervals: per column 95 % intervals (%) of values over the images, where they were asked for.
        worst: the set under whichever attack harms each image most; None where images by themselves do not tell.
    """

    values: dict[str, dict[str, float]]
    attacks: list[SetAttackResult]
    count: int
    attacked: int
    notes: list[str]
    examples: Examples | None = None
    not_applicable: dict[str, str] = field(default_factory=dict)
    scores: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    groups: Tensor | None = None
    intervals: dict[str, dict[str, Interval]] = field(default_factory=dict)
    worst: WorstCase | None = None

    def worst_scores(self) -> dict[str, Tensor]:
        """The lowest score that any column with scores leaves each query, float64 ``[Q]`` by value.

        Empty where no attack has scores: those of the clean column alone are no worst case.
        """
        columns = list(self.scores.values())
        names = columns[0] if len(columns) > 1 else ()
        return {name: torch.stack([one[name] for one in columns]).amin(0) for name in names}


def attacked_positions(dataset: Any) -> list[int]:
    """Positions of the images that attacks change unless they say others: the set's ``attacked`` (queries), or all."""
    positions = getattr(dataset, "attacked", None)
    return list(range(len(dataset))) if positions is None else [int(i) for i in positions]


@exact_float32()
def evaluate_set(
    task: Task,
    dataset: Any,
    attacks: Sequence[Attack],
    *,
    metric: Metric,
    batch_size: int = 250,
    on_unsupported: OnUnsupported = "refuse",
    intervals: bool = False,
    progress: SetProgress | None = None,
    meter: Meter | None = None,
) -> SetEvaluation:
    """Predict every image clean, then attack some of them and measure again, in eval mode and fp32.

    Images that no attack may change, or that have nothing to lose (:meth:`Metric.attackable`), are predicted once for
    all columns. Where the metric scores queries (:meth:`Metric.scores`), these are kept: a query has a worst case over
    all columns of attacks that leave the gallery clean. Where it tells how much each image is harmed
    (:meth:`Metric.harm`), the set has one over its attacks. With several processes each works on every n-th batch, and
    all return the same result.

    Args:
        task: the model; its modes and gradient flags are restored.
        dataset: anything with ``__len__`` and ``__getitems__(positions) -> batch``.
        attacks: attacks, run in the given order.
        metric: the set's metric.
        batch_size: images per step.
        on_unsupported: what becomes of attacks that cannot attack the task, see
            :func:`natx.evaluation.applicable.applicable`.
        intervals: measure 95 % intervals over the images too, where the metric has any; takes time.
        progress: keeps finished blocks; those it has already are not judged again.
        meter: progress display.

    Raises:
        ConfigError: two attacks share a column, or one asks for several.
        DataError: predictions that are not finite, or attacks and no image to attack.
        MemoryShortage: memory does not suffice for so many images.
    """
    # Not lowered by itself: it may change what a detector is shown.
    smaller = f"--batch-size: {batch_size} images a step were too many, {max(batch_size // 2, 1)} may do"
    check_columns(attacks)
    for attack in attacks:
        if len(attack.columns()) > 1:
            raise ConfigError(f"{attack.name} has milestones, which need per-image success: list one attack a column")
    attacks, reasons = applicable(attacks, task, on_unsupported=on_unsupported)
    with explained(lower=smaller):
        task, half = in_float32(task)
        judging = _Judging(task, dataset, batch_size, meter or silent(), progress)
        return _evaluate(
            judging, attacks, Columns(metric, dataset, with_intervals=intervals), reasons=reasons, half=half
        )


def _evaluate(
    judging: _Judging,
    attacks: Sequence[Attack],
    columns: Columns,
    *,
    reasons: dict[str, str],
    half: Sequence[str],
) -> SetEvaluation:
    """See :func:`evaluate_set`; of the attacks ``reasons`` are those that are not applicable, ``half`` is a remark."""
    dataset, clean = judging.dataset, SetAttackResult({"type": "Clean"}, [CLEAN], Cost(forwards=len(judging.dataset)))
    metric = columns.metric
    positions = _attackable(dataset, metric)
    predictions = judging.clean(clean, attacked=positions)
    if attacks and not positions:
        raise DataError(f"none of the set's {len(dataset)} images has something that an attack could take: use others")
    shown = _shown(columns.outcome(predictions, predictions), positions)
    examples = Examples(shown, predictions)
    examples.add(CLEAN, predictions, judging.pixels(shown))
    columns.add(CLEAN, predictions)
    results, outcomes = [clean], []
    for attack in attacks:
        result = SetAttackResult(attack.describe(), attack.columns())
        result.notes += [*settings_remarks(attack), *attack.observe(dataset, predictions)]
        images = _attackable(dataset, metric, attack)
        attacked, pixels = judging.attack(attack, result, images, shown=shown)
        start, changed = time.monotonic(), replaced(predictions, images, attacked)
        # An attack on one query's gallery changes what others find.
        columns.add(attack.name, changed, alone=attack.images_of(dataset) is None)
        outcomes.append(columns.outcome(predictions, changed))
        result.success = success(outcomes[-1], images)
        result.alarms = columns.added_alarms(predictions, changed, images)
        result.seconds += time.monotonic() - start
        results.append(result)
        examples.add(attack.name, changed, pixels)
    notes = [*half, *getattr(dataset, "notes", []), *metric.notes(dataset, predictions)]
    return SetEvaluation(
        columns.values,
        results,
        len(dataset),
        len(positions),
        notes,
        examples if shown else None,
        reasons,
        columns.scores,
        metric.groups(dataset),
        columns.intervals,
        columns.worst(outcomes, positions),
    )


def predict_all(task: Task, dataset: Any, *, batch_size: int, meter: Meter | None = None) -> Any:
    """Clean predictions of every image in order, on the CPU: a tensor ``[N, ...]`` or a list.

    Raises:
        DataError: predictions that are not finite.
    """
    judging = _Judging(task, dataset, batch_size, meter or silent())
    return judging.clean(SetAttackResult({"type": "Clean"}, [CLEAN]))


@dataclass
class _Judging:
    """An evaluation at work; the fields are arguments of :func:`evaluate_set`."""

    task: Task
    dataset: Any
    batch_size: int
    meter: Meter
    progress: SetProgress | None = None

    def pixels(self, positions: list[int]) -> list[Tensor]:
        """The clean pixels ``[C, H, W]`` of some images, on the CPU."""
        return list(self.task.pixels(_batch(self.task, self.dataset, positions)).cpu()) if positions else []

    def clean(self, result: SetAttackResult, *, attacked: Sequence[int] = ()) -> Any:
        """Predictions of every image without attack, in order; ``result`` gets the seconds.

        Where images differ in shape, those that are ``attacked`` are in the blocks in which attacks have them: the
        padding that an image gets from its block changes what is predicted of it, which is no success of an attack.
        """
        whole = list(range(len(self.dataset)))
        groups = [whole]
        if hasattr(self.dataset, "alike") and attacked:
            there = set(attacked)
            groups = [list(attacked), [position for position in whole if position not in there]]
        parts = []
        for block in self._blocks(CLEAN, groups, self._predicted):
            parts.append((block.images, block.predictions))
            result.seconds += block.seconds
        return gathered(parts)

    def _predicted(self, images: list[int]) -> SetBlock:
        """A block of images without attack."""
        predictions = _predict(self.task, _batch(self.task, self.dataset, images))
        if isinstance(predictions, Tensor) and not bool(_numbers(predictions).all()):
            raise DataError("the model predicts NaN or infinite values: its weights are damaged, nothing was judged")
        return SetBlock(images, predictions, torch.zeros(len(images), len(SIZES), dtype=torch.float64))

    def attack(
        self, attack: Attack, result: SetAttackResult, positions: list[int], *, shown: list[int]
    ) -> tuple[Any, list[Tensor]]:
        """Predictions of the attacked images in the order of ``positions``, and the pixels of the images ``shown``.

        An image that is shown and not attacked is shown as it is. ``result`` gets cost, remarks and sizes, those of all
        processes.
        """
        predictions, sizes, pixels = [], [], []
        for block in self._blocks(attack.name, [positions], partial(self._attacked, attack, shown=shown)):
            predictions.append((block.images, block.predictions))
            sizes.append((block.images, block.sizes))
            pixels.append((list(block.pixels), list(block.pixels.values())))
            result.cost += block.cost
            result.notes = merged((result.notes, block.notes))
            result.seconds += block.seconds
        start = time.monotonic()
        _merge(result)
        result.perturbation = summary(dict(zip(SIZES, gathered(sizes, order=positions).unbind(1))))
        there = set(positions)
        changed = [position for position in shown if position in there]
        seen = dict(zip(changed, gathered(pixels, order=changed) if changed else []))
        clean = [position for position in shown if position not in there]
        seen |= dict(zip(clean, self.pixels(clean)))
        everything = gathered(predictions, order=positions)
        result.seconds += time.monotonic() - start
        return everything, [seen[position] for position in shown]

    def _attacked(self, attack: Attack, images: list[int], *, shown: list[int]) -> SetBlock:
        """A block of images under an attack; those of its images that are ``shown`` keep their pixels."""
        batch = _batch(self.task, self.dataset, images)
        attacked = attack.judge(self.task, batch)
        predictions, notes = _predict(self.task, {**batch, "inputs": attacked.x_adv}), list(attacked.notes)
        finite = _numbers(predictions)
        if spoilt := int((~finite).sum()):
            notes.append(f"{WORST}{spoilt}")
        if not isinstance(predictions, Tensor):  # what is no number finds nothing
            rows = zip(predictions, finite.tolist())
            predictions = [one if fine else {name: values[:0] for name, values in one.items()} for one, fine in rows]
        size = realised(self.task.pixels(batch), attacked.x_adv, self.task.perturbable(batch))
        # Copied, or each would keep the whole batch in memory.
        pixels = {at: attacked.x_adv[row].clone().cpu() for row, at in enumerate(images) if at in shown}
        cost = Cost(attacked.cost.forwards + len(images), attacked.cost.backwards)
        return SetBlock(images, predictions, torch.stack([size[key] for key in SIZES], 1).cpu(), pixels, cost, notes)

    def _blocks(
        self, name: str, groups: Sequence[list[int]], judge: Callable[[list[int]], SetBlock]
    ) -> Iterator[SetBlock]:
        """This process's blocks of images, each of one group; those that are kept from before are not judged again."""
        blocks = [block for group in groups for block in share(_alike(self.dataset, group), self.batch_size)]
        kept = [None if self.progress is None else self.progress.stored(name, images) for images in blocks]
        self.meter.begin(name, sum(map(len, blocks)), done=sum(len(block.images) for block in kept if block))
        for images, block in zip(blocks, kept):
            if block is None:
                start = time.monotonic()
                block = judge(images)
                block.seconds = time.monotonic() - start
                if self.progress is not None:
                    self.progress.add(name, block)
                self.meter.advance(len(images))
            yield block
        self.meter.end()


def _merge(result: SetAttackResult) -> None:
    """Add up cost and remarks over processes."""
    if get_dist_info()[1] == 1:
        return
    parts = all_gather_object((result.cost, result.notes))
    result.cost = Cost(sum(cost.forwards for cost, _ in parts), sum(cost.backwards for cost, _ in parts))
    result.notes = merged(notes for _, notes in parts)


def _attackable(dataset: Any, metric: Metric, attack: Attack | None = None) -> list[int]:
    """Positions of the images that are attacked: those of an attack that names some, else the set's."""
    targets = None if attack is None else attack.images_of(dataset)
    positions, able = attacked_positions(dataset) if targets is None else targets, metric.attackable(dataset)
    return positions if able is None else [position for position in positions if able[position]]


def _shown(outcome: tuple[Tensor, Tensor] | None, positions: list[int]) -> list[int]:
    """The first of the attacked images, for the pictures; those with something to lose before the others."""
    if outcome is None:
        return positions[:EXAMPLES]
    at_stake = outcome[0].tolist()
    chosen = sorted(positions, key=lambda position: not at_stake[position])[:EXAMPLES]
    return [position for position in positions if position in chosen]


def _alike(dataset: Any, positions: list[int]) -> list[int]:
    """The positions, images of like shapes beside each other where the data set knows shapes: less padding."""
    return dataset.alike(positions) if hasattr(dataset, "alike") else positions


def _batch(task: Task, dataset: Any, positions: list[int]) -> dict[str, Any]:
    return to_device(dataset.__getitems__(positions), next(task.parameters()).device)


def _predict(task: Task, batch: dict[str, Any]) -> Any:
    device = batch["inputs"].device.type
    with attack_mode(task), torch.no_grad(), torch.autocast(device, enabled=False):
        predictions = task.predict(batch)
    return predictions.cpu() if isinstance(predictions, Tensor) else predictions


def _numbers(predictions: Tensor | Sequence[Any]) -> Tensor:
    """Which images have finite predictions alone, bool ``[n]``; detections are dicts of tensors ``[K, ...]``."""
    if not isinstance(predictions, Tensor):
        entries = [one.values() if isinstance(one, dict) else () for one in predictions]
        return torch.tensor([all(bool(torch.isfinite(values).all()) for values in one) for one in entries])
    return torch.isfinite(predictions).flatten(1).all(1) if predictions.dim() > 1 else torch.isfinite(predictions)
