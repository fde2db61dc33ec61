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
from natx.evaluation import CLEAN  # noqa: E402
from natx.evaluation.report import write_report  # noqa: E402
from natx.evaluation.summary import summary_table  # noqa: E402
from natx.files import write_text  # noqa: E402
from natx.judging import build_attacks, judge, paper_row  # noqa: E402
from natx.progress import Meter, duration  # noqa: E402
from natx.training import DONE, build_learner, frozen_models, train, without_weights  # noqa: E402


def main() -> None:
    arguments = parse_arguments()
    device, study = cli.set_up(arguments), load_config(arguments.study)
    require(study, ("title", "seeds", "attacks", "rows"), path=arguments.study)
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
            subset_size=study.get("subset"),
            meter=Meter(console, console.print),
        )
        write_report(folder / name / "report", report)


def row_config(study: Config, name: str, folder: Path, *, seed: int, options: dict | None) -> Config:
    """A row's training config: the seed, the options, and its frozen models from another row of the same seed."""
    row = study.rows[name]
    config = with_options(load_config(row.config), {"seed": seed, **row.get("options", {}), **(options or {})})
    if "adversary" in row:
        for entry in frozen_models(config):
            entry.clear()
            entry.update(
                config=study.rows[row.adversary].config, checkpoint=str(folder / row.adversary / "best.safetensors")
            )
    return config


def render(study: Config, work_dir: Path, arguments: argparse.Namespace) -> str:
    """The study's Markdown, every number read from the rows' report.json; a section for each group of rows."""
    command = " ".join(["python tools/study.py", arguments.study])
    if arguments.cfg_options:
        command += " --cfg-options " + " ".join(f"{k}={v}" for k, v in arguments.cfg_options.items())
    lines = [f"# {study.title}", "", f"Made by `{command}`.", "", Path(arguments.study).read_text().split("title")[0]]
    lines[-1] = "\n".join(line.lstrip("# ") for line in lines[-1].splitlines()[:2])
    known, attacks = [], load_config(study.attacks)
    columns = [CLEAN, *(column for attack in build_attacks(attacks) for column in attack.columns())]
    for group in dict.fromkeys(row.get("group", "") for row in study.rows.values()):
        names = [name for name, row in study.rows.items() if row.get("group", "") == group]
        found = {
            study.rows[name].name: [read_report(work_dir / f"seed{seed}" / name) for seed in study.seeds]
            for name in names
        }
        reports = [report for row in found.values() for report in row if report]
        lines += ["", f"## {group}"] if group else []
        lines += ["", explanation(reports[0])] if reports else []
        papers = {study.rows[name].name: paper_row(load_config(study.rows[name].config), attacks) for name in names}
        papers = {name: paper for name, paper in papers.items() if paper}
        lines += ["", summary_table(found, names=columns, paper=papers), "", *remarks(reports)]
        lines += [f"{'##' if not group else '###'} Each seed", "", per_seed(found, columns), ""]
        known += reports
    lines += costs(study, work_dir, arguments.cfg_options)
    if known:
        packages = ", ".join(f"{k} {v}" for k, v in known[0]["provenance"]["packages"].items())
        machine = known[0]["provenance"]
        lines += ["", f"Run on {machine['device']}, {machine['threads']} thread(s); {packages}."]
    return "\n".join(lines) + "\n"


def explanation(report: dict[str, Any]) -> str:
    """What a table shows, from one of its reports."""
    data, chosen = report["settings"]["data"], report["settings"]["selected_on"]
    chosen = "the last epoch's" if chosen.startswith("nothing") else f"chosen on {chosen}"
    if "cell" in report:
        what = f"{'/'.join(report['cell'])} in percent, attacks on {data}; each attack by itself"
    else:
        what = (
            f"Accuracy in percent under {report['threat']} on {data}, success counted at '{report['success']}' step; "
            "the headline is the worst case"
        )
    return f"{what}. The checkpoint is {chosen}; mean and standard deviation over the seeds."


def remarks(reports: list[dict[str, Any]]) -> list[str]:
    """What the reports remark about their set and their attacks, each once."""
    said = [note for report in reports for note in report.get("notes", [])]
    said += [
        f"{', '.join(attack['columns'])}: {note}"
        for report in reports
        if "cell" in report
        for attack in report["attacks"]
        for note in attack["notes"]
    ]
    return [f"Note: {note}.\n" for note in dict.fromkeys(said)]


def per_seed(found: dict[str, list], columns: list[str]) -> str:
    """Each seed's own row."""
    rows = {f"{name}, seed {i}": [report] for name, reports in found.items() for i, report in enumerate(reports)}
    return summary_table(rows, names=columns)


def costs(study: Config, work_dir: Path, options: dict | None) -> list[str]:
    """What each row spent in training (counted) and in judging (measured)."""
    lines = ["## Cost", "", "| | training per image and step | judging, all attacks |", "|---|---:|---:|"]
    for name, row in study.rows.items():
        config = row_config(study, name, work_dir / f"seed{study.seeds[0]}", seed=study.seeds[0], options=options)
        for entry in frozen_models(config):
            entry.clear()
            entry.update(task=config.task, state="random")  # counting needs no weights
        forwards, backwards = build_learner(without_weights(config), seed=0).method.cost()
        report = read_report(work_dir / f"seed{study.seeds[0]}" / name)
        judged = "not run"
        if report:
            total = {
                key: sum(attack[key] for attack in report["attacks"]) for key in ("forwards", "backwards", "seconds")
            }
            judged = f"{total['forwards']} forwards, {total['backwards']} backwards, {duration(total['seconds'])}"
        label = f"{row.group}: {row.name}" if "group" in row else row.name
        lines.append(f"| {label} | {forwards:g} forwards, {backwards:g} backwards | {judged} |")
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
