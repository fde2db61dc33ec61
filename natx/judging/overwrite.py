"""Results that lie where others are to be written: those of another question are never overwritten."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from natx.errors import ConfigError
from natx.runtime.files import read_json

REPORT = ("checkpoint_sha256", "weights", "data", "images_fingerprint", "attack_config", "threat")


def keep_others(path: Path, question: dict[str, Any], *, stored: Callable[[Any], dict[str, Any]], option: str) -> None:
    """Raise ConfigError where a file holds the results of another question than the one to be asked.

    Args:
        path: the results' JSON file, which need not exist.
        question: what is to be asked: the model's weights, the images, the attacks.
        stored: the same of the content of such a file; entries that it lacks are not compared.
        option: how another place is named, for the message.

    Raises:
        ConfigError: the first entry that differs.
    """
    if not path.exists():
        return
    try:
        there = _plain(stored(read_json(path)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} holds something else: name another place by {option}, or remove it") from error
    for key, value in _plain(question).items():
        if key in there and there[key] != value:
            raise ConfigError(
                f"{path} holds the result of another {key.replace('_', ' ')} ({_short(there[key])} there, "
                f"{_short(value)} now): name another place by {option}, or remove it"
            )


def keep_other_reports(folder: Path, settings: dict[str, Any], *, threat: str) -> None:
    """:func:`keep_others` for the report of a judgement."""

    def stored(report: dict[str, Any]) -> dict[str, Any]:
        everything = {**report["settings"], "threat": report["threat"]}
        return {key: everything[key] for key in REPORT if key in everything}

    question = {key: value for key, value in {**settings, "threat": threat}.items() if key in REPORT}
    keep_others(folder / "report.json", question, stored=stored, option="--out")


def _plain(value: Any) -> Any:
    """A value as a JSON file gives it back."""
    return json.loads(json.dumps(value))


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:16]}..."
