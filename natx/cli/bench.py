"""Measure natx against bare loops and other libraries: natx bench [--only NAME ...] [--device cuda]

Every item is a ratio of two runs taken in turns on the same model and images; the items are in natx_bench.
Results are added to --out (JSON) and rendered beside it (.md). Run it on a machine that does nothing else. Peers:
pip install natx[bench]
"""

import argparse
import json
import shlex
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from natx import cli
from natx.errors import ConfigError

ITEMS = "natx_bench"  # a package of its own: its items know adapters and other libraries, which natx does not


def main(words: Sequence[str]) -> None:
    """The command with its arguments."""
    arguments = parse_arguments(words)
    # After the arguments, so that --help and mistakes in them do not wait for torch.
    from natx.benchmark import add_result, describe, machine_facts, machine_line, read_results, run_item

    items = import_module(ITEMS)
    for name in ("batch_size", "repeats", "images"):
        if getattr(arguments, name) < 1:
            raise ConfigError(f"--{name.replace('_', '-')} must be at least 1; got {getattr(arguments, name)}")
    if unknown := set(arguments.only or ()) - set(items.ITEMS):
        raise ConfigError(f"--only takes some of {', '.join(items.ITEMS)}; got {', '.join(sorted(unknown))}")
    device = cli.set_up(arguments)
    names = ("model", "batch_size", "repeats", "images", "checkpoint")
    bench = items.Bench(device, **{name: getattr(arguments, name) for name in names})
    if arguments.memory_worker:
        cli.write(json.dumps({"MB": items.peak_memory(bench, arguments.memory_worker)}))
        return
    out = Path(arguments.out or f"results/benchmark_{device.type}.json")
    read_results(out)  # a bad --out fails now, not after the first item
    facts = machine_facts(device)
    cli.write(machine_line(facts))
    command = " ".join([cli.program("bench"), shlex.join(words)]).rstrip()
    setting = dict(
        model=bench.model, batch_size=bench.batch_size, threads=facts["threads"], device=str(device), command=command
    )
    for name in [n for n in items.ITEMS if not arguments.only or n in arguments.only]:
        cli.write(f"{name} ...")
        result = run_item(items.ITEMS[name], bench, {**setting, "machine": facts})
        add_result(out, result, order=list(items.ITEMS))
        cli.write(f"  {describe(result)}")
    cli.write(f"done: {out} and {out.with_suffix('.md')}")


def parse_arguments(words: Sequence[str]) -> argparse.Namespace:
    """The arguments."""
    parser = cli.parser("bench", __doc__)
    parser.add_argument(
        "--only", nargs="+", action="extend", metavar="NAME", help="only these items (an unknown name lists them all)"
    )
    parser.add_argument("--model", default="resnet18_cifar", help="a CIFAR network (default: resnet18_cifar)")
    parser.add_argument("--batch-size", type=int, default=64, help="images a step (default: 64)")
    parser.add_argument("--repeats", type=int, default=7, help="pairs an item (default: 7)")
    parser.add_argument("--images", type=int, default=128, help="images of the columns items (default: 128)")
    parser.add_argument("--checkpoint", help="adversarially trained weights of --model for the columns items")
    parser.add_argument("--out", help="JSON file to add to (default: results/benchmark_<device>.json)")
    cli.add_device_arguments(parser, default="cpu")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument("--memory-worker", help=argparse.SUPPRESS)
    parser.set_defaults(launcher="none")
    return parser.parse_args(words)
