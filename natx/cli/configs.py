"""List the shipped configs: natx configs [PATTERN]

PATTERN is part of a name, or has * for anything: natx configs r18_cifar10, natx configs 'cls/*_nat'. Each name can be
given to natx train, natx test --attacks, natx study or natx config.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from fnmatch import fnmatchcase

from natx import cli
from natx.errors import ConfigError


def main(words: Sequence[str]) -> None:
    """The command with its arguments."""
    arguments = parse_arguments(words)
    # After the arguments, so that --help and mistakes in them do not wait for libraries.
    from natx.config import header, shipped_configs

    pattern = arguments.pattern if "*" in arguments.pattern else f"*{arguments.pattern}*"
    files = {name: file for name, file in shipped_configs().items() if fnmatchcase(name, pattern)}
    if not files:
        raise ConfigError(f"no shipped config matches {arguments.pattern!r}: natx configs lists them all")
    width = max(map(len, files))
    cli.write("\n".join(f"{name:<{width}}  {(header(file) or [''])[0]}".rstrip() for name, file in files.items()))


def parse_arguments(words: Sequence[str]) -> argparse.Namespace:
    """The arguments."""
    parser = cli.parser("configs", __doc__)
    parser.add_argument("pattern", nargs="?", default="", help="part of a name, or with * for anything (default: all)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(words)
