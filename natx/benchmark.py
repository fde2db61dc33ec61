"""Benchmarks: interleaved A/B runs, what the machine is, and results that merge into one file and one table.

A number here is a ratio of two runs on the same machine in the same minutes; seconds alone say little about software.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from natx.errors import ConfigError
from natx.files import write_json, write_text
from natx.progress import duration
from natx.provenance import provenance

PEERS = ("torchattacks", "foolbox", "adversarial-robustness-toolbox")
Measure = Callable[[Callable[[], Any]], tuple[float, Any]]


class NotRun(Exception):
    """An item that cannot run here; the text says why and what to do."""


@dataclass(frozen=True)
class Paired:
    """Interleaved measurements of two runs.

    Attributes:
        a: one value a repeat.
        b: likewise; ``b[i]`` was taken right after ``a[i]``.
        outputs: what the last A and the last B returned.
    """

    a: list[float]
    b: list[float]
    outputs: tuple[Any, Any] = (None, None)

    @property
    def ratios(self) -> list[float]:
        """``a[i] / b[i]``: a drift of the machine's speed is in both."""
        return [a / b for a, b in zip(self.a, self.b)]

    def summary(self) -> dict[str, float]:
        """Median, smallest and largest ratio."""
        ratios = self.ratios
        return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


def stopwatch(device: torch.device, clock: Callable[[], float] = time.perf_counter) -> Measure:
    """A measure of seconds; work queued on a GPU is waited for on both sides."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def measure(run: Callable[[], Any]) -> tuple[float, Any]:
        wait()
        start = clock()
        output = run()
        wait()
        return clock() - start, output

    return measure


def interleave(
    a: Callable[[], Any],
    b: Callable[[], Any],
    *,
    repeats: int,
    measure: Measure,
    warm_up: Sequence[Callable[[], Any]] | None = None,
) -> Paired:
    """Measure A B A B ... after a warm-up that is not measured.

    Args:
        a: first run.
        b: second run.
        repeats: pairs to measure.
        measure: calls a run and returns its value and output.
        warm_up: what to run first (default: A and B once each; shorter runs where those take minutes).
    """
    if repeats < 1:
        raise ConfigError(f"repeats must be at least 1; got {repeats}")
    for run in (a, b) if warm_up is None else warm_up:
        run()
    values: tuple[list[float], list[float]] = ([], [])
    outputs: list[Any] = [None, None]
    for _ in range(repeats):
        for side, run in enumerate((a, b)):
            value, outputs[side] = measure(run)
            values[side].append(value)
    return Paired(*values, outputs=(outputs[0], outputs[1]))


@dataclass(frozen=True)
class Measured:
    """What an item's function returns.

    Attributes:
        paired: the measurements, or None where the item is no ratio.
        predicted: the ratio by counting forwards and backwards, where it takes the run to count them.
        details: further plain values; a list of dicts becomes a table.
    """

    paired: Paired | None
    predicted: float | None = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Item:
    """One benchmark: what is compared, its target, and the function that measures it.

    Attributes:
        name: key in results and on the command line.
        a: what A is.
        b: what B is.
        run: measures; may raise :class:`NotRun`.
        limit: target of the median ratio, or None.
        at_least: the limit is a lower bound.
        predicted: the ratio by counting forwards and backwards, where it is known beforehand.
        unit: of the measured values.
        needs_amx: the limit holds only on a CPU with AMX.
    """

    name: str
    a: str
    b: str
    run: Callable[[Any], Measured]
    limit: float | None = None
    at_least: bool = False
    predicted: float | None = None
    unit: str = "s"
    needs_amx: bool = False

    def met(self, ratio: float, facts: dict[str, Any]) -> bool | None:
        """Whether the median ratio keeps the limit; None where there is none for this machine."""
        if self.limit is None or (self.needs_amx and not facts["amx"]):
            return None
        return ratio >= self.limit if self.at_least else ratio <= self.limit


def run_item(item: Item, bench: Any, setting: dict[str, Any]) -> dict[str, Any]:
    """Run one item and return its result as plain values; ``setting`` (with ``machine``) goes along."""
    result: dict[str, Any] = {
        "name": item.name,
        "a": item.a,
        "b": item.b,
        "limit": item.limit,
        "bound": "at least" if item.at_least else "at most",
        **setting,
    }
    start = time.monotonic()
    try:
        measured = item.run(bench)
    except NotRun as reason:
        return {**result, "not_run": str(reason)}
    result["predicted"] = _rounded(item.predicted if measured.predicted is None else measured.predicted)
    if (paired := measured.paired) is not None:
        ratio = paired.summary()
        result |= {
            "ratio": _rounded(ratio),
            "met": item.met(ratio["median"], setting["machine"]),
            "repeats": len(paired.a),
            "unit": item.unit,
            "a_values": _rounded(paired.a),
            "b_values": _rounded(paired.b),
        }
    return {**result, "details": _rounded(measured.details), "seconds": round(time.monotonic() - start, 1)}


def _rounded(value: Any) -> Any:
    """Floats to five significant digits, in whatever nesting."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, (list, tuple)) else value


def cpu_facts(cpuinfo: str) -> dict[str, Any]:
    """Model name and the flags that decide how fast bf16 is, from the text of /proc/cpuinfo."""
    lines = [line.partition(":") for line in cpuinfo.splitlines()]
    values = {key.strip(): value.strip() for key, _, value in reversed(lines)}  # the first processor wins
    flags = values.get("flags", "").split()
    return {
        "cpu": values.get("model name", platform.processor() or "unknown"),
        "amx": {"amx_tile", "amx_bf16"} <= set(flags),
        "avx512_bf16": "avx512_bf16" in flags,
    }


def machine_facts(device: torch.device) -> dict[str, Any]:
    """What a result depends on: the processor, torch's choice of kernels, versions of natx, torch and the peers."""
    path = Path("/proc/cpuinfo")
    facts = {
        **cpu_facts(path.read_text() if path.exists() else ""),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "onednn": torch.backends.mkldnn.is_available(),
        **provenance(device),
    }
    for name in PEERS:
        try:
            facts["packages"][name] = version(name)
        except PackageNotFoundError:
            facts["packages"][name] = "not installed"
    return facts


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
        items = json.loads(path.read_text())["items"]
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
    lines += list(dict.fromkeys(_machine_line(r) for r in results)) + [""]
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
    met = {True: "yes", False: "NO", None: "does not apply"}[result["met"]]
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


def _machine_line(result: dict[str, Any]) -> str:
    m = result["machine"]
    flags = ", ".join(
        f"{name}: {'yes' if m[key] else 'no'}" for name, key in (("AMX", "amx"), ("avx512_bf16", "avx512_bf16"))
    )
    packages = ", ".join(f"{name} {number}" for name, number in m["packages"].items())
    return (
        f"- {m['device']}; {m['cpu']}, {m['threads']} threads, {m['capability']} kernels, oneDNN: "
        f"{'yes' if m['onednn'] else 'no'}, {flags}; commit {m['git']}; {packages}"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return [line(head), "|" + " --- |" * len(head), *map(line, rows)]
