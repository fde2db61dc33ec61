"""Studies: rows of trainings over seeds, trained and judged once each, and rendered as Markdown."""

from natx.study.figure import draw_figure
from natx.study.plan import describe_study
from natx.study.render import made_by, render
from natx.study.rows import Row, Study, load_study
from natx.study.run import run_row
from natx.study.tables import load_table, printed_row, table_names

__all__ = [
    "Row",
    "Study",
    "describe_study",
    "draw_figure",
    "load_study",
    "load_table",
    "made_by",
    "printed_row",
    "render",
    "run_row",
    "table_names",
]
