#!/usr/bin/env python
"""All reports below a folder on one page: python tools/leaderboard.py DIR [--out leaderboard.html]

A table that sorts for each way of measuring: accuracies with intervals, checks, cost, and a link to each report.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from a checkout without installing

from natx import cli  # noqa: E402
from natx.errors import ConfigError  # noqa: E402


def main() -> None:
    arguments = parse_arguments()
    # After the arguments, so that --help and mistakes in them do not wait for the libraries.
    from natx.report.leaderboard import leaderboard_page
    from natx.runtime.files import write_text

    folder = Path(arguments.folder)
    out = Path(arguments.out) if arguments.out else folder / "leaderboard.html"
    if out.is_dir() or out.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--out is the page to write, an .html file; got {out}")
    page = leaderboard_page(folder, out=out, title=arguments.title)
    write_text(cli.output_folder(out.parent) / out.name, page)
    cli.console().print(f"written: {out}", soft_wrap=True, markup=False)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="DIR", help="searched for reports with all that is below it")
    parser.add_argument("--out", help="the page (default: DIR/leaderboard.html)")
    parser.add_argument("--title", default="Leaderboard", help="its heading (default: Leaderboard)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main, debug="--debug" in sys.argv)
