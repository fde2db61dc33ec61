"""Train a model: natx train cls/r18_cifar10_nat [--work-dir DIR] [--resume] [--amp]

Configs are code: run only those you trust.
"""

import argparse
import shlex
from collections.abc import Sequence
from typing import Any

from natx import cli


def main(words: Sequence[str]) -> None:
    """The command with its arguments."""
    arguments = parse_arguments(words)
    # After the arguments, so that --help and mistakes in them do not wait for torch.
    from mmengine.dist import get_dist_info

    from natx.config import TRAINING, load_config, with_options
    from natx.training.plan import describe_plan
    from natx.training.run import train
    from natx.training.start import run_folder

    device = cli.set_up(arguments)
    config = load_config(arguments.config, kind=TRAINING)
    usual_seed = config.seed
    config = with_options(config, overrides(arguments), kind=TRAINING)
    work_dir = cli.output_folder(arguments.work_dir or run_folder(config, usual_seed=usual_seed))
    timing = arguments.dry_run and not arguments.no_timing
    plan = describe_plan(config, work_dir, device=device, timing=timing)
    if get_dist_info()[0] == 0:
        cli.write("\n".join(plan))
    if arguments.dry_run:
        return
    best = train(config, work_dir, device=device, resume=arguments.resume)
    if get_dist_info()[0] == 0:
        judged = shlex.join([arguments.config, str(best)])
        cli.write(f"done: {best}\nnext: {cli.program('test')} {judged} --attacks attacks/...")


def overrides(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the arguments change in the config, by dotted key."""
    options = {**(arguments.cfg_options or {}), "launcher": arguments.launcher}
    options |= {} if arguments.seed is None else {"seed": arguments.seed}
    options |= {"compile": True} if arguments.compile else {}
    return options | ({"amp": "bfloat16"} if arguments.amp else {})


def parse_arguments(words: Sequence[str]) -> argparse.Namespace:
    """The arguments."""
    parser = cli.parser("train", __doc__)
    parser.add_argument("config", help="a training config, e.g. cls/r18_cifar10_nat")
    parser.add_argument(
        "--work-dir",
        help="where to write (default: work_dirs/<config name>, with -seed<N> for another seed)",
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in the work dir, if there is one")
    parser.add_argument("--amp", action="store_true", help="run the whole step, attack included, in bfloat16")
    parser.add_argument("--compile", action="store_true", help="compile the network in place (torch.compile)")
    parser.add_argument("--dry-run", action="store_true", help="build everything, print what it is and costs, and stop")
    parser.add_argument("--no-timing", action="store_true", help="with --dry-run: no timed steps")
    cli.add_common_arguments(parser)
    return parser.parse_args(words)
