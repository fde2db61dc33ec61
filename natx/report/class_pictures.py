"""Pictures for classification: images, what an attack made of them, the change between them, and the predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from natx.attacks import Attack
from natx.attacks.base import Success
from natx.batch import to_device
from natx.data import some_positions
from natx.evaluation.robust import CLEAN, Evaluation
from natx.models.mode import attack_mode
from natx.report.pictures import drawn, file_names
from natx.runtime.files import write_atomic
from natx.task import Task

EXAMPLES, CANDIDATES = 4, 100  # images drawn, and those that they are chosen from
TILE = 1.2  # inches; a picture of three fits a phone's width
DOTS = 160  # an inch


def draw_class_pictures(
    folder: Path,
    task: Task,
    dataset: Any,
    attacks: Sequence[Attack],
    *,
    evaluation: Evaluation,
    success: Success = "any",
) -> dict[str, str]:
    """Attack a few images again and draw them; file names in ``folder`` by attack.

    Only attacks whose result on an image does not depend on the others of its batch are drawn: these examples are what
    the evaluation saw. Images that are right without attack come before the others.

    Args:
        folder: where to write.
        task: the model; its modes and gradient flags are restored.
        dataset: the evaluated images, of 1 or 3 channels; others are not drawn.
        attacks: the evaluation's attacks.
        evaluation: what it found; its clean column says which images are right.
        success: as in the evaluation.
    """
    right, spread = evaluation.correct[CLEAN].tolist(), some_positions(dataset, CANDIDATES)
    correct = some_positions(dataset, EXAMPLES, among=[position for position in spread if right[position]])
    others = [position for position in spread if position not in correct]
    positions = sorted([*correct, *others[: EXAMPLES - len(correct)]])
    batch = to_device(dataset.__getitems__(positions), next(task.parameters()).device)
    x = task.pixels(batch).detach()
    if x.shape[1] not in (1, 3):
        return {}
    alone = {attack.name: attack for attack in attacks if attack.block_size is None}
    labels, classes = batch["data_samples"].tolist(), task.classes
    before = _predicted(task, batch)
    written = file_names(alone)
    for name, file in written.items():
        x_adv = alone[name].judge(task, batch, success=success).x_adv.detach()
        after = _predicted(task, {**batch, "inputs": x_adv})
        captions = [tuple(_named(p, y, classes) for p in both) for y, *both in zip(labels, before, after)]
        _draw(folder / file, x.cpu().float(), x_adv.cpu().float(), captions)
    return written


def _predicted(task: Task, batch: dict[str, Any]) -> list[int]:
    device = batch["inputs"].device.type
    with attack_mode(task), torch.no_grad(), torch.autocast(device, enabled=False):
        return task.predict(batch).tolist()


def _named(predicted: int, label: int, classes: Sequence[str] | None) -> str:
    name = str(classes[predicted]) if classes else f"class {predicted}"
    return name if predicted == label else f"{name} (wrong)"


def _draw(path: Path, x: Tensor, x_adv: Tensor, captions: Sequence[tuple[str, ...]]) -> None:
    """A row an image: clean, attacked, and their difference on grey, amplified until the largest is black or white.

    Args:
        path: a .png file, replaced whole or not at all.
        x: clean pixels in [0,1] ``[N, C, H, W]``.
        x_adv: attacked pixels.
        captions: of each image, the predictions before and after.
    """
    change = x_adv - x
    factor = 0.5 / max(float(change.abs().max()), 1e-12)
    figure = Figure(figsize=(3 * TILE, len(x) * (TILE + 0.2) + 0.2), layout="constrained")
    FigureCanvasAgg(figure)  # no window system, whatever matplotlib's settings say
    panels: Any = figure.subplots(len(x), 3, squeeze=False)
    largest = f"change x {factor:.3g}" if bool(change.any()) else "no change"
    for row, (before, after) in zip(range(len(x)), captions):
        columns = (x[row], x_adv[row], (0.5 + factor * change[row]).clamp(0, 1))
        for panel, pixels, text in zip(panels[row], columns, (before, after, largest if row == 0 else "")):
            channels = pixels.permute(1, 2, 0).numpy()
            panel.imshow(channels[..., 0] if channels.shape[2] == 1 else channels, cmap="gray", vmin=0, vmax=1)
            panel.set_title(drawn(text), fontsize=7, pad=2)
            panel.set_axis_off()
    write_atomic(path, lambda file: figure.savefig(file, format="png", dpi=DOTS, metadata={"Software": None}))
