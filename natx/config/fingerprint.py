"""Fingerprints: one hash for everything in a config that decides the weights."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from mmengine.config import Config

from natx.config.check import plain_dict
from natx.runtime.files import sha256

# What does not change the weights a training ends with: where and how it runs, and where its data lies (the data's
# content has a fingerprint of its own).
VOLATILE = {
    *("work_dir", "adversary_dir", "launcher", "log_interval", "vis_backends", "num_workers", "paper_row"),
    *("checkpoint_every", "on_device", "shard_optimizer"),
}
VOLATILE_DATA = {"root", "path", "download", "verify", "threads"}


def fingerprint(config: Config | dict[str, Any], *, data: str = "") -> str:
    """Hash (16 hex digits) of everything in the config that decides the weights, and of the data's fingerprint.

    A checkpoint named in the config (an adversary's, the weights to start from) counts by its content, not its path.
    """
    text = json.dumps([essence(config), data], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def essence(config: Config | dict[str, Any]) -> dict[str, Any]:
    """Everything in a config that decides the weights, with the content of the checkpoints that it names."""
    return _essence(plain_dict(config), VOLATILE)


def _essence(node: Any, drop: set[str]) -> Any:
    if isinstance(node, (list, tuple)):
        return [_essence(value, set()) for value in node]
    if not isinstance(node, dict):
        return node
    essence = {}
    for key, value in node.items():
        if key in drop:
            continue
        if key == "checkpoint" and isinstance(value, (str, Path)) and Path(value).exists():
            value = sha256(Path(value))
        inner = VOLATILE_DATA if key in ("train", "test", "generated") else VOLATILE if key == "data" else set()
        essence[key] = _essence(value, inner)
    return essence
