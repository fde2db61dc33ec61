"""Where configs lie: in the working folder, or with natx, as a checkout or an installed package has them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

from natx.errors import ConfigError

PACKAGE = Path(__file__).resolve().parents[1]
CHECKOUT = PACKAGE.parent
# A checkout has configs/ beside the package; a wheel has them in it, where no other package's can be mistaken for them.
SHIPPED = CHECKOUT if (CHECKOUT / "pyproject.toml").is_file() else PACKAGE
FOLDER = "configs"
ADAPTERS = "tasks"  # the package beside this one
PARTS = "_base_"  # what configs are put together from, no configs


def find_config(name: str | Path) -> Path:
    """The file of a config: ``configs/cls/digits_nat.py``, or in short ``cls/digits_nat``.

    It is looked for in the working folder, then among the shipped ones.

    Raises:
        ConfigError: there is none, or it is no Python file.
    """
    file = find_file(name, suffix=".py")
    if file is None:
        close = get_close_matches(Path(name).stem, [short.rpartition("/")[2] for short in shipped_configs()], n=2)
        full = [short for short in shipped_configs() if short.rpartition("/")[2] in close]
        hint = f"; close: {', '.join(full)}" if full else ""
        raise ConfigError(
            f"no config at {str(name) or repr(name)}: shipped configs are under {FOLDER}/ (natx configs lists them)"
            f"{hint}"
        )
    if file.suffix != ".py":
        raise ConfigError(f"configs are Python files (.py); got {file}")
    return file


def find_file(name: str | Path, *, suffix: str = "") -> Path | None:
    """A file of the working folder or of natx, by its path or its path in ``configs``; None where there is none.

    Args:
        name: the path.
        suffix: what may be left out at its end.
    """
    for root in (Path(), SHIPPED):
        for place in (root / name, root / FOLDER / name):
            for file in (place, Path(f"{place}{suffix}")):
                if os.path.isfile(file):  # False, and no error, for what cannot be a name
                    return file
    return None


def shipped_configs() -> dict[str, Path]:
    """The files of all shipped configs by their short names, in order."""
    return dict(sorted(_shipped()))


def _shipped() -> Iterator[tuple[str, Path]]:
    folder = SHIPPED / FOLDER
    for file in folder.rglob("*.py"):
        name = file.relative_to(folder).with_suffix("").as_posix()
        if PARTS not in name.split("/"):
            yield name, file


def short_name(path: str | Path) -> str:
    """What a config is called elsewhere: the short name of a shipped one, ``cls/digits_nat``; of others the file's."""
    path = Path(path)
    name = path.with_suffix("").as_posix().rpartition(f"{FOLDER}/")[2]
    shipped = shipped_configs().get(name)
    changed = shipped is not None and path.is_file() and path.read_bytes() != shipped.read_bytes()
    return path.name if shipped is None or changed else name


def header(file: Path) -> list[str]:
    """The comment lines that a config opens with, without their marks."""
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("#").strip())
    return lines


def shadow() -> str | None:
    """What to say where other files of the name of the adapters' package hide it; None where they do not."""
    spec = find_spec(ADAPTERS)
    places = [] if spec is None else [spec.origin] if spec.origin else [*(spec.submodule_search_locations or ())]
    if not places or (CHECKOUT / ADAPTERS) in ((place := Path(str(places[0])).resolve()), *place.parents):
        return None
    return f"{places[0]} hides natx's own package {ADAPTERS!r}: rename it, or start from another folder"
