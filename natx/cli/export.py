"""Export a classifier: natx export CONFIG CHECKPOINT --out DIR

Writes model.safetensors (upstream keys: loads in plain timm), config.json and a model card, README.md.
Configs are code: run only those you trust.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from natx import cli


def main(words: Sequence[str]) -> None:
    """The command with its arguments."""
    arguments = parse_arguments(words)
    # After the arguments, so that --help and mistakes in them do not wait for torch.
    from natx.config import EXPORTED, load_config
    from natx.export.weights import export

    config = load_config(arguments.config, kind=EXPORTED, options=arguments.cfg_options)
    files = export(config, Path(arguments.checkpoint), cli.output_folder(arguments.out), ema=arguments.ema)
    cli.console().print(f"written: {', '.join(map(str, files))}", soft_wrap=True)


def parse_arguments(words: Sequence[str]) -> argparse.Namespace:
    """The arguments."""
    parser = cli.parser("export", __doc__)
    parser.add_argument("config", help="the training config of the model")
    parser.add_argument("checkpoint", help=".safetensors, or a .pth with tensors only")
    parser.add_argument("--ema", action="store_true", help="take the average of the weights that a file holds too")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--cfg-options", nargs="+", action=cli.Options, help="override config values: key.sub=value")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(words)
