#!/usr/bin/env python
"""Measure natx against bare loops and other libraries: python tools/benchmark.py [--only NAME ...] [--device cuda]

Every item is a ratio of two runs taken in turns on the same model and images; the items are in tools/bench_items.
Results are added to --out (JSON) and rendered beside it (.md). Run it on a machine that does nothing else. Peers:
pip install natx[bench]
"""

import argparse
import json
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from a checkout without installing

from natx import cli  # noqa: E402
from natx.errors import ConfigError  # noqa: E402


def main() -> None:
    arguments = parse_arguments()
    # After the arguments, so that --help and mistakes in them do not wait for torch.
    from bench_items import ITEMS, Bench, peak_memory

    from natx.benchmark import add_result, describe, machine_facts, machine_line, read_results, run_item

    for name in ("batch_size", "repeats", "images"):
        if getattr(arguments, name) < 1:
            raise ConfigError(f"--{name.replace('_', '-')} must be at least 1; got {getattr(arguments, name)}")
    if unknown := set(arguments.only or ()) - set(ITEMS):
        raise ConfigError(f"--only takes some of {', '.join(ITEMS)}; got {', '.join(sorted(unknown))}")
    device = cli.set_up(arguments)
    names = ("model", "batch_size", "repeats", "images", "checkpoint")
    bench = Bench(device, **{name: getattr(arguments, name) for name in names})
    if arguments.memory_worker:
        print(json.dumps({"MB": peak_memory(bench, arguments.memory_worker)}))
        return
    out = Path(arguments.out or f"results/benchmark_{device.type}.json")
    read_results(out)  # a bad --out fails now, not after the first item
    facts = machine_facts(device)
    print(machine_line(facts), flush=True)
    command = shlex.join(["python", "tools/benchmark.py", *sys.argv[1:]])
    setting = dict(
        model=bench.model, batch_size=bench.batch_size, threads=facts["threads"], device=str(device), command=command
    )
    for name in [n for n in ITEMS if not arguments.only or n in arguments.only]:
        print(f"{name} ...", flush=True)
        result = run_item(ITEMS[name], bench, {**setting, "machine": facts})
        add_result(out, result, order=list(ITEMS))
        print(f"  {describe(result)}", flush=True)
    print(f"done: {out} and {out.with_suffix('.md')}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these items (an unknown name lists them all)")
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
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main, debug="--debug" in sys.argv)
