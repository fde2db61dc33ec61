"""A small re-identification set that is made on the spot, to try everything without a download."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from natx.data.generated import make_once
from natx.errors import ConfigError
from natx.registry import DATASETS
from tasks.reid.datasets.cameras import Camera, background, take_picture
from tasks.reid.datasets.draws import PERSON, PICTURE, Draws
from tasks.reid.datasets.figures import Look
from tasks.reid.datasets.images import RetrievalImages, TrainingImages
from tasks.reid.datasets.layout import DISTRACTOR, GALLERY, JUNK, QUERY, TRAIN
from tasks.reid.datasets.market import Market1501

FORMAT = 1  # of the pictures: to be raised with every change that draws others
_SMALLEST = (64, 32)


@DATASETS.register_module()
def GeneratedReID(
    root: str | Path = "data/generated_reid",
    train: bool = True,
    *,
    identities: int = 32,
    test_identities: int = 32,
    cameras: int = 4,
    images_per_camera: int = 4,
    distractors: int = 16,
    junk: int = 8,
    size: Sequence[int] = (128, 64),
    seed: int = 0,
    height: int | None = None,
    width: int | None = None,
    threads: int = 0,
) -> TrainingImages | RetrievalImages:
    """Drawn pedestrians before several cameras, written as PNG files in the Market-1501 layout where missing.

    People differ in clothes, patterns, hair, skin, bags and build, drawn alike for training and test; cameras differ
    in scene, light, colour, blur, noise and usual view. The same parameters give the same pixels everywhere.
    ``root`` appears complete or not at all, and a folder that holds something else is never touched. Its first
    reader makes it (some seconds) while others wait; its parameters are in ``generated.json``.

    Args:
        root: where the files are or go.
        train: the training images, else queries and gallery.
        identities: people in the training images.
        test_identities: other people, to search for.
        cameras: number of cameras; each sees everybody.
        images_per_camera: pictures of a person from each camera; in the test set the first one is the query.
        distractors: gallery images of other people or of nobody (identity 0).
        junk: gallery images cut so that they show little of a person (identity -1); left out at reading.
        size: height and width of the files in pixels.
        seed: of people, cameras and pictures.
        height: of the images as read; that of the files by default.
        width: of the images as read; that of the files by default.
        threads: decode a batch with this many threads; 0 decodes in the caller's.

    Returns:
        :class:`TrainingImages`, or :class:`RetrievalImages` without ``train``.

    Raises:
        ConfigError: a parameter out of range.
        DataError: ``root`` holds something else or a set with other parameters, or cannot be written.
    """
    recipe = Recipe(
        identities=identities,
        test_identities=test_identities,
        cameras=cameras,
        images_per_camera=images_per_camera,
        distractors=distractors,
        junk=junk,
        size=_as_tuple(size),
        seed=seed,
    )
    root = Path(root).expanduser().resolve()
    make_once(root, recipe.manifest(), lambda folder: _write(folder, recipe))
    return Market1501(
        root,
        train,
        height=recipe.size[0] if height is None else height,
        width=recipe.size[1] if width is None else width,
        threads=threads,
    )


def _as_tuple(values: Sequence[int]) -> Any:
    """A pair, if the config gives two values; :class:`Recipe` checks it."""
    return tuple(values)


@dataclass(frozen=True)
class Recipe:
    """All parameters of a generated set, see :func:`GeneratedReID`."""

    identities: int
    test_identities: int
    cameras: int
    images_per_camera: int
    distractors: int
    junk: int
    size: tuple[int, int]
    seed: int

    def __post_init__(self) -> None:
        least = dict(identities=2, test_identities=1, cameras=2, images_per_camera=2, distractors=0, junk=0, seed=0)
        for name, low in least.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise ConfigError(f"GeneratedReID: {name} must be a whole number from {low}; got {value!r}")
        fits = len(self.size) == 2 and all(isinstance(value, int) for value in self.size)
        if not fits or any(value < low for value, low in zip(self.size, _SMALLEST)):
            raise ConfigError(f"GeneratedReID: size must be height and width from {_SMALLEST}; got {self.size}")

    def manifest(self) -> dict[str, Any]:
        """What ``generated.json`` holds."""
        return {"generator": "natx GeneratedReID", "format": FORMAT, **asdict(self), "size": list(self.size)}


def _write(folder: Path, recipe: Recipe) -> None:
    """All files of a set."""
    for name in (TRAIN, QUERY, GALLERY):
        (folder / name).mkdir(parents=True)
    height, width = recipe.size
    cameras = [Camera.draw(recipe.seed, number) for number in range(1, recipe.cameras + 1)]
    scenes = [background(camera, height=height, width=width) for camera in cameras]
    for order in _plan(recipe):
        camera, scene = cameras[order.camera - 1], scenes[order.camera - 1]
        draws = Draws(recipe.seed, PICTURE, order.key, order.camera, order.shot)
        picture = take_picture(order.look, camera, scene, draws, height=height, width=width)
        if order.identity == JUNK:
            left, top = draws.between(0, width // 2), draws.between(0, height // 2)
            part = picture.crop((left, top, left + width // 2, top + height // 2))
            picture = part.resize((width, height), Image.Resampling.BILINEAR)
        picture.save(folder / order.folder / order.file_name)


class _Order(NamedTuple):
    """A picture to be taken; ``key`` is the number of a person, and goes on for distractors and junk."""

    folder: str
    identity: int
    key: int
    look: Look | None
    camera: int
    shot: int

    @property
    def file_name(self) -> str:
        """As in Market-1501, with the key as the number of the frame."""
        identity = str(JUNK) if self.identity == JUNK else f"{self.identity:04d}"
        return f"{identity}_c{self.camera}s1_{self.key:06d}_{self.shot:02d}.png"


def _plan(recipe: Recipe) -> Iterator[_Order]:
    """All pictures: training and test people from all cameras, then distractors and junk from one camera each."""
    people = recipe.identities + recipe.test_identities
    looks = [Look.draw(Draws(recipe.seed, PERSON, key)) for key in range(people + recipe.distractors + 1)]
    for key in range(1, people + 1):
        for camera in range(1, recipe.cameras + 1):
            for shot in range(recipe.images_per_camera):
                folder = TRAIN if key <= recipe.identities else QUERY if shot == 0 else GALLERY
                yield _Order(folder, key, key, looks[key], camera, shot)
    for i in range(recipe.distractors):
        key = people + 1 + i
        look = looks[key] if i % 2 else None  # every other one shows nobody
        yield _Order(GALLERY, DISTRACTOR, key, look, 1 + i // 2 % recipe.cameras, 0)
    for i in range(recipe.junk):
        key = people + recipe.distractors + 1 + i
        look = looks[recipe.identities + 1 + i % recipe.test_identities]
        yield _Order(GALLERY, JUNK, key, look, 1 + i % recipe.cameras, 0)
