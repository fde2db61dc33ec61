"""What NAT is to be compared with: the same training without the nasty term."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from natx.config import TRAINING, load_config, plain_dict


def without_nasty_term(file: str | Path) -> dict[str, Any]:
    """The content of a NAT config, which sees clean images too, less the nasty term: the task's own loss is left."""
    content = plain_dict(load_config(file, kind=TRAINING))
    content.pop("_adversary", None)  # a name that the term alone reads
    loss, term = content["method"].pop("terms")
    assert (loss, term["type"]) == ({"type": "TaskLoss"}, "NastyKL")
    assert [*content["method"]["views"]] == ["clean", "adv"]
    return content
