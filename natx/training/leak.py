"""Test images that are training images: what is measured on them is no test."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from typing import Any

from mmengine.config import Config

from natx.config import plain_dict
from natx.data import build_dataset
from natx.errors import UserError

LEARNED_TESTS = "learned_tests"  # of a checkpoint's meta


def learned_tests(config: Config, whole: Any) -> dict[str, dict[str, int]]:
    """How many ``images`` ``of`` a config's test set are training images, as an entry of a checkpoint's meta.

    By their files; nothing where no image is, where images have no files of their own, or where the test set cannot be
    read here.

    Args:
        config: a training config.
        whole: its training images, those that are held out among them.
    """
    learned, settings = getattr(whole, "files", ()), config.data.get("test")
    if not learned or settings is None:
        return {}
    try:
        tested = getattr(build_dataset(plain_dict(settings)), "files", ())
    except UserError:
        return {}
    there = set(_resolved(learned))
    count = sum(file in there for file in _resolved(tested))
    return {LEARNED_TESTS: {"images": count, "of": len(tested)}} if count else {}


def leak_remarks(meta: dict[str, Any]) -> list[str]:
    """A remark on what :func:`learned_tests` found, if it found anything."""
    if (leak := meta.get(LEARNED_TESTS)) is None:
        return []
    return [
        f"{leak['images']} of the {leak['of']} test images of the training's config are among its training images: "
        "what is measured on them is no test"
    ]


def _resolved(files: Sequence[str]) -> list[str]:
    """The files in their real folders, each folder looked up once."""
    folder = cache(os.path.realpath)
    return [os.path.join(folder(os.path.dirname(file)), os.path.basename(file)) for file in files]
