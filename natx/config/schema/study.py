"""What a study config may say, and the data file of the paper's tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from natx.config.schema.section import Section, entry
from natx.config.schema.training import Imports


class StudyRow(Section):
    """`rows.<key>` of a study: a training and what is judged of it."""

    name: str = entry("its name in the table")
    config: str = entry("its training config")
    group: str = entry("the section of the table that it stands in", default="")
    options: dict[str, Any] = entry("overrides of the training config, by dotted key", default={})
    adversary: str | None = entry("the row whose best weights are all its frozen models", default=None)
    checkpoint: Literal["best", "last"] = entry("which of its checkpoints is judged", default="best")
    report: str = entry("folder of the report, in the training's", default="report")
    attack_options: dict[str, Any] = entry("overrides of the attack config, by dotted key", default={})
    note: str = entry("a remark for beneath the table", default="")
    rival: str | None = entry("the row that it is held against image by image, in the table of rivals", default=None)


class JudgedBy(Section):
    """An entry of `attacks` of a study: attacks on a part of the test images; each is a judgement by itself."""

    config: str = entry("the attack config")
    subset: int | None = entry("on so many test images", default=None, gt=0)
    batch_size: int | None = entry("images a step, instead of the study's", default=None, gt=0)


class Sparsity(Section):
    """`sparsity` of a study: what each row's outputs look like beside another row's, clean and under attack."""

    adversary: str = entry("the row that outputs are compared with: the one that nasty terms stay away from")
    images: int = entry("how many test images", default=2000, gt=0)
    temperature: float = entry("of the divergence", default=4.0, gt=0)
    confidence: float = entry("mean confidence at which the entropy of all rows is compared", default=0.5, gt=0, lt=1)


class Plot(Section):
    """`plot` of a study: every training as a point."""

    x: str = entry("a column of the table, or 'minutes' of training")
    y: str = entry("a column of the table")


class Audit(Section):
    """`audit` of a study: the reliability checks on every row."""

    images: int = entry("how many images the checks attack again", default=200, gt=0)
    vanilla: str | None = entry("the row that is trained without defence, for G5", default=None)


class StudyConfig(Section):
    """A study config (natx study)."""

    title: str = entry("heading")
    seeds: Sequence[int] = entry("of every row")
    attacks: str | list[JudgedBy] = entry("the attack config, or several, each on test images of its own number")
    rows: dict[str, StudyRow] = entry("the rows in the order of the table")
    subset: int | None = entry("judge on so many test images, where there is one attack config", default=None, gt=0)
    batch_size: int | None = entry(
        "images a step when rows are judged; over the attack config's, which is over the task's own number",
        default=None,
        gt=0,
    )
    sparsity: Sparsity | None = entry("measure the rows' outputs too", default=None)
    plot: Plot | None = entry("a figure of the trainings", default=None)
    beside: list[Literal["units", "minutes"]] = entry(
        "columns beside each row's name: an image's work in a training step (a forward 1, a backward to pixels 1, to "
        "pixels and weights 2), and the minutes of the training's steps",
        default=[],
    )
    step_times: str | None = entry(
        "results file of `natx bench --only recipe_hours`; where it is there, the minutes of a training are its steps "
        "times the seconds of one, which compare whatever ran beside the trainings",
        default=None,
    )
    audit: Audit | None = entry("run the reliability checks too", default=None)
    custom_imports: Imports | None = entry("modules to import", default=None)


class Scales(Section):
    """Values of a table's full version and of that for CPUs."""

    paper: int | None = entry("of the full version")
    small: int | None = entry("of the version for CPUs")


class OptionsByScale(Section):
    """`attack_options` of a group: overrides of the attack config, by dotted key."""

    paper: dict[str, Any] = entry("of the full version", default={})
    small: dict[str, Any] = entry("of the version for CPUs", default={})


class TableTraining(Section):
    """`paper` or `small` of a row, where it is more than a config's path."""

    config: str = entry("the training config")
    options: dict[str, Any] = entry("overrides of it, by dotted key", default={})


class TableRow(Section):
    """A row of a table of the paper."""

    key: str = entry("its name on the command line")
    name: str = entry("its name in the table")
    cells: list[str] = entry("the paper's numbers as printed, one a column")
    mean: list[str] = entry("the paper's means and deviations", default=[])
    paper: str | TableTraining | None = entry("the full training", default=None)
    small: str | TableTraining | None = entry("the training for CPUs", default=None)
    checkpoint: Literal["best", "last"] | None = entry("the one that it is printed for, if it is one", default=None)
    quoted: bool = entry("the paper quotes it from elsewhere: nothing is run", default=False)
    note: str = entry("a remark for beneath the table", default="")
    x: float | None = entry("its place on the figure's axis", default=None)


class TableGroup(Section):
    """A section of a table."""

    name: str = entry("its heading")
    rows: list[TableRow] = entry("its rows")
    attack_options: OptionsByScale | None = entry("overrides of the attack config", default=None)


class Table(Section):
    """A table of the paper (natx reproduce)."""

    title: str = entry("heading")
    about: str | None = entry("what it asks", default=None)
    seeds: Scales = entry("number of seeds")
    subset: Scales = entry("number of test images; null for all")
    attacks: str | None = entry("the attack config; null where trainings are timed and not judged")
    columns: dict[str, str] = entry("our column by the paper's; `average` is the mean of the others")
    groups: list[TableGroup] = entry("sections")
    plot: str | None = entry("label of the figure's horizontal axis; no figure without", default=None)


class Tables(Section):
    """The data file of `natx reproduce`."""

    tables: dict[str, Table] = entry("tables by name")
    paper: str | None = entry("the paper's title", default=None)
    scales: dict[str, str] = entry("what is to be said of each version", default={})
