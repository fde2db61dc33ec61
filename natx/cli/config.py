"""Show or copy a config with its bases resolved: natx config cls/r18_cifar10_nat [--copy my.py]

The copy needs no other file to be changed and trained: every key of the bases stands in it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from natx import cli
from natx.errors import ConfigError


def main(words: Sequence[str]) -> None:
    """The command with its arguments."""
    arguments = parse_arguments(words)
    # After the arguments, so that --help and mistakes in them do not wait for libraries.
    from natx.config.text import resolved_text
    from natx.runtime.files import write_text

    text = resolved_text(arguments.name)
    if arguments.copy is None:
        cli.write(text.rstrip("\n"))
        return
    out = Path(arguments.copy)
    if out.exists():
        raise ConfigError(f"{out} exists: name another file to copy to")
    if out.suffix != ".py":
        raise ConfigError(f"configs are Python files (.py); got --copy {out}")
    cli.output_folder(out.parent)
    write_text(out, text)
    cli.write(f"written: {out}")


def parse_arguments(words: Sequence[str]) -> argparse.Namespace:
    """The arguments."""
    parser = cli.parser("config", __doc__)
    parser.add_argument("name", help="a config, e.g. cls/r18_cifar10_nat")
    parser.add_argument("--copy", metavar="FILE", help="write it to this file instead of the standard output")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(words)
