#!/usr/bin/env python
"""Judge a model: python tools/test.py CONFIG CHECKPOINT --attacks configs/attacks/linf8_table.py [--subset 1000]

CHECKPOINT is a run's best.safetensors or last.safetensors, or upstream weights (timm safetensors, a state dict).
Configs are code: run only those you trust.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from a checkout without installing

from mmengine.dist import get_dist_info  # noqa: E402
from rich.console import Console  # noqa: E402

from natx import cli  # noqa: E402
from natx.config import load_config  # noqa: E402
from natx.evaluation.report import console_table, outcome, write_report  # noqa: E402
from natx.judging import judge  # noqa: E402
from natx.progress import Meter  # noqa: E402


def main() -> None:
    arguments = parse_arguments()
    device = cli.set_up(arguments)
    first = get_dist_info()[0] == 0
    console = cli.console(quiet=not first)
    folder = Path(arguments.out or Path(arguments.checkpoint).parent / f"test-{Path(arguments.attacks).stem}")
    report = judge(
        load_config(arguments.config, options=arguments.cfg_options),
        Path(arguments.checkpoint),
        load_config(arguments.attacks),
        device=device,
        name=arguments.name,
        subset_size=arguments.subset,
        batch_size=arguments.batch_size,
        seed=arguments.seed,
        meter=Meter(Console(stderr=True), console.print, enabled=first),
        pictures=folder,
    )
    if first:
        write_report(folder, report)
        console.print(console_table([report]))
        for note in report.get("notes", []):
            console.print(f"note: {note}")
        for attack in report["attacks"]:
            if measured := outcome(attack):
                console.print(f"{', '.join(attack['columns'])}: {measured}")
            for note in attack["notes"]:
                console.print(f"note ({', '.join(attack['columns'])}): {note}")
        for attack, file in report.get("pictures", {}).items():
            console.print(f"picture ({attack}): {folder / file}", soft_wrap=True)
        console.print(f"written: {folder / 'report.md'}, {folder / 'report.json'}", soft_wrap=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="the training config of the model")
    parser.add_argument("checkpoint", help=".safetensors, or a .pth with tensors only")
    parser.add_argument("--attacks", required=True, help="an attack config, e.g. configs/attacks/linf8_table.py")
    parser.add_argument("--subset", type=int, metavar="N", help="only N test images (the first, or evenly spaced)")
    parser.add_argument("--batch-size", type=int, default=250, help="images per step (default: 250)")
    parser.add_argument("--out", help="folder of report.json and report.md (default: beside the checkpoint)")
    parser.add_argument("--name", help="name of the row in the table (default: the config's name)")
    cli.add_common_arguments(parser)
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main, debug="--debug" in sys.argv)
