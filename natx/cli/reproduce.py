"""Train and judge a table of the paper beside its printed numbers: natx reproduce table2 [--scale small]

TABLE is table1 to table11, figure2, controls or methods. Missing trainings run first, adversaries and teachers with
the same seed, and are shared between rows and tables of one work dir; the best and the last checkpoint are judged.
Finished parts are reused, so a killed run goes on where it was. --report only renders what is there: what has not
been run says so. Keys of rows, for --rows, are in the output of --dry-run.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from natx import cli

TABLES = "configs/paper/tables.json"


def main(words: Sequence[str]) -> None:
    """The command with its arguments."""
    arguments = parse_arguments(words)
    # After the arguments, so that --help and mistakes in them do not wait for torch.
    from mmengine.dist import get_dist_info

    from natx.runtime.stop import stop_requests
    from natx.study import (
        check_rows,
        describe_study,
        draw_figure,
        load_table,
        markdown_file,
        run_row,
        study_content,
        write_study,
    )

    device = cli.set_up(arguments)
    study = load_table(
        arguments.table,
        scale=arguments.scale,
        path=arguments.tables,
        seeds=arguments.seeds,
        attacks=arguments.attacks,
        subset=arguments.subset,
    )
    work_dir = Path(arguments.work_dir)
    out = markdown_file(arguments.out or work_dir / f"{arguments.table}-{arguments.scale}.md")
    options = {"launcher": arguments.launcher, **(arguments.cfg_options or {})}
    rows, seeds = study.chosen(arguments.rows), study.chosen_seeds(arguments.seed)
    first = get_dist_info()[0] == 0
    if arguments.dry_run:
        if first:
            cli.write("\n".join(describe_study(replace(study, seeds=seeds), rows, work_dir, options=options)))
        return
    if not arguments.report:
        check_rows(study, rows, work_dir, options=options)
    with stop_requests():
        for seed in seeds:
            for row in rows if not arguments.report else ():
                run_row(study, row, work_dir, seed=seed, device=device, options=options)
    if first:
        content, picture = study_content(study, work_dir, command=command(arguments), options=options), None
        if study.axis and draw_figure(out.with_suffix(".png"), study, work_dir, options=options):
            picture = out.with_suffix(".png")
        text = write_study(out, content, figure=picture)
        cli.console().print(text, soft_wrap=True)


def command(arguments: argparse.Namespace) -> str:
    """The command line as the Markdown shows it."""
    from natx.study import made_by

    flags = {"--scale": arguments.scale, "--seeds": arguments.seeds, "--subset": arguments.subset}
    flags |= {"--attacks": arguments.attacks, "--tables": None if arguments.tables == TABLES else arguments.tables}
    words = [word for key, value in flags.items() if value is not None for word in (key, str(value))]
    return made_by(cli.program("reproduce"), arguments.table, *words, options=arguments.cfg_options)


def parse_arguments(words: Sequence[str]) -> argparse.Namespace:
    """The arguments."""
    parser = cli.parser("reproduce", __doc__)
    parser.add_argument("table", help="table1 to table11, figure2, controls or methods")
    parser.add_argument("--scale", choices=["paper", "small"], default="paper", help="full configs, or those for CPUs")
    parser.add_argument(
        "--rows", nargs="+", action="extend", metavar="KEY", help="only these rows; * stands for anything: 'cifar10/*'"
    )
    parser.add_argument("--seeds", type=int, metavar="N", help="so many seeds from 0 (default: the table's number)")
    parser.add_argument("--attacks", metavar="CONFIG", help="another attack config, e.g. attacks/linf8_quick")
    parser.add_argument("--subset", type=int, metavar="N", help="judge on N test images (default: the table's number)")
    parser.add_argument("--work-dir", default="work_dirs/paper", help="where to train, for all tables")
    parser.add_argument("--dry-run", action="store_true", help="print what would be trained and its cost, and stop")
    parser.add_argument("--report", action="store_true", help="train nothing, render what is there")
    parser.add_argument(
        "--out", help="the Markdown file (default: <work dir>/<table>-<scale>.md); a page is written beside it"
    )
    parser.add_argument("--tables", default=TABLES, help="the data file with the tables")
    cli.add_common_arguments(parser)
    return parser.parse_args(words)
