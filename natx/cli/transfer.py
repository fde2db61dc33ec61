"""Transfer attacks between models: natx transfer CONFIG CHECKPOINT [CONFIG CHECKPOINT ...] --attacks ATTACKS

Every attack is crafted on every model and judged on every model, white-box diagonal included, as a matrix. Models after
--source are crafted on only. Where a transferred attack beats the white-box one, the report says so: the white-box
number is then not to be trusted. Configs are code: run only those you trust.
"""

import argparse
from collections.abc import Sequence

from natx import cli
from natx.errors import ConfigError


def main(words: Sequence[str]) -> None:
    """The command with its arguments."""
    arguments = parse_arguments(words)
    # After the arguments, so that --help and mistakes in them do not wait for torch.
    from mmengine.dist import get_dist_info
    from rich.console import Console

    from natx.config import ATTACKS, load_config
    from natx.judging.transfer import judge_transfer
    from natx.report.transfer import markdown, write_transfer
    from natx.runtime.locks import sole_use
    from natx.runtime.progress import Meter

    device = cli.set_up(arguments)
    first = get_dist_info()[0] == 0
    console = cli.console(quiet=not first)
    if len(arguments.models) % 2:
        raise ConfigError(f"models are pairs CONFIG CHECKPOINT; got {len(arguments.models)} words")
    folder = cli.output_folder(arguments.out)
    with sole_use(folder, work="a transfer matrix"):
        report = judge_transfer(
            list(zip(arguments.models[::2], arguments.models[1::2])),
            load_config(arguments.attacks, kind=ATTACKS),
            sources=[(config, checkpoint) for config, checkpoint in arguments.source],
            device=device,
            ema=arguments.ema,
            options=arguments.cfg_options,
            subset_size=arguments.subset,
            batch_size=arguments.batch_size,
            seed=arguments.seed,
            folder=folder,
            meter=Meter(Console(stderr=True), console.print, enabled=first),
        )
        if first:
            write_transfer(folder, report)
    if first:
        console.print(markdown(report), soft_wrap=True)
        console.print(
            f"written: {folder / 'transfer.md'}, {folder / 'transfer.html'}, {folder / 'transfer.json'}", soft_wrap=True
        )


def parse_arguments(words: Sequence[str]) -> argparse.Namespace:
    """The arguments."""
    parser = cli.parser("transfer", __doc__)
    parser.add_argument("models", nargs="+", metavar="CONFIG CHECKPOINT", help="models to attack, and to craft on")
    parser.add_argument(
        "--source", nargs=2, action="append", default=[], metavar=("CONFIG", "CHECKPOINT"), help="only to craft on"
    )
    parser.add_argument("--ema", action="store_true", help="take the average of the weights that a file holds too")
    parser.add_argument("--attacks", required=True, help="an attack config, e.g. attacks/linf8_quick")
    parser.add_argument("--subset", type=int, metavar="N", help="only N test images (the first, or evenly spaced)")
    parser.add_argument("--batch-size", type=int, default=250, help="images per step (default: 250)")
    parser.add_argument("--out", default="work_dirs/transfer", help="folder of transfer.json, .md and .html")
    cli.add_common_arguments(parser)
    return parser.parse_args(words)
