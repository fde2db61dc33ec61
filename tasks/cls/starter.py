"""A first config for images in one folder per class: `natx init cls`."""

from __future__ import annotations

from pathlib import Path

from natx.data.starter import (
    BATCHES,
    STEPS_AN_EPOCH,
    Wish,
    bases,
    batch_size,
    line,
    methods,
    radius,
    schedule,
    side,
    threat,
)
from natx.errors import DataError
from natx.models.hub import FOLDER, HUB
from tasks.cls.datasets.folder import ImageFolder

TRAIN, TESTS = "train", ("test", "val", "valid", "validation")
LARGEST, STEP, LEAST = 224, 32, 32  # pixels a side
QUICK_SIDE, QUICK_MODEL = 32, "resnet8_cifar"
SMALL_STEM = 64  # up to which the form for CIFAR, which keeps the resolution at first, is proposed
HELD_OUT, MOST_HELD_OUT = 10, 1000  # one image of ten, at most so many
RATE, RATE_BATCH = 0.1, 128
SHOWN = 3  # class names in a comment
PGD = "attack=dict(threat=threat, step_size=threat['eps'] / 4)"


def starter(data: Path, wish: Wish) -> list[str]:
    """The lines of a config for the images in a folder.

    Args:
        data: holds ``train`` and ``test`` (or ``val``), each with a folder per class.
        wish: what is decided already.

    Raises:
        DataError: another layout, folders whose classes differ, or one class.
    """
    train, test = _parts(data)
    learned, judged = ImageFolder(train, image_size=1, resize=1), ImageFolder(test, image_size=1, resize=1)
    if differing := sorted(set(learned.classes) ^ set(judged.classes)):
        raise DataError(f"{train} and {test} have different classes ({differing[0]} is in one): make them agree")
    if len(learned.classes) < 2:
        raise DataError(
            f"{train} has one class, {learned.classes[0]}: put the images of each class into a folder of their own, "
            "also those that belong to none"
        )
    classes, stored = learned.classes, side(learned.paths)
    size = wish.image_size or (QUICK_SIDE if wish.quick else min(LARGEST, max(LEAST, stored // STEP * STEP)))
    resize = round(size * 8 / 7) if size >= LARGEST else size
    held = min(MOST_HELD_OUT, len(learned) // HELD_OUT)
    batch = batch_size(len(learned) - held)
    model = wish.model or _network(size, quick=wish.quick)
    attack, arguments = ("n_fgsm", "attack=dict(threat=threat)") if wish.quick else ("pgd_at", PGD)
    both, alone = [f"methods/{attack}_union"], [f"methods/{attack}"]  # clean and adversarial images, adversarial ones
    method = {"nat": both, "at_union": both, "at": alone, "standard": []}[wish.method]
    shown = ", ".join(classes[:SHOWN]) + (", ..." if len(classes) > SHOWN else "")
    theirs = ", pretrained=True, new_head=True" if model.startswith((HUB, FOLDER)) else ""
    parts = [
        f"train=dict(root={str(train)!r}, train=True, **_read), test=dict(root={str(test)!r}, **_read)",
        f"batch_size={batch}, heldout={held}, augments=[{_augments(size, resize)}]",
    ]
    return [
        f"# {model} on {data}: {len(learned)} images to learn from, {len(judged)} to judge by. Made by natx init.",
        bases("default_runtime", "schedules/sgd_cosine_10e", *method),
        line(
            "task",
            f'dict(type="ClassificationTask", model={model!r}, num_classes={len(classes)}, image_size={size}{theirs})',
            f"a folder a class: {shown}" + ("" if wish.model else f"; {_why(model)}"),
        ),
        threat(wish, *radius(size)),
        line(
            "_read",
            f'dict(type="ImageFolder", image_size={size}, resize={resize})',
            f"files have {stored} pixels a side (median of the shorter one); {_size_reason(wish)}",
        ),
        line(
            "data",
            f"dict({', '.join(parts)})",
            f"the largest usual batch that makes {STEPS_AN_EPOCH} steps an epoch, {BATCHES[-1]} at least; "
            + (f"1 image in {HELD_OUT} is held out to choose the epoch" if held else "too few to hold any out"),
        ),
        *methods(wish, arguments),
        line(
            "optim_wrapper",
            f"dict(optimizer=dict(lr={RATE * batch / RATE_BATCH:g}))",
            f"{RATE} for batches of {RATE_BATCH}, in proportion to the batch",
        ),
        schedule(wish, len(learned) - held, batch),
    ]


def _network(size: int, *, quick: bool) -> str:
    """The network that is proposed for images of so many pixels a side."""
    return QUICK_MODEL if quick else "resnet18_cifar" if size <= SMALL_STEM else "resnet18"


def _size_reason(wish: Wish) -> str:
    """Why images of this size are proposed."""
    if wish.image_size:
        return "as asked for"
    return f"quick: {QUICK_SIDE}" if wish.quick else f"a multiple of {STEP} from {LEAST} to {LARGEST}"


def _why(model: str) -> str:
    """Why a network is proposed."""
    small_form = f"this form, up to {SMALL_STEM} pixels, keeps the resolution at first"
    return small_form if model.endswith("_cifar") else "a small network"


def _augments(size: int, resize: int) -> str:
    """Crops of the larger square where there is one, else of the padded image; and flips."""
    cropped = f'dict(type="RandomResizedCrop", size={size})', f'dict(type="RandomCrop", padding={size // 8})'
    return f'{cropped[0] if resize > size else cropped[1]}, dict(type="RandomFlip")'


def _parts(data: Path) -> tuple[Path, Path]:
    """The folders of training and test images."""
    test = next((data / name for name in TESTS if (data / name).is_dir()), None)
    if not (data / TRAIN).is_dir() or test is None:
        folders = sorted(path.name for path in data.iterdir() if path.is_dir()) if data.is_dir() else []
        present = f"it holds {', '.join(folders[:SHOWN])}: " if folders else ""
        present = present if data.is_dir() else "there is no such folder: "
        raise DataError(
            f"{data} is to hold {TRAIN}/<class>/<image> and {TESTS[0]}/<class>/<image> (or {', '.join(TESTS[1:])}); "
            f"{present}sort the images so, about one of five of each class into {TESTS[0]}"
        )
    return data / TRAIN, test
