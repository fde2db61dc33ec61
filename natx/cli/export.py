"""Export a classifier: natx export CONFIG CHECKPOINT --out DIR [--push owner/name --license ID]

Writes model.safetensors (upstream keys: loads in plain timm), config.json and a model card, README.md; with --push
these go to the Hugging Face hub too, where natx.load("hf-hub:owner/name") and every tool find them.
Configs are code: run only those you trust.
"""

import argparse
from collections.abc import Sequence

from natx import cli
from natx.errors import ConfigError


def main(words: Sequence[str]) -> None:
    """The command with its arguments."""
    arguments = parse_arguments(words)
    # After the arguments, so that --help and mistakes in them do not wait for torch.
    from natx.config import EXPORTED, load_config
    from natx.export.push import check_push, push
    from natx.export.weights import export

    config = load_config(arguments.config, kind=EXPORTED, options=arguments.cfg_options)
    if arguments.push:
        check_push(arguments.push, licence=arguments.license, dry=arguments.dry_run)
    files = export(
        config,
        arguments.checkpoint,
        cli.output_folder(arguments.out),
        ema=arguments.ema,
        repository=arguments.push,
        licence=arguments.license,
    )
    console = cli.console()
    console.print(f"written: {', '.join(map(str, files))}", soft_wrap=True)
    if arguments.dry_run:
        console.print(f"not pushed to {arguments.push}: the same without --dry-run does it", soft_wrap=True)
    elif arguments.push:
        console.print(f"pushed: {push(files, arguments.push, private=arguments.private)}", soft_wrap=True)


def parse_arguments(words: Sequence[str]) -> argparse.Namespace:
    """The arguments."""
    parser = cli.parser("export", __doc__)
    parser.add_argument("config", help="the training config of the model")
    parser.add_argument("checkpoint", help=".safetensors, a .pth with tensors only, hf-hub:owner/name")
    parser.add_argument("--ema", action="store_true", help="take the average of the weights that a file holds too")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--push", metavar="OWNER/NAME", help="a repository of the Hugging Face hub to upload it to")
    parser.add_argument("--license", metavar="ID", help="of the weights, as the hub calls it: apache-2.0, mit, other")
    parser.add_argument("--private", action="store_true", help="with --push: a new repository is private")
    parser.add_argument("--dry-run", action="store_true", help="with --push: write the files, push nothing")
    parser.add_argument("--cfg-options", nargs="+", action=cli.Options, help="override config values: key.sub=value")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    arguments = parser.parse_args(words)
    if not arguments.push and (arguments.private or arguments.dry_run):
        raise ConfigError("--private and --dry-run are for --push owner/name: add it, or leave them out")
    return arguments
