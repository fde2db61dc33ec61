"""A first config for images with boxes in Pascal VOC's or COCO's layout: `natx init det`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from natx.data.starter import Wish, bases, line, methods, schedule, threat
from natx.errors import ConfigError, DataError
from tasks.det.datasets import CocoDetection, VOCDetection
from tasks.det.datasets.voc import ANNOTATIONS, LISTS, find_root, named, parse, read_list

LEARNED, JUDGED = ("trainval", "train"), ("test", "val")  # lists of images, the first ones rather
SPLITS = {"train": ("train",), "test": JUDGED}  # words in the names of COCO's files
WARM_UP = 5
INSTANCES, BESIDE = "instances_", "_annotations.coco.json"  # before a split's name; the file that lies with its images
SHOWN = 3  # files in an error


@dataclass(frozen=True)
class Proposal:
    """A detector whose classes stand in one place, with the bases that train it.

    Attributes:
        side: of its images in pixels; those to learn from are read at twice that and resized after augmentation.
        data: base of its data and augmentations.
        schedule: base of its optimiser.
        weights: what it begins from.
        batch: images a step.
    """

    side: int
    data: str
    schedule: str
    weights: str
    batch: int


MODELS = {
    "ssd160_r18": Proposal(160, "photos_voc", "det_small_30e", "random weights", 16),
    "ssd300_vgg16": Proposal(300, "voc0712_300x300", "ssd300_232e", "ImageNet's weights", 32),
}


@dataclass(frozen=True)
class Boxes:
    """What a folder of images with boxes holds.

    Attributes:
        classes: names in label order.
        images: how many there are to learn from.
        train: arguments of the training images' data set, as a config writes them.
        test: likewise of the images to judge by.
    """

    classes: list[str]
    images: int
    train: str
    test: str


def starter(data: Path, wish: Wish) -> list[str]:
    """The lines of a config for a folder in Pascal VOC's or COCO's layout.

    Args:
        data: holds ``JPEGImages``, ``Annotations`` and lists of images in ``ImageSets/Main``; or COCO's JSON files for
            training and test images, and these images.
        wish: what is decided already.

    Raises:
        DataError: another layout, or no object with a name.
        ConfigError: a model that is none of these, or a size of images that is not its own.
    """
    model = wish.model or "ssd160_r18"
    if model not in MODELS or wish.image_size not in (None, MODELS[model].side):
        sizes = ", ".join(f"{name} at {proposal.side} pixels" for name, proposal in MODELS.items())
        raise ConfigError(f"natx init det proposes {sizes}; got {model} at {wish.image_size}: copy another config")
    proposal, boxes = MODELS[model], _coco(files) if (files := _jsons(data)) else _voc(find_root(data))
    count, batch, side = len(boxes.classes), min(proposal.batch, boxes.images), proposal.side
    built_on = [f"models/{model}", f"datasets/{proposal.data}", f"schedules/{proposal.schedule}"]
    train, test = (f"classes=_classes, size=({length}, {length})" for length in (2 * side, side))
    return [
        f"# {model} on {data}: {boxes.images} images to learn from. Made by natx init.",
        bases("det_runtime", *built_on, *([] if wish.method == "standard" else ["methods/mtd"])),
        line("_classes", repr(boxes.classes), f"the {count} that the annotations name"),
        line(
            "task",
            f"dict(num_classes={count}, model=dict(bbox_head=dict(num_classes={count})))",
            f"from {proposal.weights}",
        ),
        threat(wish, "8 / 255", "usual in the literature on detectors, at all sizes"),
        line(
            "data",
            f"dict(train=dict({boxes.train}, {train}), test=dict({boxes.test}, {test}), batch_size={batch})",
            f"{side} pixels are what {model} is made for, after augmentation at twice that; {batch} images a step"
            + ("" if batch == proposal.batch else ", all there are"),
        ),
        *methods(wish, 'views=("clean", "adv"), attack=dict(threat=threat)', nasty="share=0.1, temperature=4.0, "),
        schedule(wish, boxes.images, batch, warm_up=WARM_UP),
    ]


def _voc(root: Path) -> Boxes:
    """A folder in Pascal VOC's layout."""
    learned, judged = _lists(root)
    classes = _classes(root, [*read_list(root, learned), *read_list(root, judged)])
    images = len(VOCDetection(root, learned, train=True, classes=classes))
    return Boxes(classes, images, *(f"root={str(root)!r}, split={split!r}" for split in (learned, judged)))


def _coco(files: dict[str, Path]) -> Boxes:
    """Training and test images described by COCO's JSON files.

    Raises:
        DataError: images that are in both.
    """
    learned = CocoDetection(files["train"], _images(files["train"]), train=True)
    judged = CocoDetection(files["test"], _images(files["test"]), classes=learned.classes)
    if common := {*learned.files} & {*judged.files}:
        raise DataError(
            f"{files['train']} and {files['test']} share {len(common)} images: list those to judge by in one alone"
        )
    parts = {
        part: f"_delete_=True, type='CocoDetection', annotations={str(file)!r}, images={str(_images(file))!r}"
        for part, file in files.items()
    }
    return Boxes(list(learned.classes), len(learned), f"{parts['train']}, train=True", parts["test"])


def _jsons(data: Path) -> dict[str, Path]:
    """COCO's files of the training and the test images in a folder; none where it has no such file.

    Raises:
        DataError: one of the two is missing, and the folder has not Pascal VOC's layout either.
    """
    there = sorted([*data.glob("annotations/*.json"), *data.glob("*.json"), *data.glob(f"*/{BESIDE}")])
    files = {part: _first(there, names) for part, names in SPLITS.items()}
    missing = [part for part, file in files.items() if file is None]
    if not there or (missing and _is_voc(data)):
        return {}
    if missing:
        listed = ", ".join(str(f.relative_to(data)) for f in there[:SHOWN])
        raise DataError(
            f"{data} has JSON files ({listed}) and none of the {missing[0]} images: call it "
            f"annotations/{INSTANCES}{missing[0]}.json"
        )
    return {part: file for part, file in files.items() if file is not None}


def _is_voc(data: Path) -> bool:
    """Whether a folder has lists of images as Pascal VOC has them."""
    try:
        return (find_root(data) / LISTS).is_dir()
    except DataError:
        return False


def _first(files: list[Path], names: tuple[str, ...]) -> Path | None:
    """The first file of one of some splits, in their order; rather of that very split (``val2017``)."""
    exact = [file for name in names for file in files if _split_of(file).rstrip("0123456789") == name]
    return next(iter([*exact, *(file for name in names for file in files if name in _split_of(file))]), None)


def _split_of(file: Path) -> str:
    """What a JSON is of: ``train2017`` of ``annotations/instances_train2017.json``, ``train`` of what lies in it."""
    return file.parent.name if file.name == BESIDE else file.stem.removeprefix(INSTANCES)


def _images(file: Path) -> Path:
    """The folder of a JSON's images: beside it where it lies with them, else of its split's name, or ``images``."""
    if file.name == BESIDE:
        return file.parent
    data = file.parent.parent if file.parent.name == "annotations" else file.parent
    places = [data / _split_of(file), data / "images" / _split_of(file), data / "images"]
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        raise DataError(f"{data} has no folder {_split_of(file)} of the images that {file.name} names: call it so")
    return folder


def _lists(root: Path) -> tuple[str, str]:
    """The lists of the images to learn from and to judge by: the first two without a common image.

    ``trainval`` has the images of ``val`` too, which are judged by where there is no ``test``.
    """
    there = {name: _listed(root, name) for name in (*LEARNED, *JUDGED)}
    pairs = [(learned, judged) for judged in JUDGED for learned in LEARNED if there[learned] and there[judged]]
    for learned, judged in pairs:
        if not there[learned] & there[judged]:
            return learned, judged
    if pairs:
        raise DataError(
            f"{root / LISTS}: {' and '.join(f'{name}.txt' for name in pairs[0])} name the same images: list those to "
            "judge by in one alone"
        )
    missing = next(names for names in (LEARNED, JUDGED) if not any(there[name] for name in names))
    raise DataError(
        f"{root / LISTS} has no {' or '.join(f'{name}.txt' for name in missing)}: list the images' names there"
    )


def _listed(root: Path, name: str) -> set[str]:
    """The images of a list; none where there is no such list."""
    path = root / LISTS / f"{name}.txt"
    return {*read_list(root, name)} if path.is_file() else set()


def _classes(root: Path, names: list[str]) -> list[str]:
    """The names of all objects in some images, in order, as the data set reads them."""
    things = (thing for name in names for thing in parse(root / ANNOTATIONS / f"{name}.xml").findall("object"))
    classes = {kind for thing in things if (kind := named(thing))}
    if not classes:
        raise DataError(f"{root / ANNOTATIONS} has no <object> with a <name>: is it Pascal VOC's layout?")
    return sorted(classes)
