"""The speed record: minutes of training and what AutoAttack leaves, method by method, as results/speed.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from natx.benchmark import Measured, NotRun
from natx.errors import DataError
from natx.study import load_study, made_by, run_row, study_content, write_study
from natx.study.figure import draw_plot
from natx_bench.common import Bench, item

STUDY, WORK, OUT = "configs/studies/speed.py", Path("work_dirs/cifar10_full"), Path("results/speed.md")


def record(bench: Bench) -> list[dict[str, Any]]:
    """Train and judge what is missing of the study, write its page, and give its table as rows."""
    study = load_study(STUDY)
    for row in study.rows:
        run_row(study, row, WORK, seed=study.seeds[0], device=bench.device, options=None)
    content = study_content(study, WORK, command=made_by("natx study", STUDY, "--out", str(OUT), options=None))
    picture = OUT.with_suffix(".png")
    drawn = draw_plot(picture, study, WORK)
    write_study(OUT, content, figure=picture if drawn else None)
    table = content.groups[0].table
    return [dict(zip(["method", *table.head[1:]], line.cells)) for line in table.rows]


@item("speed_record", a="minutes of training", b="accuracy under AutoAttack", setting=dict(model="resnet20_cifar"))
def speed_record(bench: Bench) -> Measured:
    try:
        return Measured(None, details={"page": str(OUT), "study": STUDY, "methods": record(bench)})
    except DataError as reason:
        raise NotRun(f"the speed record needs CIFAR-10: {reason}") from reason
