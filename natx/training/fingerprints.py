"""Fingerprints of a training: of the run itself, and of each part of its config."""

from __future__ import annotations

import json
from typing import Any

from mmengine.config import Config

from natx.config import essence, fingerprint, frozen_models, plain_dict
from natx.models.weights import SOURCES, weights_path
from natx.runtime.files import sha256

SHOWN = 60  # letters of a value in an error
ABSENT = object()
# What tells one training from another.
PARTS = ("task", "data", "method", "optim_wrapper", "param_scheduler", "train_cfg")


def part_fingerprints(config: Config) -> dict[str, str]:
    """Fingerprint of each part of a training config that makes its models what they are, whatever its seed.

    Weights that others trained (adversaries, where a network starts from) do not count, and neither do the test images:
    a checkpoint may be judged on others.
    """
    copy = Config(plain_dict(config))
    for entry in frozen_models(copy):
        entry.clear()
    for part, drop in (("data", ("test",)), ("task", SOURCES)):
        for key in drop:
            copy.get(part, {}).pop(key, None)
    return {part: fingerprint({part: copy.get(part)}) for part in PARTS}


def run_fingerprint(config: Config, dataset: Any, generated: Any = None) -> str:
    """Fingerprint of a run: config, data and adversaries, which count by their weights and not by where these lie."""
    copy = Config(plain_dict(config))
    for entry in frozen_models(copy):
        if entry.get("checkpoint") is not None:
            entry["checkpoint"] = sha256(weights_path(entry["checkpoint"]))
    data = dataset.fingerprint() + ("" if generated is None else generated.fingerprint())
    return fingerprint(copy, data=data)


def decisive_settings(config: Config) -> dict[str, Any]:
    """What in a config decides the weights, as plain values; models that others trained count as such, whoever did."""
    copy = Config(plain_dict(config))
    for entry in frozen_models(copy):
        entry.clear()
    return json.loads(json.dumps(essence(copy), default=str))


def differing_keys(there: Any, here: Any, *, key: str = "") -> list[str]:
    """The dotted keys in which two plain configs differ, each with both values: ``seed (0 there, 1 here)``."""
    if isinstance(there, dict) and isinstance(here, dict):
        names = sorted({*there, *here})
        return [
            difference
            for name in names
            for difference in differing_keys(
                there.get(name, ABSENT), here.get(name, ABSENT), key=f"{key}.{name}" if key else name
            )
        ]
    if isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        pairs = enumerate(zip(there, here))
        return [difference for i, (a, b) in pairs for difference in differing_keys(a, b, key=f"{key}.{i}")]
    return [] if there == here else [f"{key} ({_short(there)} there, {_short(here)} here)"]


def _short(value: Any) -> str:
    text = "absent" if value is ABSENT else repr(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."
