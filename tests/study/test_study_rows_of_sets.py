"""Studies of tasks that are measured over whole sets."""

from __future__ import annotations

from natx.config import load_config
from natx.study.run import goes_on


def test_a_judgement_of_a_whole_set_begins_anew() -> None:
    """Its judge refuses to go on, so a study of rankings or detectors must not ask for it."""
    assert goes_on(load_config("configs/cls/digits_nat.py"))
    assert not goes_on(load_config("configs/reid/generated_base.py"))
    assert not goes_on(load_config("configs/det/ssd_digits_std.py"))
