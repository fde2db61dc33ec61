"""The paper's tables as studies: the published cells and the config behind each row, from one data file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from mmengine.config import Config

from natx.config import PAPER_TABLES, SHIPPED, check, find_file
from natx.errors import ConfigError
from natx.runtime.files import read_json
from natx.study.rows import Judging, Row, Study

Scale = Literal["paper", "small"]
TABLES = Path("configs/paper/tables.json")
AVERAGE = "average"  # a column that is the mean of the others


def read_tables(path: str | Path = TABLES) -> dict[str, Any]:
    """The data file: ``tables`` by name, and what is to be said of each of the ``scales``.

    Raises:
        ConfigError: the file is missing, no JSON, or says what its schema does not know.
    """
    path = find_file(path) or Path(path)
    try:
        content = read_json(path)
    except OSError as error:
        raise ConfigError(f"no tables at {path}: the shipped ones are in {TABLES}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is no JSON file: {error}") from error
    check(content, PAPER_TABLES, path=path)
    return {"scales": {}, **content}


def table_names(path: str | Path = TABLES) -> list[str]:
    """The tables of a data file."""
    return list(read_tables(path)["tables"])


def load_table(
    name: str,
    *,
    scale: Scale = "paper",
    path: str | Path = TABLES,
    seeds: int | None = None,
    attacks: str | None = None,
    subset: int | None = None,
) -> Study:
    """A table of the paper as a study.

    A row of the paper becomes two rows, its best and its last checkpoint, unless it is printed for one of them.

    Args:
        name: the table.
        scale: 'paper' for the full configs, 'small' for those for CPUs.
        path: the data file.
        seeds: so many seeds from 0 instead of the table's number.
        attacks: another attack config.
        subset: judge on so many test images instead of the table's number.

    Raises:
        ConfigError: an unknown table, or one that is not in order.
    """
    content = read_tables(path)
    tables = content["tables"]
    if name not in tables:
        raise ConfigError(
            f"no table is called {name}; there are {', '.join(tables)} (Tables 12 and 13 are studies: natx study "
            "studies/table12, studies/table13)"
        )
    if seeds is not None and seeds < 1 or subset is not None and subset < 1:
        raise ConfigError(f"--seeds and --subset must be at least 1; got {seeds} and {subset}")
    table = tables[name]
    attacks = attacks if attacks and table["attacks"] else table["attacks"]
    subset = table["subset"][scale] if subset is None else subset
    rows = [
        row
        for group in table["groups"]
        for entry in group["rows"]
        for row in _rows(table, group, entry, scale=scale, report=_report_folder(attacks, subset))
    ]
    double = {row.key for row in rows for other in rows if row.key == other.key and row.folder != other.folder}
    if double:
        raise ConfigError(f"{path}: {name} has several rows called {', '.join(sorted(double))}")
    columns = list(table["columns"].values())
    return Study(
        title=table["title"] + (", small version for CPUs" if scale == "small" else ""),
        about=" ".join(text for text in (table.get("about"), content["scales"].get(scale)) if text),
        rows=rows,
        seeds=list(range(seeds or table["seeds"][scale])),
        judgings=[Judging(attacks, subset)] if attacks else [],
        columns=[column for column in columns if column != AVERAGE],
        average=next((printed for printed, column in table["columns"].items() if column == AVERAGE), None),
        table=True,
        axis=table.get("plot"),
    )


def printed_row(config: Config, attacks: Config) -> dict[str, Any] | None:
    """What the paper printed for a config under an attack config: ``name`` and ``cells`` (text by column).

    Args:
        config: a training config; rows that are shipped with options of their own are not meant.
        attacks: an attack config.

    Returns:
        The first table's row that names both; None where there is none, or no file with tables.
    """
    tables = read_tables()["tables"] if (SHIPPED / TABLES).is_file() else {}
    for name, table in tables.items():
        if not _same_file(table["attacks"], attacks):
            continue
        for entry in (entry for group in table["groups"] for entry in group["rows"]):
            if _same_file(entry.get("paper"), config) and (lines := _printed(table, entry)):
                label = f"paper, Table {name.removeprefix('table')}: {entry['name']}"
                return {"name": label, "cells": lines[0]["cells"]}
    return None


def _same_file(shipped: Any, config: Config) -> bool:
    """Whether a config was read from a shipped file."""
    if not isinstance(shipped, str) or config.filename is None:
        return False
    return (SHIPPED / shipped).resolve() == Path(config.filename).resolve()


def _report_folder(attacks: str | None, subset: int | None) -> str:
    """The folder of the reports of an attack config on a part of the test set."""
    return "-".join(["report", Path(attacks or "").stem, *([str(subset)] if subset else [])])


def _rows(
    table: dict[str, Any], group: dict[str, Any], entry: dict[str, Any], *, scale: Scale, report: str
) -> Iterator[Row]:
    """The rows of a study that an entry of a table stands for."""
    columns, recipe = list(table["columns"]), entry.get(scale)
    if len(entry["cells"]) not in (0, len(columns)):
        raise ConfigError(f"{entry['key']} has {len(entry['cells'])} cells in a table of {len(columns)} columns")
    shared = dict(key=entry["key"], group=group["name"], note=entry.get("note", ""), x=entry.get("x"))
    printed = _printed(table, entry)
    if recipe is None:
        if printed:
            reason = "quoted" if entry.get("quoted") else f"no {scale} version"
            yield Row(name=entry["name"], config=None, printed=printed, reason=reason, **shared)
        return
    recipe = {"config": recipe} if isinstance(recipe, str) else recipe
    options = recipe.get("options", {})
    shared |= dict(
        config=recipe["config"],
        options=options,
        folder=_folder(recipe["config"], options),
        attack_options=group.get("attack_options", {}).get(scale, {}),
    )
    if entry.get("checkpoint") or table["attacks"] is None:
        checkpoint = entry.get("checkpoint", "best")
        report += "-last" if checkpoint == "last" else ""
        yield Row(name=entry["name"], checkpoint=checkpoint, report=report, printed=printed, **shared)
        return
    yield Row(name=f"{entry['name']}, best", report=report, **shared)
    yield Row(name=f"{entry['name']}, last", checkpoint="last", report=f"{report}-last", printed=printed, **shared)


def _printed(table: dict[str, Any], entry: dict[str, Any]) -> list[dict[str, Any]]:
    """The paper's lines for an entry: its cells and, where there are any, means and deviations."""
    columns = [printed if column == AVERAGE else column for printed, column in table["columns"].items()]
    lines = {f"paper: {entry['name']}": entry["cells"], f"paper: {entry['name']}, mean": entry.get("mean", [])}
    return [{"name": name, "cells": dict(zip(columns, cells))} for name, cells in lines.items() if cells]


def _folder(config: str, options: dict[str, Any]) -> str:
    """The folder of a training: the config's name and its options, as ``r18_cifar10_nat-weight=0.02``."""
    words = [Path(config).stem]
    for key, value in options.items():
        while isinstance(value, dict) and len(value) == 1:
            ((key, value),) = value.items()
        if isinstance(value, dict):
            value = value.get("state", "changed")
        if isinstance(value, list):
            value = "+".join(map(str, value))
        words.append(f"{key.rsplit('.')[-1]}={Path(value).stem if isinstance(value, str) else value}")
    return "-".join(dict.fromkeys(words))
