"""Studies: rows of trainings over seeds, trained and judged once each, and shown as Markdown and as a page."""

from natx.study.content import made_by, study_content
from natx.study.figure import draw_figure, draw_plot
from natx.study.plan import describe_study
from natx.study.render import markdown_file, write_study
from natx.study.rows import Judging, Row, Study, load_study
from natx.study.run import run_row, train_row
from natx.study.tables import load_table, printed_row, table_names
from natx.study.trainings import check_rows

__all__ = [
    "Judging",
    "Row",
    "Study",
    "check_rows",
    "describe_study",
    "draw_figure",
    "draw_plot",
    "load_study",
    "load_table",
    "made_by",
    "markdown_file",
    "printed_row",
    "run_row",
    "study_content",
    "table_names",
    "train_row",
    "write_study",
]
