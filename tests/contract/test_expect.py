"""Conditions on tensors: raised at once, or together at the end of a block."""

from __future__ import annotations

import pytest
import torch

from natx.errors import ConfigError, DataError
from natx.expect import expect, together, waived

YES, NO = torch.tensor(True), torch.tensor(False)


def broken(*figures: float) -> DataError:
    return DataError(f"got {figures}")


def test_a_condition_that_does_not_hold_raises_with_its_figures() -> None:
    expect(YES, broken)
    with pytest.raises(DataError, match=r"got \(1\.5, -2\.0\)"):
        expect(NO, broken, torch.tensor(1.5), torch.tensor(-2))


def test_inside_a_block_nothing_is_raised_before_its_end() -> None:
    reached = []
    with pytest.raises(DataError, match=r"\(1\.0,\)"):
        with together():
            with together():
                expect(NO, broken, torch.tensor(1.0))
            reached.append("after the inner block")
            expect(NO, lambda: ConfigError("a later one"))
            reached.append("the end")
    assert reached == ["after the inner block", "the end"]
    with pytest.raises(DataError):  # the block is over
        expect(NO, broken)


def test_what_is_waived_is_not_expected() -> None:
    with together(), waived():
        expect(NO, broken)
    with pytest.raises(ValueError, match="by itself"), waived():
        raise ValueError("by itself")
    with pytest.raises(DataError):  # the blocks are over, an exception's too
        expect(NO, broken)


def test_what_was_expected_explains_an_exception_inside() -> None:
    with pytest.raises(DataError) as error:
        with together():
            expect(NO, broken)
            raise ValueError("a consequence")
    assert isinstance(error.value.__context__, ValueError)
    with pytest.raises(ValueError, match="by itself"):
        with together():
            expect(YES, broken)
            raise ValueError("by itself")
    with pytest.raises(KeyboardInterrupt):
        with together():
            expect(NO, broken)
            raise KeyboardInterrupt
