"""Results of a benchmark: one JSON file that items are merged into, and the table rendered from it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from natx.errors import ConfigError
from natx.runtime.files import read_json, write_json, write_text
from natx.runtime.progress import duration


def read_results(path: Path) -> dict[str, dict[str, Any]]:
    """Results by item name; empty where there is no file.

    Raises:
        ConfigError: the file is there but holds something else.
    """
    if path.suffix != ".json":
        raise ConfigError(f"--out ends with .json (the table gets the same name with .md); got {path}")
    if not path.exists():
        return {}
    try:
        items = read_json(path)["items"]
        return {result["name"]: result for result in items}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} holds no benchmark results ({error!r}): move it away or use another --out"
        ) from error


def add_result(path: Path, result: dict[str, Any], *, order: Sequence[str]) -> None:
    """Put one result into the file (kept: all other items) and render the table beside it.

    An item that did not run does not replace a measurement.

    Args:
        path: the JSON file.
        result: from :func:`run_item`.
        order: item names as they are to be listed.
    """
    results = read_results(path)
    old = results.get(result["name"])
    if old is None or "not_run" not in result or "not_run" in old:
        results[result["name"]] = result
    place = {name: i for i, name in enumerate(order)}
    items = sorted(results.values(), key=lambda r: place.get(r["name"], len(place)))
    write_json(path, {"items": items})
    write_text(path.with_suffix(".md"), markdown(items))


def markdown(results: Sequence[dict[str, Any]]) -> str:
    """The table of results, opened by the commands that made it."""
    commands = list(dict.fromkeys(r["command"] for r in results))
    lines = ["# Benchmark", "", "Made by", "", *[f"    {command}" for command in commands], ""]
    lines += [
        "A ratio is A / B of two runs taken in turns (A B A B ...) after a warm-up: the median of the pairwise ratios,",
        "with the smallest and the largest. Predicted: by counting, a forward as 1, a backward to the pixels as 1, a",
        "backward to pixels and weights as 2.",
        "",
    ]
    lines += list(dict.fromkeys("- " + machine_line(r["machine"]) for r in results)) + [""]
    head = [
        "item",
        "A",
        "B",
        "A (median)",
        "B (median)",
        "A / B (min to max)",
        "predicted",
        "limit",
        "met",
        "setting",
    ]
    lines += _table(head, [_row(r) for r in results])
    for result in results:
        lines += _details(result)
    return "\n".join(lines) + "\n"


def _row(result: dict[str, Any]) -> list[str]:
    name, a, b = result["name"], result["a"], result["b"]
    limit = "-" if result["limit"] is None else f"{result['bound']} {result['limit']:g}"
    setting = f"{result['model']}, batch {result['batch_size']}"
    if "not_run" in result:
        return [name, a, b, "-", "-", f"not run: {result['not_run']}", "-", limit, "-", setting]
    predicted = "-" if result.get("predicted") is None else f"{result['predicted']:.3f}"
    if "ratio" not in result:
        return [name, a, b, "-", "-", "see below", predicted, limit, "-", setting]
    ratio, unit = result["ratio"], result["unit"]
    medians = [f"{statistics.median(result[key]):.3g} {unit}" for key in ("a_values", "b_values")]
    spread = f"{ratio['median']:.3f} ({ratio['min']:.3f} to {ratio['max']:.3f})"
    met = "-" if limit == "-" else {True: "yes", False: "NO", None: "does not apply"}[result["met"]]
    return [name, a, b, *medians, spread, predicted, limit, met, f"{setting}, {result['repeats']} repeats"]


def _details(result: dict[str, Any]) -> list[str]:
    details = result.get("details")
    if not details:
        return []
    lines = ["", f"## {result['name']}", "", f"Took {duration(result['seconds'])}.", ""]
    tables = {k: v for k, v in details.items() if isinstance(v, list) and v and isinstance(v[0], dict)}
    for key, value in details.items():
        if key not in tables:
            lines.append(f"- {key}: {_plain(value)}")
    for key, rows in tables.items():
        body = [[_plain(cell) for cell in row.values()] for row in rows]
        lines += ["", f"{key}:", "", *_table(list(rows[0]), body)]
    return lines


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def machine_line(machine: dict[str, Any]) -> str:
    """One line about the machine and the packages that a result was measured with."""
    m = machine
    yes = {key: "yes" if m[key] else "no" for key in ("onednn", "amx", "avx512_bf16")}
    packages = ", ".join(f"{name} {number}" for name, number in m["packages"].items())
    return (
        f"{m['device']}; {m['cpu']}, {m['threads']} torch threads, CPU capability {m['capability']}, "
        f"oneDNN: {yes['onednn']}, AMX: {yes['amx']}, avx512_bf16: {yes['avx512_bf16']}; commit {m['git']}; {packages}"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return [line(head), "|" + " --- |" * len(head), *map(line, rows)]


def describe(result: dict[str, Any]) -> str:
    """One line that says how an item went."""
    if "not_run" in result:
        return f"not run: {result['not_run']}"
    if "ratio" not in result:
        return f"took {duration(result['seconds'])}"
    ratio = result["ratio"]
    verdict = {True: "met", False: "NOT met", None: "does not apply here"}[result["met"]]
    limit = "no limit" if result["limit"] is None else f"limit {result['bound']} {result['limit']:g}: {verdict}"
    spread = f"{ratio['median']:.3f} ({ratio['min']:.3f} to {ratio['max']:.3f})"
    return f"{spread}, {limit}; took {duration(result['seconds'])}"
