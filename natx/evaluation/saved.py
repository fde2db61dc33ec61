"""Adversarial images as files: float32 without loss, and 8-bit PNG, each with the accuracy that it leaves."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object, barrier, get_dist_info
from PIL import Image
from safetensors.torch import load_file
from safetensors.torch import save as save_bytes
from torch import Tensor

from natx.attacks import PGD, Attack
from natx.attacks.base import Success
from natx.batch import Batch, select, to_device
from natx.errors import ConfigError, DataError
from natx.evaluation.robust import check_columns, share
from natx.models.half import in_float32
from natx.models.mode import attack_mode
from natx.runtime.files import plain_name, write_atomic, write_json
from natx.runtime.precision import exact_float32
from natx.runtime.progress import Meter, silent
from natx.task import Task
from natx.threat import pixel_fraction

CHANNELS = (1, 3)  # that a PNG has here: grey, or red, green and blue


@dataclass
class Tally:
    """What a column's saved images do to the model, over the images of one process or of all.

    Attributes:
        images: number of images.
        right: how many are classified right as float32.
        right_png: how many are as 8-bit images.
        distance: largest distance of a float32 image from its clean one, in the threat model's norm.
        distance_png: the same for the 8-bit images, which may lie outside the threat model by their rounding.
    """

    images: int = 0
    right: int = 0
    right_png: int = 0
    distance: float = 0.0
    distance_png: float = 0.0

    def add(self, other: Tally) -> None:
        """Count another's images too."""
        self.images += other.images
        self.right += other.right
        self.right_png += other.right_png
        self.distance = max(self.distance, other.distance)
        self.distance_png = max(self.distance_png, other.distance_png)


@exact_float32()
def save_adversarial(
    task: Task,
    dataset: Any,
    attacks: Sequence[Attack],
    folder: Path,
    *,
    batch_size: int = 250,
    success: Success = "any",
    meter: Meter | None = None,
) -> list[dict[str, Any]]:
    """Attack all images of a set once more and save what each column of a table attacks them with.

    A column gets a folder with ``images-<first>.safetensors`` (``images`` float32 ``[n, C, H, W]`` in [0,1], ``labels``
    and ``index``, the position in the whole set, int64 ``[n]``; :func:`read_saved` joins them) and ``png/<index>.png``.
    The attacks see the same images, starts, blocks and precision as in :func:`natx.evaluation.evaluate`; under
    success='any' an image that is wrong without attack is saved clean. Columns of one trajectory (milestones) are
    attacked one by one. With several processes, each writes its share.

    Args:
        task: the model; its modes and gradient flags are restored.
        dataset: the images, as for an evaluation.
        attacks: the attacks.
        folder: where to; its columns' folders must not exist.
        batch_size: images per step for attacks whose result does not depend on it.
        success: see :meth:`natx.attacks.base.Attack.judge`.
        meter: progress display.

    Returns:
        Per column plain values: its name and folder, and what :class:`Tally` has, accuracies in percent. The same is
        written to ``saved.json``.

    Raises:
        ConfigError: the task has no per-image success, two columns of one name, or a folder that exists.
    """
    if not task.per_image_success:
        raise ConfigError(f"{type(task).__name__} has no accuracy per image: its adversarial images cannot be saved")
    check_columns(attacks)
    task, _ = in_float32(task)
    single = [one for attack in attacks for one in single_columns(attack)]
    folders = _folders(folder, [attack.columns()[0] for attack in single])
    meter = meter or silent()
    columns = []
    for attack, (column, place) in zip(single, folders.items()):
        mine, tally = share(list(range(len(dataset))), attack.block_size or batch_size), Tally()
        meter.begin(f"saving {column}", sum(map(len, mine)))
        for block in mine:
            batch = to_device(dataset.__getitems__(block), next(task.parameters()).device)
            tally.add(_save_block(task, attack, batch, place=place, positions=block, success=success))
            meter.advance(len(block))
        meter.end()
        columns.append(_plain(column, place, _merged(tally)))
    if get_dist_info()[0] == 0:
        write_json(folder / "saved.json", columns)
    return columns


def single_columns(attack: Attack) -> list[Attack]:
    """The attack, or for a trajectory with milestones one attack for each of them.

    Raises:
        ConfigError: an attack of another kind that fills several columns.
    """
    if isinstance(attack, PGD) and attack.milestones:
        several: list[Attack] = []
        for steps in attack.milestones:
            one = copy.copy(attack)
            one.steps, one.milestones, one.name = steps, None, f"{attack.name}-{steps}"
            several.append(one)
        return several
    if len(attack.columns()) > 1:
        raise ConfigError(
            f"{type(attack).__name__} fills several columns ({', '.join(attack.columns())}) at once: "
            "list an attack for each to save their images"
        )
    return [attack]


def sentence(saved: dict[str, Any]) -> str:
    """A column's entry in words, for a report's notes."""
    far, far_png = pixel_fraction(saved["distance"]), pixel_fraction(saved["distance_png"])
    return (
        f"{saved['column']}: {saved['images']} adversarial images are saved in {saved['folder']}; "
        f"{saved['accuracy']:.2f} % of them are classified right as float32 (at most {far} from the clean ones), "
        f"{saved['accuracy_png']:.2f} % as 8-bit PNG (at most {far_png})"
    )


def read_saved(folder: str | Path) -> tuple[Tensor, Tensor, Tensor]:
    """Images ``[N, C, H, W]``, labels and positions ``[N]`` of a column's folder, by position; DataError if none."""
    files = sorted(Path(folder).glob("images-*.safetensors"))
    if not files:
        raise DataError(f"no images-*.safetensors in {folder}: give the folder of a column, such as DIR/PGD-20")
    parts = [load_file(file) for file in files]
    images, labels, index = (torch.cat([part[key] for part in parts]) for key in ("images", "labels", "index"))
    return images, labels, index


def _folders(folder: Path, columns: Sequence[str]) -> dict[str, Path]:
    """A new folder for each column; checked on every process before any of them writes."""
    names = {column: folder / plain_name(column) for column in columns}
    taken = [str(path) for path in names.values() if path.exists()]
    if len({str(path).casefold() for path in names.values()}) < len(names):
        raise ConfigError(f"columns {', '.join(columns)} differ in other signs only: give one of them name='...'")
    if taken:
        raise ConfigError(f"{taken[0]} exists already: save adversarial images to another folder")
    barrier()
    return names


def _save_block(
    task: Task, attack: Attack, batch: Batch, *, place: Path, positions: list[int], success: Success
) -> Tally:
    """Attack one block of images and write it."""
    clean = task.pixels(batch)
    x_adv = _attacked(task, attack, batch, clean=clean, success=success).to(torch.float32)
    if x_adv.shape[1] not in CHANNELS:
        raise ConfigError(f"PNG takes 1 or 3 channels; the images have {x_adv.shape[1]}")
    coded = (x_adv * 255).round().to(torch.uint8)
    tensors = {"images": x_adv.cpu().contiguous(), "labels": batch["data_samples"].cpu(), "index": batch["index"].cpu()}
    content = save_bytes(tensors)
    write_atomic(place / f"images-{positions[0]:06d}.safetensors", lambda file: file.write(content))
    (place / "png").mkdir(exist_ok=True)
    for index, image in zip(batch["index"].tolist(), coded.cpu().permute(0, 2, 3, 1).numpy()):
        grey = image.shape[2] == 1
        Image.fromarray(image[:, :, 0] if grey else image).save(place / "png" / f"{index:06d}.png")
    ball = attack.threat.around(clean.to(torch.float32))
    return Tally(
        len(positions),
        int(_correct(task, {**batch, "inputs": x_adv}).sum()),
        int(_correct(task, {**batch, "inputs": coded}).sum()),
        float(ball.distance(x_adv).max()),
        float(ball.distance(coded.to(torch.float32) / 255).max()),
    )


def _attacked(task: Task, attack: Attack, batch: Batch, *, clean: Tensor, success: Success) -> Tensor:
    """Adversarial pixels of a block, as an evaluation makes them."""
    if attack.block_size is not None or success == "last":
        return attack.judge(task, batch, success=success).x_adv
    rows, x_adv = _correct(task, batch).nonzero().squeeze(1), clean.clone()
    if len(rows):
        x_adv[rows] = attack.judge(task, select(batch, rows), success=success).x_adv
    return x_adv


def _correct(task: Task, batch: Batch) -> Tensor:
    device = batch["inputs"].device.type
    with attack_mode(task), torch.no_grad(), torch.autocast(device, enabled=False):
        return task.correct(task(batch))


def _merged(tally: Tally) -> Tally:
    """The tally of all processes."""
    total = Tally()
    for part in all_gather_object(tally):
        total.add(part)
    return total


def _plain(column: str, place: Path, tally: Tally) -> dict[str, Any]:
    return {
        "column": column,
        "folder": str(place),
        "images": tally.images,
        "accuracy": 100 * tally.right / tally.images,
        "accuracy_png": 100 * tally.right_png / tally.images,
        "distance": tally.distance,
        "distance_png": tally.distance_png,
    }
