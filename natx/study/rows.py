"""What a study is: rows, each a training and what is judged of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from mmengine.config import Config

from natx.config import ATTACKS, STUDY, find_file, frozen_models, load_config, plain_dict, with_options
from natx.errors import ConfigError
from natx.evaluation import CLEAN
from natx.judging.build import build_attacks, paper_row
from natx.training.frozen_models import task_of

Checkpoint = Literal["best", "last"]


@dataclass
class Row:
    """One line of a study's table.

    Attributes:
        key: its name on the command line; rows of one training may share it.
        name: its name in the table.
        config: the training config; None where natx runs nothing, for the ``reason`` given.
        folder: where it trains, below the seed's folder; rows of one folder are one training.
        group: the section that it stands in.
        options: overrides of the training config.
        adversary: key of the row whose best weights are all its frozen models; None for those that its config names.
        checkpoint: which of the training's checkpoints is judged.
        report: folder of the report, in the training's.
        attack_options: overrides of the attack config.
        printed: the paper's lines for it (``name``, and ``cells``: text by column), shown beneath.
        reason: shown where nothing is run: 'quoted', 'no small version'.
        note: a remark for beneath the table.
        x: its place on the horizontal axis of the study's figure.
    """

    key: str
    name: str
    config: str | None
    folder: str = ""
    group: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    adversary: str | None = None
    checkpoint: Checkpoint = "best"
    report: str = "report"
    attack_options: dict[str, Any] = field(default_factory=dict)
    printed: list[dict[str, Any]] = field(default_factory=list)
    reason: str = "quoted"
    note: str = ""
    x: float | None = None

    def load(self) -> Config:
        """The training config without the row's options; raises ConfigError where natx runs nothing."""
        if self.config is None:
            raise ConfigError(f"{self.name} is not run here ({self.reason}): choose other rows")
        return load_config(self.config)


@dataclass(frozen=True)
class StudyAudit:
    """The reliability checks of a study's rows.

    Attributes:
        images: how many images the checks attack again.
        vanilla: key of a row that is trained without defence, for G5; None for none.
    """

    images: int = 200
    vanilla: str | None = None


@dataclass
class Study:
    """Rows over seeds.

    Attributes:
        title: its heading.
        about: what it asks, beneath the heading.
        rows: in the order of the table.
        seeds: every row's.
        attacks: path of the attack config; None where trainings are not judged but timed.
        subset: judge on so many test images; None for all.
        columns: columns to print even where nothing has been run.
        average: name of the column with the mean of ``columns``; None for none.
        table: a table of the paper: the cost of training stands beside each row, and frozen models that configs name
            are trained with the run's own seed, in folders beside those of the rows.
        axis: what the horizontal axis of the study's figure is; None for no figure.
        audit: run the reliability checks on every row too; None for no checks.
    """

    title: str
    about: str
    rows: list[Row]
    seeds: list[int]
    attacks: str | None
    subset: int | None = None
    columns: list[str] = field(default_factory=list)
    average: str | None = None
    table: bool = False
    axis: str | None = None
    audit: StudyAudit | None = None

    def missing(self) -> str | None:
        """That the attack config is not there, so that rows can be trained and not judged; None where it is."""
        if self.attacks is None or find_file(self.attacks, suffix=".py") is not None:
            return None
        return f"there is no attack config {self.attacks}: nothing can be judged"

    def attack_config(self, row: Row) -> Config:
        """The attack config with the row's options; raises ConfigError where there is none."""
        if self.attacks is None:
            raise ConfigError(f"{self.title} is timed, not judged: it has no attack config")
        return with_options(load_config(self.attacks), row.attack_options, kind=ATTACKS)

    def chosen(self, patterns: Sequence[str] | None) -> list[Row]:
        """The rows whose keys match one of some patterns (``*`` stands for anything); all for None.

        Raises:
            ConfigError: a pattern that no row matches.
        """
        for pattern in patterns or ():
            if not any(fnmatchcase(row.key, pattern) for row in self.rows):
                keys = ", ".join(dict.fromkeys(row.key for row in self.rows))
                raise ConfigError(f"no row is called {pattern}; the rows are {keys}")
        return [row for row in self.rows if patterns is None or any(fnmatchcase(row.key, p) for p in patterns)]


def _columns(attacks: Config) -> list[str]:
    """The columns that an attack config fills; the weights of the models that its attacks look at may be missing."""
    copy = Config(plain_dict(attacks))
    for entry in frozen_models(copy):
        task = task_of(entry)
        entry.clear()
        entry.update(task=task, state="random")
    return [CLEAN, *(column for attack in build_attacks(copy) for column in attack.columns())]


def _audit(config: Config, path: str | Path) -> StudyAudit | None:
    """A study config's ``audit``."""
    if (entry := config.get("audit")) is None:
        return None
    audit = StudyAudit(**plain_dict(entry))
    if audit.vanilla not in (None, *config.rows):
        raise ConfigError(f"{path}: the undefended model of the audit is {audit.vanilla}, which is no row")
    return audit


def load_study(path: str | Path) -> Study:
    """The study of a config (``title``, ``seeds``, ``attacks``, ``rows`` and optionally ``subset`` and ``audit``).

    Raises:
        ConfigError: missing keys or configs, or a row whose adversary, or an audit whose undefended model, is no row.
    """
    config = load_config(path, kind=STUDY)
    attacks = load_config(config.attacks, kind=ATTACKS)
    rows = []
    for key, row in plain_dict(config)["rows"].items():
        if row.get("adversary", key) not in config.rows:
            raise ConfigError(f"{path}: the adversary of the row {key} is {row['adversary']}, which is no row")
        printed = paper_row(load_config(row["config"]), attacks)
        rows.append(Row(key, **row, folder=key, printed=[printed] if printed else []))
    audit = _audit(config, path)
    header = Path(config.filename).read_text().split("# Command:")[0].splitlines()
    return Study(
        title=config.title,
        about="\n".join(line.lstrip("# ") for line in header),
        rows=rows,
        seeds=list(config.seeds),
        attacks=config.attacks,
        subset=config.get("subset"),
        audit=audit,
        columns=_columns(attacks),
    )
