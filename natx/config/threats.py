"""Options of the threat model at the top of a config, which attacks that name their own do not look at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config

from natx.config.check import ATTACKS, TRAINING, Kind, plain_dict, within
from natx.errors import ConfigError


def check_threat_options(config: Config, options: Iterable[str], *, kind: Kind, path: str | Path) -> None:
    """Raise ConfigError for an option of ``threat`` that does not reach the attacks it seems to be for.

    In a training it stands in for attacks that choose the best epoch or make copies; the method's attack names its own.
    It passes with an option of that one beside it: analyses and exports of the run read it.

    Args:
        config: the config with its options.
        options: their dotted keys.
        kind: what the config is; only trainings and attack configs are looked at.
        path: how messages call it.
    """
    names = [option for option in options if option.partition(".")[0] == "threat"]
    if not names or kind not in (TRAINING, ATTACKS):
        return
    content = plain_dict(config)
    taken = any(isinstance(attack, dict) and attack.get("threat") is None for attack in _attacks(content, kind))
    own = [*_threats(content.get("method"), "method")] if kind is TRAINING else []
    if any(within(option, key) for option in options for key in own) or (taken and not own):
        return
    if own:
        remedy = f"the method trains against the threat model that its attack names: set {' and '.join(own)} as well"
    else:
        remedy = "no attack takes the threat model from there"
    raise ConfigError(f"{path}: the option {names[0]} is not enough: {remedy}")


def _attacks(content: dict[str, Any], kind: Kind) -> list[Any]:
    """The attacks for which the threat model at the top stands in."""
    if kind is ATTACKS:
        return list(content["attacks"])
    copies = (content.get("data") or {}).get("copies") or {}
    return [(content.get("select") or {}).get("attack"), copies.get("attack")]


def _threats(value: Any, key: str) -> Iterator[str]:
    """Dotted keys of the threat models in a config's value, the outermost ones."""
    if isinstance(value, dict) and value.get("threat") is not None:
        yield f"{key}.threat"
        return
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for name, part in parts:
        yield from _threats(part, f"{key}.{name}")
