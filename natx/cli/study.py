"""Train and judge every row of a study over its seeds: natx study studies/cifar10_small

Finished parts are reused, so a killed study goes on where it was; --report only renders what is there, and
--train-only leaves the judging for a later call, so that all rows are trained first.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from natx import cli


def main(words: Sequence[str]) -> None:
    """The command with its arguments."""
    arguments = parse_arguments(words)
    # After the arguments, so that --help and mistakes in them do not wait for torch.
    from mmengine.dist import get_dist_info

    from natx.runtime.stop import stop_requests
    from natx.study import (
        check_rows,
        draw_plot,
        load_study,
        made_by,
        markdown_file,
        run_row,
        study_content,
        train_row,
        write_study,
    )

    device, study = cli.set_up(arguments), load_study(arguments.study)
    work_dir = Path(arguments.work_dir or Path("work_dirs") / Path(arguments.study).stem)
    out = markdown_file(arguments.out or work_dir / "study.md")
    options = {"launcher": arguments.launcher, **(arguments.cfg_options or {})}
    rows, seeds = study.chosen(arguments.rows), study.chosen_seeds(arguments.seed)
    do = train_row if arguments.train_only else run_row
    if not arguments.report:
        check_rows(study, rows, work_dir, options=options)
    with stop_requests():
        for seed in seeds:
            for row in rows if not arguments.report else ():
                do(study, row, work_dir, seed=seed, device=device, options=options)
    if get_dist_info()[0] == 0:
        command = made_by(cli.program("study"), arguments.study, options=arguments.cfg_options)
        content = study_content(study, work_dir, command=command, options=options)
        picture = out.with_suffix(".png")
        drawn = study.plot is not None and draw_plot(picture, study, work_dir, options=options)
        text = write_study(out, content, figure=picture if drawn else None)
        cli.console().print(text, soft_wrap=True)


def parse_arguments(words: Sequence[str]) -> argparse.Namespace:
    """The arguments."""
    parser = cli.parser("study", __doc__)
    parser.add_argument("study", help="a study config, e.g. studies/cifar10_small")
    parser.add_argument("--work-dir", help="where to train (default: work_dirs/<study name>)")
    parser.add_argument("--rows", nargs="+", action="extend", help="only these rows")
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--train-only", action="store_true", help="train what is missing, judge nothing yet")
    part.add_argument("--report", action="store_true", help="train nothing, render what is there")
    parser.add_argument("--out", help="the Markdown file (default: <work dir>/study.md); a page is written beside it")
    cli.add_common_arguments(parser)
    return parser.parse_args(words)
