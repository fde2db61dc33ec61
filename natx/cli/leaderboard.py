"""All reports below a folder on one page: natx leaderboard DIR [--out leaderboard.html]

A table that sorts for each way of measuring: accuracies with intervals, checks, cost, and a link to each report.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from natx import cli
from natx.errors import ConfigError


def main(words: Sequence[str]) -> None:
    """The command with its arguments."""
    arguments = parse_arguments(words)
    # After the arguments, so that --help and mistakes in them do not wait for the libraries.
    from natx.report.leaderboard import leaderboard_page
    from natx.runtime.files import write_text

    folder = Path(arguments.folder)
    out = Path(arguments.out) if arguments.out else folder / "leaderboard.html"
    if out.is_dir() or out.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--out is the page to write, an .html file; got {out}")
    page = leaderboard_page(folder, out=out, title=arguments.title)
    write_text(cli.output_folder(out.parent) / out.name, page)
    cli.console().print(f"written: {out}", soft_wrap=True)


def parse_arguments(words: Sequence[str]) -> argparse.Namespace:
    """The arguments."""
    parser = cli.parser("leaderboard", __doc__)
    parser.add_argument("folder", metavar="DIR", help="searched for reports with all that is below it")
    parser.add_argument("--out", help="the page (default: DIR/leaderboard.html)")
    parser.add_argument("--title", default="Leaderboard", help="its heading (default: Leaderboard)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(words)
