"""The whole chain in a few minutes: natx demo [cls | reid | det] (or `make demo`, ...)

cls (default): trains the vanilla adversary, adversarial training on the union and NAT on scikit-learn's digits, judges
all three on clean, PGD-10/20/50/100, C&W and standard AutoAttack.
reid: trains person re-identification undefended and with AMD (made anew on the current model) on drawn pedestrians that
it makes itself, judges both on clean, FNA, SMA, IFGSM and the worst case per query.
det: trains a small SSD undefended, with MTD on the union and with MTD and NAT (from the undefended weights) on pasted
digits, judges all three on clean, loss_cls, loss_loc, DAG and RAP.
Each prints a table with 95 % intervals, and which differences are beyond chance. Safe to repeat: finished parts are
reused.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from natx import cli

if TYPE_CHECKING:
    import torch
    from rich.console import Console


@dataclass
class Demo:
    """Rows (name: training config), attack config, work dir, test images (None: all) and rows' options of a demo."""

    rows: dict[str, str]
    attacks: str
    work_dir: str
    subset: int | None = None
    options: dict[str, dict[str, Any]] = field(default_factory=dict)


# Twice the people to search for that the configs' set has: intervals over these are shorter by a third.
CROWD = {"data.test.test_identities": 64, "data.test.root": "data/generated_reid_64"}
DEMOS = {
    "cls": Demo(
        {
            "Vanilla": "configs/cls/digits_vt.py",
            "PGD-AT (union)": "configs/cls/digits_pgd_at.py",
            "NAT": "configs/cls/digits_nat.py",
        },
        "configs/attacks/digits_table.py",
        "work_dirs/demo",
    ),
    "reid": Demo(
        {
            "None": "configs/reid/generated_base.py",
            "AMD": "configs/reid/generated_amd_online.py",
        },
        "configs/attacks/reid_quick.py",
        "work_dirs/demo_reid",
        options={"None": CROWD, "AMD": CROWD},
    ),
    "det": Demo(
        {
            "Standard": "configs/det/ssd112_digits_std.py",
            "MTD (union)": "configs/det/ssd112_digits_mtd_union.py",
            "MTD&NAT": "configs/det/ssd112_digits_mtd_nat.py",
        },
        "configs/attacks/det_quick.py",
        "work_dirs/demo_det",
        subset=64,
    ),
}


def main(words: Sequence[str]) -> None:
    """The command with its arguments."""
    arguments = parse_arguments(words)
    # After the arguments, so that --help and mistakes in them do not wait for torch.
    from natx.config import TRAINING, load_config
    from natx.report.reading import reading
    from natx.report.text import console_table, markdown_table
    from natx.runtime.files import write_text
    from natx.runtime.progress import duration
    from natx.training.run import train_once

    device, demo = cli.set_up(arguments), DEMOS[arguments.demo]
    console, start, out = cli.console(), time.monotonic(), Path(arguments.work_dir or demo.work_dir)
    reports, trained = [], {}
    for name, path in demo.rows.items():
        options = {"log_interval": 1000, "adversary_dir": str(out), "seed": arguments.seed or 0}
        options.update(demo.options.get(name, {}), **(arguments.cfg_options or {}))
        config = load_config(path, kind=TRAINING, options=options)
        # Trained where an adversary would be, so that NAT finds the undefended model there and reuses it.
        best = train_once(config, out, device=device) / "best.safetensors"
        trained[name] = (config, best)
        reports.append(report_of(name, config, best, demo=demo, device=device, console=console))
    console.print(console_table(reports))
    lines = [f"- {line}" for line in reading(reports)]
    console.print("\n".join(lines), soft_wrap=True)
    write_text(out / "table.md", "\n".join([markdown_table(reports), "", *lines]) + "\n")
    console.print(f"table: {out}/table.md", soft_wrap=True)
    if arguments.demo == "cls":
        draw(out / "examples.png", trained, device=device)
        console.print(f"examples: {out}/examples.png", soft_wrap=True)
    reports_in = f"{out}/*/test-{Path(demo.attacks).stem}"
    if any(report.get("pictures") for report in reports):
        console.print(f"examples before and after each attack: {reports_in}/examples-*.png", soft_wrap=True)
    console.print(f"reports: {reports_in}/report.html", soft_wrap=True)
    console.print(f"took {duration(time.monotonic() - start)}")


def report_of(name: str, config, best: Path, *, demo: Demo, device: "torch.device", console: "Console") -> dict:
    """The model's report, from an earlier call where there is one for these very weights."""
    from rich.console import Console

    from natx.config import load_config
    from natx.judging.judge import judge
    from natx.report.report import write_report
    from natx.runtime.files import read_json
    from natx.runtime.progress import Meter

    folder = best.parent / f"test-{Path(demo.attacks).stem}"
    if (folder / "report.json").exists():
        console.print(f"{name}: report found in {folder}", soft_wrap=True)
        return read_json(folder / "report.json")
    console.print(f"{name}: judging")
    meter = Meter(Console(stderr=True), console.print)
    report = judge(
        config,
        best,
        load_config(demo.attacks),
        device=device,
        name=name,
        subset_size=demo.subset,
        meter=meter,
        pictures=folder,
    )
    write_report(folder, report)
    return report


def draw(path: Path, trained: dict, *, device: "torch.device", count: int = 10) -> None:
    """A picture: test digits as they are and as PGD-20 leaves them, with each model's prediction."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    from natx.attacks import PGD
    from natx.config import plain_dict
    from natx.data import build_dataset
    from natx.judging.build import load_task

    rows: list[tuple[str, Any, Any]] = []
    for name, (config, best) in trained.items():
        task = load_task(config, best)[0].to(device)
        batch = build_dataset(plain_dict(config.data.test)).__getitems__(list(range(count)))
        clean, attack = task.pixels(batch), PGD(plain_dict(config.threat), 20, step_size=0.05)
        rows = rows or [("clean", clean, batch["data_samples"])]
        x_adv = attack(task, batch)
        rows.append((f"{name}\nattacked", x_adv, task.predict({**batch, "inputs": x_adv})))
    figure, axes = plt.subplots(len(rows), count, figsize=(count, 1.25 * len(rows)))
    labels = rows[0][2]
    for line, (name, images, predicted) in zip(axes, rows):
        for axis, image, guess, label in zip(line, images, predicted, labels):
            axis.imshow(image[0].cpu(), cmap="gray", vmin=0, vmax=1)
            axis.set_xticks([]), axis.set_yticks([])
            axis.set_xlabel(str(int(guess)), color="green" if guess == label else "red", labelpad=1)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    figure.savefig(path, dpi=80, bbox_inches="tight")
    plt.close(figure)


def parse_arguments(words: Sequence[str]) -> argparse.Namespace:
    """The arguments."""
    parser = cli.parser("demo", __doc__)
    parser.add_argument("demo", nargs="?", choices=DEMOS, default="cls", help="which demo (default: cls)")
    parser.add_argument("--work-dir", help="where to write (default: work_dirs/demo, demo_reid or demo_det)")
    cli.add_common_arguments(parser)
    return parser.parse_args(words)
