"""Attacks by the names that tables use: ``'PGD-20'``, ``'C&W'``, ``'AutoAttack'``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from natx.attacks.base import Attack, build_attack
from natx.config.schema.built import Built
from natx.errors import ConfigError
from natx.registry import ATTACKS, THREATS
from natx.threat import ThreatModel

CW_STEPS = 30
LONGEST = 80  # letters of a value in a message
LIBRARY: dict[str, dict[str, Any]] = {
    "autoattack": dict(type="AutoAttack"),
    "aa": dict(type="AutoAttack"),
    "square": dict(type="Square"),
    "fgsm": dict(type="FGSM"),
    "apgd-ce": dict(type="APGD", loss="ce"),
    "apgd-dlr": dict(type="APGD", loss="dlr"),
}
ADAPTER = "docs/extending.md, 'An attack of another library', makes one of any function from x and y to x_adv"
NAMES = "PGD-K (PGD-20, PGD-10/20/50 for one trajectory), C&W, FGSM, APGD-CE, APGD-DLR, Square, AutoAttack"


def build_named(
    attacks: Sequence[str | dict[str, Any] | Attack] | str | dict[str, Any] | Attack,
    *,
    threat: ThreatModel | dict[str, Any] | None,
    seed: int = 0,
) -> list[Attack]:
    """Attacks from names, configs and attacks.

    Args:
        attacks: one or several. Names: ``PGD-K`` is K steps of eps/4 from a random start, ``PGD-10/20/50`` the same
            with a column each from one trajectory, ``C&W`` 30 such steps on the margin, the others as their classes
            have them.
        threat: threat model of names, and of configs without one of their own.
        seed: seed of names, and of configs without one.

    Raises:
        ConfigError: an unknown name, a config that says what an attack config could not, a name or config without
            threat model, or no attack at all.
    """
    resolved = build_threat(threat)
    built = []
    for place, entry in enumerate(listed(attacks)):
        if isinstance(entry, str):
            entry = _config(entry, resolved)
        elif not isinstance(entry, (dict, Attack)):
            adapter = f": {ADAPTER}" if callable(entry) and not isinstance(entry, type) else ""
            raise ConfigError(f"an attack is a name, dict(type='PGD', ...) or an Attack; got {_short(entry)}{adapter}")
        if isinstance(entry, dict):
            if problems := [f"{key} {text}" for key, text in Built(ATTACKS).problems(entry, f"attacks.{place}")]:
                raise ConfigError(f"an attack's config does not fit: {'; '.join(problems)}")
            entry = {"seed": seed, **entry}
        built.append(build_attack(entry, threat=resolved))
    return built


def listed(attacks: Any) -> list[Any]:
    """One attack, name or config, or several, as a list; raises ConfigError where there is none."""
    one = isinstance(attacks, (str, dict)) or not isinstance(attacks, (Iterable, type(None)))
    several = [attacks] if one else [*(attacks or ())]
    if not several:
        raise ConfigError(f"attacks is empty: name some of {NAMES}")
    return several


def _short(value: Any) -> str:
    """A value in a message; an attack of torchattacks prints all its settings."""
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def build_threat(threat: ThreatModel | dict[str, Any] | None) -> ThreatModel | None:
    """A threat model from its config; raises ConfigError for what is neither."""
    if not isinstance(threat, (ThreatModel, dict, type(None))):
        raise ConfigError(f"a threat model is L2(0.5) of natx.threat, or dict(type='L2', eps=0.5); got {threat!r}")
    return THREATS.build(threat) if isinstance(threat, dict) else threat


def _config(name: str, threat: ThreatModel | None) -> dict[str, Any]:
    plain = name.strip().lower()
    if threat is None:
        raise ConfigError(f"attack {name!r} needs a threat model: give eps=8/255 or threat=L2(0.5)")
    if plain in ("c&w", "cw"):
        return dict(type="PGD", name="C&W", objective=dict(type="Margin"), steps=CW_STEPS)
    if match := re.fullmatch(r"pgd-(\d+(?:/\d+)*)", plain):
        counts = [int(count) for count in match[1].split("/")]
        several = dict(milestones=tuple(counts)) if len(counts) > 1 else {}
        return dict(type="PGD", steps=counts[-1], **several)
    if plain in LIBRARY:
        return dict(LIBRARY[plain])
    raise ConfigError(f"unknown attack {name!r}; known: {NAMES}; anything else as dict(type='PGD', ...) or an Attack")
