#!/usr/bin/env python
"""The whole chain on real images in a few minutes: python tools/demo.py (or `make demo`)

Trains the vanilla adversary, adversarial training on the union and NAT on scikit-learn's digits, judges all three on
clean, PGD-10/20/50/100, C&W and standard AutoAttack, and prints the table. Safe to repeat: finished parts are reused.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from a checkout without installing

from rich.console import Console  # noqa: E402

from natx import cli  # noqa: E402
from natx.config import load_config  # noqa: E402
from natx.evaluation.report import console_table, markdown_table, write_report  # noqa: E402
from natx.files import write_text  # noqa: E402
from natx.judging import judge  # noqa: E402
from natx.progress import Meter, duration  # noqa: E402
from natx.training import train_once  # noqa: E402

ROWS = {
    "Vanilla": "configs/cls/digits_vt.py",
    "PGD-AT (union)": "configs/cls/digits_pgd_at.py",
    "NAT": "configs/cls/digits_nat.py",
}
ATTACKS = "configs/attacks/digits_table.py"


def main() -> None:
    arguments = parse_arguments()
    device = cli.set_up(arguments)
    console, start = cli.console(), time.monotonic()
    out = Path(arguments.work_dir)
    reports = []
    for name, path in ROWS.items():
        config = load_config(
            path, options={"log_interval": 1000, "adversary_dir": str(out), "seed": arguments.seed or 0}
        )
        # Trained where an adversary would be, so that NAT finds the vanilla model there and reuses it.
        best = train_once(config, out, device=device) / "best.safetensors"
        report = judge(
            config,
            best,
            load_config(ATTACKS),
            device=device,
            name=name,
            meter=Meter(Console(stderr=True), console.print),
        )
        write_report(best.parent / "test-digits_table", report)
        reports.append(report)
    console.print(console_table(reports))
    write_text(out / "table.md", markdown_table(reports) + "\n")
    console.print(f"reports: {out}/*/test-digits_table/report.md, table: {out}/table.md", soft_wrap=True)
    console.print(f"took {duration(time.monotonic() - start)}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work-dir", default="work_dirs/demo", help="where to write (default: work_dirs/demo)")
    cli.add_common_arguments(parser)
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main, debug="--debug" in sys.argv)
