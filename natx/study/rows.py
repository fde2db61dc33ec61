"""What a study is: rows, each a training and what is judged of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal, TypeVar

from mmengine.config import Config

from natx.config import ATTACKS, STUDY, find_file, frozen_models, header, load_config, plain_dict, with_options
from natx.config.text import COMMAND
from natx.errors import ConfigError
from natx.evaluation import CLEAN
from natx.judging.build import build_attacks, paper_row
from natx.training.frozen_models import task_of

Checkpoint = Literal["best", "last"]
Part = TypeVar("Part")
USES = ("adversary", "rival")  # of a row by another


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
        rival: key of the row that it is held against; None for none.
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
    rival: str | None = None

    @property
    def label(self) -> str:
        """The name, after that of its section where it stands in one: sections may have rows of the same names."""
        return f"{self.group}: {self.name}" if self.group else self.name

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


@dataclass(frozen=True)
class Judging:
    """Attacks on a part of the test images: one judgement of a row's weights.

    Attributes:
        attacks: path of the attack config.
        subset: so many test images; None for all.
        batch_size: images a step; None for as many as the attack config or the task says.
    """

    attacks: str
    subset: int | None = None
    batch_size: int | None = None

    @property
    def name(self) -> str:
        """Its folder, where a study has several."""
        return f"{Path(self.attacks).stem}-{self.subset or 'all'}"

    @property
    def images(self) -> str:
        """On which images, in words."""
        return f"{self.subset} test images" if self.subset else "all test images"

    def config(self, row: Row) -> Config:
        """The attack config with a row's options; raises ConfigError where there is none."""
        return with_options(load_config(self.attacks), row.attack_options, kind=ATTACKS)


@dataclass(frozen=True)
class StudySparsity:
    """What is measured of the rows' outputs beside another row's.

    Attributes:
        adversary: key of the row that they are compared with.
        images: so many test images.
        temperature: of the divergence.
        confidence: mean confidence at which entropies are compared.
    """

    adversary: str
    images: int = 2000
    temperature: float = 4.0
    confidence: float = 0.5


@dataclass(frozen=True)
class StudyPlot:
    """A figure with a point for each training.

    Attributes:
        x: a column, or 'minutes' of training.
        y: a column.
    """

    x: str
    y: str


@dataclass
class Study:
    """Rows over seeds.

    Attributes:
        title: its heading.
        about: what it asks, beneath the heading.
        rows: in the order of the table.
        seeds: every row's.
        judgings: what each row is judged by; empty where trainings are not judged but timed.
        columns: columns to print even where nothing has been run.
        average: name of the column with the mean of ``columns``; None for none.
        table: a table of the paper: the cost of training stands beside each row, and frozen models that configs name
            are trained with the run's own seed, in folders beside those of the rows.
        axis: what the horizontal axis of the study's figure is; None for no figure.
        audit: run the reliability checks on every row too; None for no checks.
        sparsity: measure the rows' outputs too; None for not.
        plot: a figure of the trainings; None for none.
        beside: what stands beside each row's name: 'units' of work in a training step, 'minutes' of the training.
        step_times: results file of the benchmark whose steps, where it is there, tell the minutes of the trainings.
    """

    title: str
    about: str
    rows: list[Row]
    seeds: list[int]
    judgings: list[Judging]
    columns: list[str] = field(default_factory=list)
    average: str | None = None
    table: bool = False
    axis: str | None = None
    audit: StudyAudit | None = None
    sparsity: StudySparsity | None = None
    plot: StudyPlot | None = None
    beside: list[str] = field(default_factory=list)
    step_times: Path | None = None

    def missing(self) -> str | None:
        """That an attack config is not there, so that rows can be trained and not judged; None where all are."""
        for judging in self.judgings:
            if find_file(judging.attacks, suffix=".py") is None:
                return f"there is no attack config {judging.attacks}: nothing can be judged"
        return None

    def report_folder(self, row: Row, judging: Judging) -> Path:
        """Where a judgement of a row lies, in its training's folder."""
        return Path(row.report) if len(self.judgings) == 1 else Path(row.report) / judging.name

    def row(self, key: str) -> Row:
        """The first row of a key."""
        return next(row for row in self.rows if row.key == key)

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

    def chosen_seeds(self, seed: int | None) -> list[int]:
        """One of the study's seeds; all for None.

        Raises:
            ConfigError: a seed that is none of them, whose trainings no table would show.
        """
        if seed is not None and seed not in self.seeds:
            raise ConfigError(f"--seed {seed} is none of the study's seeds: {', '.join(map(str, self.seeds))}")
        return list(self.seeds) if seed is None else [seed]


def _columns(attacks: Config) -> list[str]:
    """The columns that an attack config fills; the weights of the models that its attacks look at may be missing."""
    copy = Config(plain_dict(attacks))
    for entry in frozen_models(copy):
        task = task_of(entry)
        entry.clear()
        entry.update(task=task, state="random")
    return [CLEAN, *(column for attack in build_attacks(copy) for column in attack.columns())]


def _section(cls: Callable[..., Part], config: Config, name: str) -> Part | None:
    """A section of a study config; None where it has none."""
    entry = config.get(name)
    return None if entry is None else cls(**plain_dict(entry))


def _judgings(config: Config, path: str | Path) -> list[Judging]:
    """What a study config's ``attacks``, ``subset`` and ``batch_size`` say."""
    subset, size = config.get("subset"), config.get("batch_size")
    if isinstance(config.attacks, str):
        return [Judging(config.attacks, subset, size)]
    if subset is not None:
        raise ConfigError(f"{path}: with several attack configs each has a subset of its own: remove subset={subset}")
    judgings = [
        Judging(entry["config"], entry.get("subset"), entry.get("batch_size") or size)
        for entry in plain_dict(config)["attacks"]
    ]
    if not judgings or len({judging.name for judging in judgings}) < len(judgings):
        raise ConfigError(f"{path}: attacks lists no attack config, or one on the same images twice")
    return judgings


def _check_rows(config: Config, path: str | Path) -> None:
    """Raise ConfigError where a key that is to be a row's is none."""
    uses = {f"the {use} of the row {key}": row.get(use) for key, row in config.rows.items() for use in USES}
    uses["the undefended model of the audit"] = (config.get("audit") or {}).get("vanilla")
    uses["the adversary of the sparsity"] = (config.get("sparsity") or {}).get("adversary")
    for use, key in uses.items():
        if key not in (None, *config.rows):
            raise ConfigError(f"{path}: {use} is {key}, which is no row")
    names = Counter((row.get("group", ""), row["name"]) for row in config.rows.values())
    if twice := [name for (_, name), count in names.items() if count > 1]:
        raise ConfigError(f"{path}: several rows are called {', '.join(twice)}: give each a name of its own")
    if not config.seeds or len({*config.seeds}) < len(config.seeds):
        raise ConfigError(f"{path}: seeds are at least one, each another; got {list(config.seeds)}")


def load_study(path: str | Path) -> Study:
    """The study of a config: ``title``, ``seeds``, ``attacks``, ``rows`` and what else its schema knows.

    Raises:
        ConfigError: missing keys or configs, a name of a row that is none, or checks beside several attack configs.
    """
    config = load_config(path, kind=STUDY)
    _check_rows(config, path)
    judgings = _judgings(config, path)
    attacks = [load_config(judging.attacks, kind=ATTACKS) for judging in judgings]
    rows = []
    for key, row in plain_dict(config)["rows"].items():
        printed = paper_row(load_config(row["config"]), attacks[0])
        rows.append(Row(key, **row, folder=key, printed=[printed] if printed else []))
    audit = _section(StudyAudit, config, "audit")
    if audit is not None and len(judgings) > 1:
        raise ConfigError(f"{path}: the checks compare columns of the same images: give one attack config with audit")
    return Study(
        title=config.title,
        about="\n".join(takewhile(lambda line: not line.startswith(COMMAND), header(Path(config.filename)))),
        rows=rows,
        seeds=list(config.seeds),
        judgings=judgings,
        audit=audit,
        columns=_columns(attacks[0]) if len(judgings) == 1 else [],
        sparsity=_section(StudySparsity, config, "sparsity"),
        plot=_section(StudyPlot, config, "plot"),
        beside=list(config.get("beside", [])),
        step_times=Path(config.step_times) if config.get("step_times") else None,
    )
