"""The figures of docs/cost.md, from results/: ``python docs/_site/costs.py`` writes them."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "cost.md"
EPOCH = 50_000  # images of CIFAR-10's training set
SHOWN = ("vt", "pgd_at", "pgd_at_union", "nat", "trades", "mart", "awp", "nat_awp", "lbgat", "las_pgd_at")
JUDGED = {  # where a kind of judging was measured, and what it is
    "demo": "digits, 8 x 8, a CNN of 3 layers",
    "cifar10_small": "CIFAR-10, ResNet-8",
    "demo_reid": "drawn pedestrians, OSNet-x0.25",
    "demo_det": "pasted digits, 112 x 112, small SSD",
}


def figures() -> dict[str, str]:
    """The page's tables by the name of their mark."""
    items = {item["name"]: item for item in json.loads((ROOT / "results" / "benchmark_cpu.json").read_text())["items"]}
    return {
        "training": _training(items["methods"]),
        "single": _single(items["single_vs_multi_step"]),
        "judging": _judging(),
        "memory": _memory(items),
        "detection": _detection(items),
    }


def filled(text: str) -> str:
    """The page with its tables as results/ has them."""
    for name, table in figures().items():
        text = re.sub(
            rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)",
            lambda marks, table=table: f"{marks[1]}{table}\n{marks[2]}",
            text,
            flags=re.DOTALL,
        )
    return text


def _training(item: dict[str, Any]) -> str:
    """A row a method: passes by its config's head, both ratios, and an epoch's minutes.

    Each method was measured in turns with PGD-AT, so its ratio holds whatever else the machine did at the time; its
    own seconds do not, and minutes are PGD-AT's by the ratio.
    """
    steps = {step["config"].removeprefix("r8_cifar10_"): step for step in item["details"]["steps"]}
    batch, machine = item["batch_size"], item["machine"]
    rows = [
        "| method | forwards + backwards an image and step | of PGD-AT's, counted | measured | an epoch of CIFAR-10 |",
        "|---|---:|---:|---:|---:|",
    ]
    for name in SHOWN:
        step = steps[name]
        counted, measured = step["by counting"], step["/ PGD-AT"]
        epoch = measured * steps["pgd_at"]["step, s"] * EPOCH / batch / 60
        rows.append(f"| `{name}` | {_passes(name)} | {counted:.2f} | {measured:.2f} | {epoch:.2g} min |")
    setting = f"ResNet-8, batches of {batch}, {item['threads']} thread of an {machine['cpu']}, float32."
    return "\n".join([*rows, "", setting])


def _passes(name: str) -> str:
    """Forwards and backwards by the head of a method's config, such as ``14 + 12``."""
    head = (ROOT / "configs" / "cls" / f"r8_cifar10_{name}.py").read_text()
    passes = re.search(r"(\d+) forwards? and (\d+) backwards?", head)
    assert passes, f"no cost in the head of r8_cifar10_{name}.py"
    return " + ".join(passes.groups())


def _single(item: dict[str, Any]) -> str:
    """What a single-step NAT step costs of one with PGD-10, in a sentence."""
    ratio = item["ratio"]
    spread = f"{ratio['min']:.2f} to {ratio['max']:.2f}; counted: {item['predicted']:.2f}"
    setting = f"{item['model']}, batches of {item['batch_size']}"
    start = f"A single-step NAT step (`*_fast_nat*`) takes {ratio['median']:.2f} of a PGD-10 NAT step"
    return f"{start} ({spread}; {setting})."


def _judging() -> str:
    """A row a kind of judging: images and, for a robust and an undefended model, passes and seconds an image."""
    rows = ["| what | columns | test images | passes an image | seconds an image |", "|---|---:|---:|---:|---:|"]
    for folder, name in JUDGED.items():
        reports = [json.loads(path.read_text()) for path in sorted((ROOT / "results" / folder).glob("*.json"))]
        images = {report.get("attacked", report["images"]) for report in reports}
        passes = [sum(a["forwards"] + a["backwards"] for a in r["attacks"]) / max(images) for r in reports]
        seconds = [sum(a["seconds"] for a in r["attacks"]) / max(images) for r in reports]
        columns = len(reports[0]["columns"]) + ("worst_case" in reports[0])
        shown = " to ".join(str(count) for count in sorted(images))
        rows.append(f"| {name} | {columns} | {shown} | {_span(passes, ',.0f')} | {_span(seconds, '.2g')} |")
    return "\n".join([*rows, "", "From the model of the group that costs least to the one that costs most."])


def _memory(items: dict[str, Any]) -> str:
    """Peaks beside what a plain training step takes."""
    rows = ["| what | A | beside | B |", "|---|---:|---|---:|"]
    for name in ("attack_memory", "mtd_memory"):
        item = items[name]
        a, b = (statistics.median(item[key]) for key in ("a_values", "b_values"))
        short = [item[key].removeprefix("peak memory of ").removesuffix(" above model and batch") for key in "ab"]
        rows.append(
            f"| {short[0]}; {item['model']}, batch {item['batch_size']} | {a:.0f} MB | {short[1]} | {b:.0f} MB |"
        )
    return "\n".join(rows)


def _detection(items: dict[str, Any]) -> str:
    """What judging a detector took before and takes by default, and what Table 13's columns come to on all of VOC."""
    rows = ["| what | A | beside | B |", "|---|---:|---|---:|"]
    for name in ("det_padding", "det_judging_memory", "det_judging_time"):
        item = items[name]
        a, b = (f"{statistics.median(item[key]):.3g} {item['unit']}" for key in ("a_values", "b_values"))
        rows.append(f"| {item['a']}; {item['model']} | {a} | {item['b']} | {b} |")
    item = items["det_voc_passes"]
    rows += [
        "",
        "| Table 13 on VOC 2007 test, at most | forwards an image | backwards | passes in all |",
        "|---|---:|---:|---:|",
    ]
    for row in item["details"]["counted, not run"]:
        cells = (row["forwards an image"], row["backwards"], row["passes in all"])
        rows.append(f"| {row['attack']} | " + " | ".join(f"{cell:,}" for cell in cells) + " |")
    speed = item["details"]["passes a second for DAG and RAP within an hour"]
    rows += [
        "",
        f"Counted, not run: DAG and RAP on all {item['details']['images']:,} images take an hour where a device makes "
        f"{speed:,.0f} passes of SSD300 a second; they stop earlier at images that are broken.",
    ]
    return "\n".join(rows)


def _span(values: list[float], form: str) -> str:
    return f"{min(values):{form}} to {max(values):{form}}"


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
