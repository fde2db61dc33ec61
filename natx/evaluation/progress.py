"""Progress of an evaluation: the outcomes of its finished blocks of images, in a small JSON beside the report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object, get_dist_info
from torch import Tensor

from natx.attacks import Cost
from natx.errors import ConfigError
from natx.models.weights import stored_weights, weight_files
from natx.runtime.files import clear_unfinished, sha256, strict, write_json

FORMAT = "natx-evaluation-1"
FILES = "progress*.json"
TENSORS = "progress-*.safetensors"  # of evaluations of sets, and of parts of blocks
SHOWN = 80  # letters of a setting in an error


@dataclass
class Block:
    """What one attack did to some images that were loaded together.

    Attributes:
        images: their positions in the data set.
        right: which of them are right in each of the attack's columns, bool ``[columns, n]``.
        cost: what it took.
        notes: remarks that belong in a report.
        seconds: time.
    """

    images: list[int]
    right: Tensor
    cost: Cost = field(default_factory=Cost)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def plain(self) -> dict[str, Any]:
        """The block for a JSON that people can read: ranges of positions, a string of 0 and 1 per column."""
        return {
            "images": ranges(self.images),
            "right": ["".join(str(int(value)) for value in row) for row in self.right.tolist()],
            "forwards": self.cost.forwards,
            "backwards": self.cost.backwards,
            "notes": self.notes,
            "seconds": round(self.seconds, 3),
        }

    @classmethod
    def read(cls, plain: dict[str, Any]) -> Block:
        """The inverse of :meth:`plain`; raises ValueError, KeyError or TypeError for anything else."""
        images = positions(plain["images"])
        rows = plain["right"]
        if not images or not rows or any(len(row) != len(images) or not {*row} <= {"0", "1"} for row in rows):
            raise ValueError(f"a block of {len(images)} images without a 0 or 1 for each")
        right = torch.tensor([[letter == "1" for letter in row] for row in rows])
        cost = Cost(int(plain["forwards"]), int(plain["backwards"]))
        return cls(images, right, cost, [str(note) for note in plain["notes"]], float(plain["seconds"]))


class Progress:
    """The finished blocks of an evaluation; each process writes its own to a file, atomically, after every block.

    The file of a single process is ``progress.json``, those of several ``progress-rank<K>.json``.

    Args:
        folder: where the files lie; made where it does not exist.
        evaluation: plain values that decide the outcomes (checkpoint, data, attacks, ...). Files in the folder must
            have the same; how many processes there are is added.
        resume: go on with what the folder holds, if it holds anything.

    Raises:
        ConfigError: on every process; the folder holds files and ``resume`` is not set, or files of an evaluation that
            differs in any value, or damaged ones.
    """

    def __init__(self, folder: Path, evaluation: dict[str, Any], *, resume: bool = False) -> None:
        rank, processes = get_dist_info()
        self.path = folder / ("progress.json" if processes == 1 else f"progress-rank{rank}.json")
        # As it will be read back: tuples are lists, infinite numbers missing.
        self.evaluation = json.loads(json.dumps(strict({**evaluation, "processes": processes}), default=str))
        problem = _problem(folder, self.evaluation, resume=resume)
        # All processes have looked before any of them writes, and all stop where one finds something.
        for text in all_gather_object(problem):
            if text is not None:
                raise ConfigError(text)
        self.blocks: dict[str, list[dict[str, Any]]] = _read(self.path)["blocks"] if self.path.exists() else {}

    def stored(self, name: str, blocks: Sequence[list[int]]) -> list[Block]:
        """Those of some blocks of images that were finished before.

        Args:
            name: of the attack, unique in the evaluation.
            blocks: positions of their images.
        """
        contents = {content["images"]: content for content in self.blocks.get(name, [])}
        return [Block.read(contents[text]) for images in blocks if (text := ranges(images)) in contents]

    def add(self, name: str, block: Block) -> None:
        """Keep a finished block; it is on the disk when this returns, and what was kept of its parts is gone."""
        self.blocks.setdefault(name, []).append(block.plain())
        self.write()
        whole = self.beside(name, block.images)
        for part in self.path.parent.glob(f"{whole.stem}-*{whole.suffix}"):
            part.unlink(missing_ok=True)

    def beside(self, name: str, images: Sequence[int], *, part: int | None = None) -> Path:
        """A file for tensors of some images under an attack, or of a part of it; of another evaluation another name."""
        asked = json.dumps([self.evaluation, name, ranges(list(images))])
        number = "" if part is None else f"-{part}"
        return self.path.parent / f"progress-{hashlib.sha256(asked.encode()).hexdigest()[:24]}{number}.safetensors"

    def write(self) -> None:
        """Write the file as it stands."""
        write_json(self.path, {"format": FORMAT, "evaluation": self.evaluation, "blocks": self.blocks})


def clear_progress(folder: Path) -> None:
    """Remove all processes' files from a folder, once the report is written."""
    for path in [*folder.glob(FILES), *folder.glob(TENSORS)]:
        path.unlink(missing_ok=True)
    clear_unfinished(folder)


def by_content(node: Any) -> Any:
    """A config's plain values with what it names (weights of a surrogate, ...) replaced by the content.

    A file becomes its hash, and a folder of weights the hashes of the files that are read of it.
    """
    if isinstance(node, dict):
        return {key: by_content(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [by_content(value) for value in node]
    return _content(node) if isinstance(node, str) else node


def _content(text: str) -> Any:
    """The hash of a file, those of a folder of weights, or the text itself where it names neither."""
    path = Path(text)
    try:
        if path.is_file():
            return sha256(path)
        if path.suffix and len(stored := stored_weights(path)) == 1:
            return sha256(stored[0])
        files = weight_files(path)
    except OSError:  # too long for a name: a description
        return text
    return {file.name: sha256(file) for file in files} or text


def digest(tensor: Tensor) -> str:
    """A hash of a tensor's values, type and shape."""
    content = tensor.detach().cpu().contiguous()
    text = f"{content.dtype} {tuple(content.shape)} "
    return hashlib.sha256(text.encode() + content.flatten().view(torch.uint8).numpy().tobytes()).hexdigest()


def ranges(images: list[int]) -> str:
    """Positions as text: ``0-3,5,8-9``."""
    parts: list[list[int]] = []
    for image in images:
        if parts and image == parts[-1][1] + 1:
            parts[-1][1] = image
        else:
            parts.append([image, image])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def positions(text: str) -> list[int]:
    """The inverse of :func:`ranges`; raises ValueError for anything else."""
    result: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        result.extend(range(int(first), int(last or first) + 1))
    return result


def difference(there: Any, here: Any, key: str = "") -> tuple[str, Any, Any] | None:
    """The first (dotted) key in which two nested values differ and both values; None where they are equal."""
    if isinstance(there, dict) and isinstance(here, dict):
        pairs = [(name, there.get(name), here.get(name)) for name in dict.fromkeys([*here, *there])]
    elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        pairs = [(str(i), *values) for i, values in enumerate(zip(there, here))]
    else:
        return None if there == here else (key, there, here)
    differences = (difference(old, new, f"{key}.{name}" if key else name) for name, old, new in pairs)
    return next((one for one in differences if one is not None), None)


def _problem(folder: Path, evaluation: dict[str, Any], *, resume: bool) -> str | None:
    """What is wrong with going on in a folder, in one line; None where nothing is."""
    for path in sorted(folder.glob(FILES)):
        if not resume:
            return (
                f"{path} is of an evaluation that was not finished: add --resume to go on with it, use another --out, "
                "or delete the file"
            )
        try:
            differs = difference(_read(path)["evaluation"], evaluation)
        except ConfigError as error:
            return str(error)
        if differs is not None:
            key, there, here = differs
            return (
                f"{path} is of another evaluation: {key} was {_short(there)} and is {_short(here)} now; use the same "
                "as then, another --out, or delete the file"
            )
    return None


def _read(path: Path) -> dict[str, Any]:
    """The content of a file; raises ConfigError where it is none of ours."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT or not isinstance(content["evaluation"], dict):
            raise ValueError(f"not of the format {FORMAT}")
        for blocks in content["blocks"].values():
            for block in blocks:
                Block.read(block)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        raise ConfigError(f"{path} is damaged ({reason}): delete it to start anew") from error
    return content


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
