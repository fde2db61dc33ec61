"""Conditions of measurement: how a report's numbers were made, and what differs from another's in a few words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from natx.evaluation.robust import CLEAN
from natx.report.cells import setting_text, short

SEED = re.compile(r"\bseed\d+(?=/)")
ASIDE = ("seed",)  # settings of an attack that do not count
NAMED, LONG = 3, 60  # differences of a kind that are named, and letters of the longest one that is told


def conditions(report: dict[str, Any]) -> dict[str, str]:
    """How a report's numbers were measured; a start's seed and the batch size do not count."""
    settings = report["settings"]
    attacks = (
        f"{columns} ({', '.join(f'{key}={value}' for key, value in entries.items())})"
        for columns, entries in _attacks(report).items()
    )
    return {
        "measure": "/".join(report["cell"]) if "cell" in report else "accuracy",
        "threat": str(report["threat"]),
        "data": str(settings.get("data", "unknown")),
        "data fingerprint": str(settings.get("data_fingerprint", "unknown")),
        "images": str(report["images"]) + (f", {report['attacked']} attacked" if "attacked" in report else ""),
        "success": str(report.get("success", "over the set")),
        "worst case only": "yes" if report.get("pool") else "no",
        "precision": str(settings.get("precision", "unknown")),
        "attacks": "; ".join(sorted(attacks)),
    }


def difference(first: dict[str, Any], other: dict[str, Any]) -> str:
    """Which conditions of a report differ from the first's, with both sides where they are short."""
    before, now = conditions(first), conditions(other)
    parts = []
    for key in (key for key in now if now[key] != before[key]):
        both = _other_attacks(first, other) if key == "attacks" else f"{now[key]} instead of {before[key]}"
        parts.append(f"{key} ({both})")
    return ", ".join(parts)


def _attacks(report: dict[str, Any], *, as_shown: bool = False) -> dict[str, dict[str, str]]:
    """What counts of the attacks' settings, by their columns: exact, or as they are shown."""
    settings = {}
    attacks = [attack for attack in report["attacks"] if attack["columns"] != [CLEAN]]
    threats = [str(attack["settings"].get("threat", report["threat"])) for attack in attacks]
    aside = ASIDE if len(set(threats)) > 1 else (*ASIDE, "threat")  # of several, which attack has which
    for attack, threat in zip(attacks, threats):
        texts = {
            key: setting_text(key, value, threat=threat) if as_shown else short(value)
            for key, value in sorted(attack["settings"].items())
            if key not in aside
        }
        # Models that an attack looks at are those of the run's own seed, in folders named after it.
        settings[", ".join(attack["columns"])] = {key: SEED.sub("seed*", value) for key, value in texts.items()}
    return settings


def _other_attacks(first: dict[str, Any], other: dict[str, Any]) -> str:
    """How a report's attacks differ from the first's: missing ones, new ones, and other settings of the same."""
    before, now = _attacks(first, as_shown=True), _attacks(other, as_shown=True)
    missing, new = [name for name in before if name not in now], [name for name in now if name not in before]
    changed: dict[str, list[str]] = {}  # attacks by what differs
    for name in (name for name in now if name in before):
        for key in {**before[name], **now[name]}:
            old, value = before[name].get(key, "none"), now[name].get(key, "none")
            if old != value:
                text = f"{key} {value} instead of {old}"
                changed.setdefault(text if len(text) <= LONG else f"another {key}", []).append(name)
    parts = [f"{word} {_some(names)}" for word, names in (("without", missing), ("with", new)) if names]
    parts += [f"{_some(names)}: {text}" for text, names in list(changed.items())[:NAMED]]
    if len(changed) > NAMED:
        parts.append(f"{len(changed) - NAMED} other settings more")
    return "; ".join(parts) or "in digits that are not shown"


def _some(names: Sequence[str]) -> str:
    """The first few attacks, each with its columns, and how many there are beyond them."""
    more = len(names) - NAMED
    return " / ".join([*names[:NAMED], *([f"{more} more"] if more > 0 else [])])
