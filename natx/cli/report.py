"""Compare runs and seeds on one page: natx report RUN_A RUN_B ... [--out compare.html]

Each RUN is a folder with a report.json, as natx test writes it, or that file. Runs of the same training are seeds
of one row; runs that were measured differently get tables of their own.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from natx import cli
from natx.errors import ConfigError

PAGES = (".html", ".htm")  # what may be overwritten


def main(words: Sequence[str]) -> None:
    """The command with its arguments."""
    arguments = parse_arguments(words)
    # After the arguments, so that --help and mistakes in them do not wait for the libraries.
    from natx.report.compare import compare, read_runs
    from natx.report.comparison_page import comparison_page
    from natx.runtime.files import write_text

    out = page_file(Path(arguments.out))
    tables = compare(read_runs([Path(path) for path in arguments.runs]))
    text = comparison_page(tables, title=arguments.title)
    write_text(out, text)
    console = cli.console()
    for table in tables:
        if table.reason:
            console.print(f"a table of its own: {table.reason}", soft_wrap=True)
        for note in table.notes:
            console.print(f"note: {note}", soft_wrap=True)
    console.print(f"written: {arguments.out}", soft_wrap=True)


def page_file(out: Path) -> Path:
    """The page to write, asked before anything is read: neither a folder nor a file of another kind."""
    cli.output_folder(out.parent)
    if out.is_dir():
        raise ConfigError(f"--out is the page to write; {out} is a folder: name a file, such as {out / 'compare.html'}")
    if out.exists() and out.suffix.lower() not in PAGES:
        raise ConfigError(f"--out is the page to write; {out} exists and is no {PAGES[0]} file: name another")
    return out


def parse_arguments(words: Sequence[str]) -> argparse.Namespace:
    """The arguments."""
    parser = cli.parser("report", __doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a folder with a report.json, or that file")
    parser.add_argument("--out", default="compare.html", help="the page (default: compare.html)")
    parser.add_argument("--title", default="Comparison", help="its heading (default: Comparison)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(words)
