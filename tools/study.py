#!/usr/bin/env python
"""Train and judge every row of a study over its seeds: python tools/study.py configs/studies/cifar10_small.py

Finished parts are reused, so a killed study goes on where it was; --report only renders what is there.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from a checkout without installing

import torch  # noqa: E402
from mmengine.config import Config  # noqa: E402
from rich.console import Console  # noqa: E402

from natx import cli  # noqa: E402
from natx.config import load_config, require, with_options  # noqa: E402
from natx.evaluation.report import write_report  # noqa: E402
from natx.evaluation.summary import summary_table  # noqa: E402
from natx.files import write_text  # noqa: E402
from natx.judging import judge  # noqa: E402
from natx.progress import Meter, duration  # noqa: E402
from natx.training import DONE, build_learner, train  # noqa: E402


def main() -> None:
    arguments = parse_arguments()
    device, study = cli.set_up(arguments), load_config(arguments.study)
    require(study, ("title", "seeds", "subset", "attacks", "rows"), path=arguments.study)
    work_dir = Path(arguments.work_dir or Path("work_dirs") / Path(arguments.study).stem)
    seeds = study.seeds if arguments.seed is None else [arguments.seed]
    names = arguments.rows or list(study.rows)
    for seed in seeds:
        for name in names if not arguments.report else ():
            run_row(study, name, work_dir / f"seed{seed}", seed=seed, device=device, options=arguments.cfg_options)
    text = render(study, work_dir, arguments)
    write_text(Path(arguments.out or work_dir / "study.md"), text)
    cli.console().print(text, markup=False, soft_wrap=True)


def run_row(study: Config, name: str, folder: Path, *, seed: int, device: torch.device, options: dict | None) -> None:
    """Train and judge one row with one seed, each unless it is done."""
    row = study.rows[name]
    config = row_config(study, name, folder, seed=seed, options=options)
    if not (folder / name / DONE).exists():
        train(config, folder / name, device=device, resume=True)
    if not (folder / name / "report" / "report.json").exists():
        console = Console(stderr=True)
        report = judge(
            config,
            folder / name / "best.safetensors",
            load_config(study.attacks),
            device=device,
            name=row.name,
            subset_size=study.subset,
            meter=Meter(console, console.print),
        )
        write_report(folder / name / "report", report)


def row_config(study: Config, name: str, folder: Path, *, seed: int, options: dict | None) -> Config:
    """A row's training config: the seed, the options, and the adversary from another row of the same seed."""
    row = study.rows[name]
    config = with_options(load_config(row.config), {"seed": seed, **row.get("options", {}), **(options or {})})
    for term in config.method.get("terms", []):
        if "adversary" in term and "adversary" in row:
            term.adversary = {"config": study.rows[row.adversary].config}
            term.adversary["checkpoint"] = str(folder / row.adversary / "best.safetensors")
    return config


def render(study: Config, work_dir: Path, arguments: argparse.Namespace) -> str:
    """The study's Markdown, every number read from the rows' report.json."""
    found = {
        row.name: [read_report(work_dir / f"seed{seed}" / name) for seed in study.seeds]
        for name, row in study.rows.items()
    }
    command = " ".join(["python tools/study.py", arguments.study])
    if arguments.cfg_options:
        command += " --cfg-options " + " ".join(f"{k}={v}" for k, v in arguments.cfg_options.items())
    lines = [f"# {study.title}", "", f"Made by `{command}`.", "", Path(arguments.study).read_text().split("title")[0]]
    lines[-1] = "\n".join(line.lstrip("# ") for line in lines[-1].splitlines()[:2])
    known = [report for reports in found.values() for report in reports if report]
    if known:
        first = known[0]
        lines += [
            "",
            f"Accuracy in percent under {first['threat']} on {first['settings']['data']}, success counted at "
            f"'{first['success']}' step; the checkpoint is chosen on {first['settings']['selected_on']}; mean and "
            "standard deviation over the seeds. The headline is the worst case.",
        ]
    lines += ["", summary_table(found), "", *per_seed(found), *costs(study, work_dir, arguments.cfg_options)]
    if known:
        packages = ", ".join(f"{k} {v}" for k, v in first["provenance"]["packages"].items())
        lines += [
            "",
            f"Run on {first['provenance']['device']}, {first['provenance']['threads']} thread(s); {packages}.",
        ]
    return "\n".join(lines) + "\n"


def per_seed(found: dict[str, list]) -> list[str]:
    """Each seed's own row."""
    rows = {f"{name}, seed {i}": [report] for name, reports in found.items() for i, report in enumerate(reports)}
    return ["## Each seed", "", summary_table(rows), ""]


def costs(study: Config, work_dir: Path, options: dict | None) -> list[str]:
    """What each row spent in training (counted) and in judging (measured)."""
    lines = ["## Cost", "", "| | training per image and step | judging, all attacks |", "|---|---:|---:|"]
    for name, row in study.rows.items():
        config = row_config(study, name, work_dir / f"seed{study.seeds[0]}", seed=study.seeds[0], options=options)
        for term in config.method.get("terms", []):
            if "adversary" in term:
                term.adversary = {"task": config.task, "state": "random"}  # counting needs no weights
        forwards, backwards = build_learner(config, seed=0).method.cost()
        report = read_report(work_dir / f"seed{study.seeds[0]}" / name)
        judged = "not run"
        if report:
            total = {
                key: sum(attack[key] for attack in report["attacks"]) for key in ("forwards", "backwards", "seconds")
            }
            judged = f"{total['forwards']} forwards, {total['backwards']} backwards, {duration(total['seconds'])}"
        lines.append(f"| {row.name} | {forwards:g} forwards, {backwards:g} backwards | {judged} |")
    return lines


def read_report(folder: Path) -> dict[str, Any] | None:
    path = folder / "report" / "report.json"
    return json.loads(path.read_text()) if path.exists() else None


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="a study config, e.g. configs/studies/cifar10_small.py")
    parser.add_argument("--work-dir", help="where to train (default: work_dirs/<study name>)")
    parser.add_argument("--rows", nargs="+", help="only these rows")
    parser.add_argument("--report", action="store_true", help="train nothing, render what is there")
    parser.add_argument("--out", help="the Markdown file (default: <work dir>/study.md)")
    cli.add_common_arguments(parser)
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main, debug="--debug" in sys.argv)
