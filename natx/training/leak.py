"""Test images that are training images: what is measured on them is no test."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from typing import Any

from mmengine.config import Config

from natx.config import plain_dict
from natx.data import build_dataset
from natx.data.base import InMemory
from natx.errors import UserError

LEARNED_TESTS = "learned_tests"  # of a checkpoint's meta


def learned_tests(config: Config, whole: Any) -> dict[str, dict[str, int]]:
    """How many ``images`` ``of`` a config's test set are training images, as an entry of a checkpoint's meta.

    By their files, or by their pixels where the images are in memory; nothing where no image is, or where the test set
    cannot be read here.

    Args:
        config: a training config.
        whole: its training images, those that are held out among them.
    """
    settings = config.data.get("test")
    if settings is None or not (learned := set(_marks(whole))):
        return {}
    try:
        tested = _marks(build_dataset(plain_dict(settings)))
    except UserError:
        return {}
    count = sum(mark in learned for mark in tested)
    return {LEARNED_TESTS: {"images": count, "of": len(tested)}} if count else {}


def leak_remarks(meta: dict[str, Any]) -> list[str]:
    """A remark on what :func:`learned_tests` found, if it found anything."""
    if (leak := meta.get(LEARNED_TESTS)) is None:
        return []
    return [
        f"{leak['images']} of the {leak['of']} test images of the training's config are among its training images: "
        "what is measured on them is no test"
    ]


def _marks(dataset: Any) -> Sequence[Any]:
    """What every image of a set is known by; empty where there is nothing."""
    if files := getattr(dataset, "files", ()):
        return _resolved(files)
    return dataset.hashes() if isinstance(dataset, InMemory) else ()


def _resolved(files: Sequence[str]) -> list[str]:
    """The files in their real folders, each folder looked up once."""
    folder = cache(os.path.realpath)
    return [os.path.join(folder(os.path.dirname(file)), os.path.basename(file)) for file in files]
