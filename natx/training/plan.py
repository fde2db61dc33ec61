"""What a training will do and cost, from building all of it; with a few timed steps, how long it will take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dist import get_dist_info

from natx.attacks import build_attack, counted
from natx.batch import to_device
from natx.config import plain_dict
from natx.data import build_dataset
from natx.data.images import stored_size
from natx.errors import UserError
from natx.runtime.progress import amount, duration
from natx.training.images import remarks
from natx.training.leak import leak_remarks, learned_tests
from natx.training.misfits import misfits
from natx.training.rehearsal import FrozenModel, Rehearsal, rehearse

SAMPLE = 16  # image files whose size is looked at


def describe_plan(config: Config, work_dir: Path, *, device: torch.device, timing: bool = False) -> list[str]:
    """Lines that say what a training will do and cost, models that it trains first included.

    Everything is built as the training will build it, so what does not fit is refused; nothing is trained, downloaded
    or written.

    Args:
        config: a training config.
        work_dir: where it will train.
        device: where it will train.
        timing: take a few steps of each training and say how long they will take.

    Raises:
        UserError: anything in a config or data that does not fit.
    """
    lines = [f"config: {config.filename}", f"work dir: {work_dir}", f"device: {device}, {_precision(config)}"]
    times = []
    for part in rehearse(config, work_dir, device=device if timing else torch.device("cpu")):
        if isinstance(part, FrozenModel):
            state = "reused from" if part.finished else "trained first into"
            block = [f"frozen model: {part.config.filename}, {state} {part.folder}"]
        else:
            block = [*_what(part), *_cost_lines(part), *_image_lines(part)]
            if timing:
                times.append(part.seconds())
                compiling = f", {duration(part.compiling)} of it for compiling" if config.get("compile") else ""
                block.append(f"time: about {duration(times[-1])}{compiling}")
        lines += [f"{'  ' * part.depth}{line}" for line in block]
    if len(times) > 1:
        lines.append(f"time of all {len(times)} trainings: about {duration(sum(times))}")
    return lines


def _what(rehearsal: Rehearsal) -> list[str]:
    """Model, method, start, what is the best epoch, and remarks of the data."""
    config, learner, selection = rehearsal.config, rehearsal.learner, rehearsal.selection
    loader = rehearsal.runner.train_dataloader
    leak = leak_remarks(learned_tests(config, loader.dataset))
    notes = [*remarks(loader.dataset, loader), *leak, *learner.method.notes(), *misfits(config, steps=len(loader))]
    parameters = sum(p.numel() for p in learner.task.parameters())
    model = config.task.get("model", config.task.type)
    model = model if isinstance(model, str) else model.type
    best = (
        "the last epoch (no images are held out)"
        if selection is None
        else f"chosen on {selection.describe(learner.task)}"
    )
    if config.get("ema") is not None:
        best += (
            "; the average of the weights"
            if selection is None
            else "; the weights and their average are both judged, at twice the cost, and the better is kept"
        )
    return [
        f"model: {model}, {parameters / 1e6:.2f} M parameters; {len(loader.dataset)} training images",
        f"start: {_start(config)}",
        f"method: {_method(config.method)}, views {' + '.join(learner.method.views)}, "
        f"terms {' + '.join(type(t).__name__ for t in learner.method.terms)}",
        f"best: {best}",
        *([] if rehearsal.guard is None else [f"guard: {rehearsal.guard.describe()}"]),
        *(f"note: {remark}" for remark in notes),
    ]


def _start(config: Config) -> str:
    """The weights that a training starts from."""
    start = config.get("start") or {}
    if start:
        part = "backbone" if start.get("part") == "backbone" else "weights"
        return f"the {part} of {start.get('checkpoint') or start.get('config')}"
    if config.task.get("checkpoint"):
        return f"the weights of {config.task.checkpoint}"
    return "the library's pretrained weights" if config.task.get("pretrained") else f"random, seed {config.seed}"


def _method(settings: ConfigDict) -> str:
    """A method's name; one around another names both, as ``AWP(Adversarial)``."""
    inner = settings.get("method")
    return f"{settings.type}({_method(inner)})" if isinstance(inner, dict) else settings.type


def _cost_lines(rehearsal: Rehearsal) -> list[str]:
    """What the training costs, from counting."""
    config, runner = rehearsal.config, rehearsal.runner
    forwards, backwards = rehearsal.learner.method.cost()
    batch, epochs, steps = config.data.batch_size, runner.max_epochs, len(runner.train_dataloader)
    batch *= get_dist_info()[1]
    count = steps * batch * epochs
    lines = [
        f"cost: {amount(forwards)} forwards and {amount(backwards)} backwards per image and step "
        f"(inner attack, views, adversary); {epochs} epochs x {steps} steps of {batch} images = "
        f"{amount(count * forwards, ',.0f')} forwards and {amount(count * backwards, ',.0f')} backwards of one image"
    ]
    if config.data.get("copies") is not None:
        lines.append(_copies_line(config))
    return lines


def _copies_line(config: Config) -> str:
    count = len(build_dataset(plain_dict(config.data.train)))
    attack = build_attack(plain_dict(config.data.copies.attack), threat=config.get("threat"))
    forwards, backwards = counted(attack)
    return (
        f"adversarial copies, made once before training: {count} images, "
        f"{amount(count * (1 + forwards), ',.0f')} forwards and "
        f"{amount(count * backwards, ',.0f')} backwards of one image"
    )


def _precision(config: Config) -> str:
    return ("bfloat16 autocast" if config.get("amp") else "float32") + (", compiled" if config.get("compile") else "")


# --- sizes of images --------------------------------------------------------------------------------------------------


def _image_lines(rehearsal: Rehearsal) -> list[str]:
    """The size of the images as they are trained, tested and stored, and what is odd about it."""
    learner, runner = rehearsal.learner, rehearsal.runner
    batch = to_device(rehearsal.first_batch(images=2), runner.device)
    with torch.no_grad():
        trained = learner.augmented(batch)["inputs"].shape[1:]
    tested = _tested(rehearsal.config)
    files = _stored(runner.train_dataloader.dataset)
    line = f"images: {_size(trained)} in training, {tested if isinstance(tested, str) else _size(tested)} in tests"
    lines = [line if not files else f"{line}, stored as {_range(files)}"]
    varying = hasattr(runner.train_dataloader.dataset, "collate")  # each batch has a size of its own
    if not isinstance(tested, str) and not varying and trained != tested:
        lines.append(f"note: tests see images of {_size(tested)} where training sees {_size(trained)}")
    before = batch["inputs"].shape[-2:]
    if files and min(before) > max(map(min, files)) and not {"image_size", "resize"} & {*rehearsal.config.data.train}:
        times = before.numel() / max(height * width for height, width in files)
        lines.append(
            f"note: images are enlarged from {_range(files)} to {_size(before)}, which the config does not ask for: a "
            f"step costs up to {times:.0f} times as much; set image_size and resize of data.train and data.test"
        )
    return lines


def _tested(config: Config) -> Any:
    """The shape of a test image, or why there is none."""
    if config.data.get("test") is None:
        return "none"
    try:
        return build_dataset(plain_dict(config.data.test)).__getitems__([0])["inputs"].shape[1:]
    except UserError as error:
        return f"none can be read ({error})"


def _stored(dataset: Any) -> list[tuple[int, int]]:
    """Heights and widths of some image files of a data set; empty where it has none."""
    paths: Sequence[str] = getattr(dataset, "paths", ())
    return [stored_size(path) for path in paths[:: -(-len(paths) // SAMPLE) or 1]]


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _range(sizes: Sequence[tuple[int, int]]) -> str:
    """One size, or the smallest and the largest."""
    ordered = sorted(set(sizes), key=lambda size: (size[0] * size[1], size))
    return _size(ordered[0]) if len(ordered) == 1 else f"{_size(ordered[0])} to {_size(ordered[-1])}"
