"""A config against its schema: every problem is one line that names the key, before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mmengine.config import Config

from natx.config.schema.attacks import AttackConfig
from natx.config.schema.section import MISSING, Problem, Section, section_problems, unread
from natx.config.schema.study import StudyConfig, Tables
from natx.config.schema.training import Training
from natx.errors import ConfigError

SHOWN = 3  # problems in one message
NEAR = 0.8  # how much a variable of a config's own may look like a key


@dataclass(frozen=True)
class Kind:
    """A kind of config, or a use of one.

    Attributes:
        use: what is done with it, for messages.
        schema: what it may say.
        needs: dotted keys that must be there; None for all that the schema requires.
        reads: dotted keys that the use looks at, with what is below them; None for all.
        hint: how what it does not read is given instead.
    """

    use: str
    schema: type[Section]
    needs: tuple[str, ...] | None = None
    reads: tuple[str, ...] | None = None
    hint: str = ""


TRAINING = Kind("training", Training)
JUDGED = Kind(
    "judging",
    Training,
    ("task", "data.test"),
    ("task", "data.test", "metric", "paper_row"),
    "; attacks are those of --attacks, at the radius of --eps where one is given",
)
CRAFTED = Kind("transfer", Training, ("task", "data.test"), ("task", "data.test"))
ANALYSED = Kind("analysis", Training, ("task", "data"), ("task", "data", "method", "threat"))
EXPORTED = Kind("export", Training, ("task",), ("task", "data", "method", "threat"))
MODEL = Kind("building a model", Training, ("task",))  # its options are those of the training that made it
ATTACKS = Kind("attacks", AttackConfig)
STUDY = Kind("a study", StudyConfig)
PAPER_TABLES = Kind("tables", Tables)


def check(config: Config | dict[str, Any], kind: Kind, *, path: str | Path | None = None) -> None:
    """Raise ConfigError where a config says what its schema does not know, or lacks what its use needs.

    Variables of the config's own are allowed at its top level, unless their names are nearly keys.

    Args:
        config: the config.
        kind: what it is to be.
        path: how messages call it (default: its file).
    """
    name = path or getattr(config, "filename", None) or "config"
    if not isinstance(config, dict | Config):
        raise ConfigError(f"{name} should be a dict; got {config!r}")
    content = plain_dict(config)
    known, refused = list(kind.schema.model_fields), kind.schema.refused
    problems = [(key, refused[key]) for key in content if key in refused]
    problems += [(key, unread(key, known)) for key in content if key not in known and _nearly(key, known)]
    found = section_problems(kind.schema, {key: value for key, value in content.items() if key in known})
    problems += [problem for problem in found if problem[1] != MISSING]
    missing = [key for key, text in found if text == MISSING]
    if kind.needs is not None:
        missing = [key for key in kind.needs if not _has(content, key)]
    lacking = f"{name} lacks {', '.join(missing)}: is it the right kind of config?"
    if len([key for key in missing if key in kind.schema.model_fields]) > 1:  # another kind of file: no use in more
        raise ConfigError(lacking)
    if problems:
        raise ConfigError(f"{name}: {_sentence(problems)}")
    if missing:
        raise ConfigError(lacking)


def check_options(options: Iterable[str], kind: Kind, *, path: str | Path) -> None:
    """Raise ConfigError for an option (a dotted key) that nothing reads, whatever the config says there."""
    known = list(kind.schema.model_fields)
    for option in options:
        first = option.partition(".")[0]
        if first in kind.schema.refused:
            raise ConfigError(f"{path}: the option {option} {kind.schema.refused[first]}")
        if first not in known:
            raise ConfigError(f"{path}: the option {option} {unread(first, known)}")
        if kind.reads is not None and not any(within(option, key) for key in kind.reads):
            raise ConfigError(
                f"{path}: the option {option} is read by nothing in {kind.use}, which reads {', '.join(kind.reads)}"
                f"{kind.hint}"
            )


def plain_dict(config: Config | dict[str, Any]) -> dict[str, Any]:
    """The config as plain dicts and lists."""
    return config.to_dict() if isinstance(config, Config) else dict(config)


def _nearly(key: str, known: list[str]) -> bool:
    return bool(get_close_matches(key, known, n=1, cutoff=NEAR))


def _sentence(problems: list[Problem]) -> str:
    more = len(problems) - SHOWN
    rest = [f"and {more} more"] if more > 0 else []
    return "; ".join([*(f"{key} {text}" for key, text in problems[:SHOWN]), *rest])


def _has(content: Any, key: str) -> bool:
    first, _, rest = key.partition(".")
    return isinstance(content, dict) and content.get(first) is not None and (not rest or _has(content[first], rest))


def within(option: str, key: str) -> bool:
    """Whether an option sets a key, what is below it, or what it is part of."""
    return f"{option}.".startswith(f"{key}.") or f"{key}.".startswith(f"{option}.")
