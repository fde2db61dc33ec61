#!/usr/bin/env python
"""Check a GPU in a few minutes: python tools/gpu_check.py [--device cuda] [--tiny]

One training step and one judged batch of each task on the device and on the CPU, the benchmark's ratios, seconds an
epoch of ResNet-18 with single-step and with PGD-10 NAT, and what refilled batches save. Prints one table and writes it
as JSON and Markdown. --tiny takes small networks and few images, to see that the checks work: any device will do.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from a checkout without installing

from natx import cli  # noqa: E402

MINUTES = 8


def main() -> None:
    arguments = parse_arguments()
    # After the arguments, so that --help and mistakes in them do not wait for torch.
    from natx.benchmark import machine_facts, machine_line
    from natx.errors import ConfigError
    from natx.report.tables import Table, TableRow
    from natx.runtime.files import write_json, write_text
    from natx_bench.device_checks import run_checks

    device = cli.set_up(arguments)
    if device.type == "cpu" and not arguments.tiny:
        raise ConfigError("there is no GPU here: --device cpu --tiny runs the checks themselves on small networks")
    out = Path(arguments.out or f"results/gpu_check_{device.type}.json")
    if out.suffix != ".json":
        raise ConfigError(f"--out ends with .json (the table gets the same name with .md); got {out}")
    facts, begun = machine_facts(device), time.monotonic()
    setting = dict(model="", batch_size=0, threads=facts["threads"], device=str(device), command="", machine=facts)
    lines = run_checks(device, tiny=arguments.tiny, seconds=60 * arguments.minutes, setting=setting)
    seconds = round(time.monotonic() - begun, 1)
    met = {True: "yes", False: "NO", None: ""}
    table = Table(
        ["", "found", "wanted", "met"],
        [TableRow([line["check"], line["value"], line["wanted"], met[line["met"]]]) for line in lines],
        words=(0, 1, 2, 3),
    )
    text = "\n".join(["# GPU check", "", machine_line(facts), "", *table.markdown(), "", f"Took {seconds:.0f} s.", ""])
    write_json(out, {"machine": facts, "tiny": arguments.tiny, "seconds": seconds, "lines": lines})
    write_text(out.with_suffix(".md"), text)
    cli.console().print(text, markup=False, soft_wrap=True)
    if any(line["met"] is False for line in lines):
        raise ConfigError(f"not everything is as wanted: see the lines with NO in {out.with_suffix('.md')}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="small networks and few images")
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"begin no check after (default: {MINUTES})")
    parser.add_argument("--out", help="JSON file (default: results/gpu_check_<device>.json)")
    cli.add_device_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(launcher="none")
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main, debug="--debug" in sys.argv)
