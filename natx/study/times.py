"""How long an epoch of a training took, from its logs."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from natx.models.checkpoint import load_state
from natx.models.weights import DONE


def epoch_seconds(folder: Path) -> float | None:
    """Mean seconds that the steps of an epoch took, without choosing and saving the checkpoint.

    Args:
        folder: a training's work dir.

    Returns:
        The mean time of a step in the logs (``vis_data/scalars.json``) times the steps of an epoch; None where the
        training has not finished or wrote no logs.
    """
    if not (folder / DONE).exists() or not (folder / "last.pth").exists():
        return None
    records = [
        json.loads(line)
        for path in sorted(folder.glob("*/vis_data/scalars.json"))
        for line in path.read_text().splitlines()
    ]
    times = [record["time"] for record in records if "time" in record]  # others are scores of held-out images
    meta = load_state(folder / "last.pth")["meta"]
    return statistics.fmean(times) * meta["iter"] / meta["epoch"] if times else None


def epoch_report(folder: Path, column: str) -> dict[str, Any] | None:
    """What a report of attacks is to other studies, with the seconds of an epoch as its only value.

    Args:
        folder: a training's work dir.
        column: the value's name.

    Returns:
        The report; None where there is nothing to read, see :func:`epoch_seconds`.
    """
    seconds = epoch_seconds(folder)
    if seconds is None:
        return None
    provenance = json.loads((folder / DONE).read_text())["provenance"]
    return {
        "cell": [column],
        "columns": [{"name": column, "values": {column: seconds}}],
        "attacks": [],
        "notes": [f"timed on {provenance['device']}, {provenance['threads']} thread(s)"],
        "provenance": provenance,
    }
