"""What the rows of a study spent: training counted in passes and measured in minutes, judging as reports say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from natx.benchmark.training import step_units
from natx.config import with_options
from natx.methods import Method
from natx.report.cells import NOT_RUN
from natx.report.summary import mean_and_deviation
from natx.report.tables import Table, TableRow
from natx.runtime.progress import amount, duration
from natx.study.rows import Row
from natx.study.run import RowReports
from natx.study.trainings import method_of

Report = dict[str, Any]
SPENT = ("training in all", "minutes of training")


class Counted:
    """Passes of a training step, counted once for each config and its options."""

    def __init__(self, options: dict[str, Any] | None) -> None:
        self.options: dict[str, Any] = options or {}
        self.methods: dict[tuple[str | None, str], Method] = {}

    def __call__(self, row: Row) -> tuple[float, float]:
        """(forwards, backwards) per image and step."""
        return self.method(row).cost()

    def units(self, row: Row) -> float:
        """An image's work in a step."""
        return step_units(self.method(row))

    def method(self, row: Row) -> Method:
        """The method of a row's training."""
        key = (row.config, repr(row.options))
        if key not in self.methods:
            self.methods[key] = method_of(with_options(row.load(), {**row.options, **self.options}))
        return self.methods[key]


def costs_table(rows: Sequence[RowReports], *, counted: Counted) -> Table:
    """What each row spent in training (counted) and in judging (measured, with the first seed)."""
    lines = []
    for one in rows:
        row = one.row
        if row.config is None:
            continue
        forwards, backwards = counted(row)
        training = f"{amount(forwards)} forwards, {amount(backwards)} backwards"
        lines.append(TableRow([row.label, training, *_spent(one, forwards, backwards), _judging(one.reports)]))
    head = ["", "training per image and step", *SPENT, "judging, all attacks"]
    measured = [any(row.cells[place] for row in lines) for place in range(len(head))]  # old reports say nothing of it
    lines = [TableRow([cell for cell, shown in zip(row.cells, measured) if shown]) for row in lines]
    clocks = {
        report["training"]["clock"] for one in rows for report in one.reports if report and report.get("training")
    }
    caption = "Training is counted; judging is measured with the first seed"
    caption += f"; minutes are of the steps alone, {' or '.join(sorted(clocks))}" if clocks else ""
    return Table([name for name, shown in zip(head, measured) if shown], lines, caption=caption)


def _spent(one: RowReports, forwards: float, backwards: float) -> list[str]:
    """What a row's trainings took in all, one training each: passes of one image, and minutes, mean and deviation."""
    spent = [report["training"] for report in one.reports if report and report.get("training")]
    if not spent:
        return ["", ""]
    images = spent[0]["images"] / 1e6
    passes = f"{images * forwards:.3g} M forwards, {images * backwards:.3g} M backwards"
    return [passes, minutes(one)]


def minutes(one: RowReports) -> str:
    """Minutes of a row's trainings, mean and deviation; empty where reports do not say."""
    spent = [report["training"]["minutes"] for report in one.reports if report and report.get("training")]
    return mean_and_deviation(spent) if spent else ""


def _judging(reports: Sequence[Report | None]) -> str:
    """What judging cost, with the first seed that was judged."""
    report = next(filter(None, reports), None)
    if report is None:
        return NOT_RUN
    if not report["attacks"]:
        return "none"
    total = {key: sum(attack[key] for attack in report["attacks"]) for key in ("forwards", "backwards", "seconds")}
    return f"{total['forwards']} forwards, {total['backwards']} backwards, {duration(total['seconds'])}"
