#!/usr/bin/env python
"""Measure how often the audit is wrong: python tools/audit_power.py [--out results/audit_power.json] [--work-dir DIR]

Honest nets and masked models are trained on scikit-learn's digits, judged and audited; a seed of honest nets on each of
three code paths of the processor. What is finished is kept in the work dir, one file a model, and not done again.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run from a checkout without installing

# The variables choose the path when torch is loaded, so each runs in a process of its own.
PATHS = ("", "MKL_CBWR=COMPATIBLE", "MKL_CBWR=AVX2 ATEN_CPU_CAPABILITY=default")


def main() -> None:
    arguments = parse_arguments()
    work = Path(arguments.work_dir)
    if arguments.worker is not None:
        run(arguments.worker, work)
        return
    for number, path in enumerate(PATHS):
        variables = dict(pair.split("=") for pair in path.split())
        command = [sys.executable, __file__, "--work-dir", str(work), "--worker", str(number)]
        subprocess.run(command, env={**os.environ, **variables}, check=True)
    render(work, Path(arguments.out))


def run(number: int, work: Path) -> None:
    """All subjects of a path."""
    import torch

    from natx.benchmark.audit_power import measure
    from natx.benchmark.audit_subjects import LATER_SEEDS, honest, masked
    from natx.runtime.files import plain_name, write_json

    torch.set_num_threads(1)
    later = [build for seed in LATER_SEEDS for build in honest(seed)]
    # Shared out so that no architecture and no method has a path to itself.
    turns = ((i + i // len(PATHS) + i // len(PATHS) ** 2) % len(PATHS) for i in range(len(later)))
    builds = [*honest(number), *(build for build, turn in zip(later, turns) if turn == number)]
    builds += [*masked()][number :: len(PATHS)]
    for name, build in builds:
        file = work / f"{plain_name(name)}.json"
        if not file.exists():
            record = measure(build(), path=PATHS[number])
            write_json(file, record)
            print(f"{name}: {record['seconds']} s", flush=True)


def render(work: Path, out: Path) -> None:
    """The records in one file, and the page beside it."""
    from natx.benchmark import machine_facts, machine_line
    from natx.benchmark.audit_power import markdown, settings
    from natx.benchmark.audit_subjects import attacks
    from natx.runtime.device import pick_device
    from natx.runtime.files import read_json, write_text

    records = [read_json(file) for file in sorted(work.glob("*.json"))]
    machine = machine_line(machine_facts(pick_device("cpu")))
    command = shlex.join(["python", "tools/audit_power.py", *sys.argv[1:]])
    facts = {"command": command, "machine": machine, "attacks": settings(attacks())}
    # A record a line: the verdicts are many.
    lines = ",\n".join(json.dumps(record) for record in records)
    write_text(out, f'{json.dumps(facts)[:-1]}, "records": [\n{lines}\n]}}\n')
    write_text(out.with_suffix(".md"), markdown(read_json(out)))
    print(f"done: {out} and {out.with_suffix('.md')}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", default="results/audit_power.json", help="the records; a page (.md) is written beside it"
    )
    parser.add_argument("--work-dir", default="work_dirs/audit_power", help="where finished models are kept")
    parser.add_argument("--worker", type=int, metavar="N", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
