"""Conditions on tensors, looked at together: each look makes the host wait for the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class _Condition:
    """What must hold, and what to raise with the figures where it does not."""

    holds: Tensor
    error: Callable[..., Exception]
    figures: tuple[Tensor, ...]

    def refuse(self) -> None:
        raise self.error(*(float(figure) for figure in self.figures))


_pending: ContextVar[list[_Condition] | None] = ContextVar("pending", default=None)
_waived: ContextVar[bool] = ContextVar("waived", default=False)


def expect(holds: Tensor, error: Callable[..., Exception], *figures: Tensor) -> None:
    """Raise ``error(*figures)`` where a condition does not hold: now, or at the end of :func:`together`.

    Within :func:`waived` it does nothing.

    Args:
        holds: 0-dim bool; those of one :func:`together` lie on one device.
        error: makes the exception from the figures as Python floats.
        figures: 0-dim tensors that the error's text needs; they are read only where it is raised.
    """
    if _waived.get():
        return
    condition = _Condition(holds.detach(), error, tuple(figure.detach() for figure in figures))
    pending = _pending.get()
    if pending is None:
        _settle([condition])
    else:
        pending.append(condition)


@contextmanager
def together() -> Iterator[None]:
    """What is expected inside is looked at once, at the end of the outermost block; the first failure is raised.

    An exception inside the block may come of what was expected before it: then that failure is raised instead.
    """
    if _pending.get() is not None:
        yield
        return
    conditions: list[_Condition] = []
    token = _pending.set(conditions)
    try:
        yield
    except Exception:
        _settle(conditions)
        raise
    finally:
        _pending.reset(token)
    _settle(conditions)


@contextmanager
def waived() -> Iterator[None]:
    """Nothing is expected inside: for a model that is asked about what it does not take from its users."""
    token = _waived.set(True)
    try:
        yield
    finally:
        _waived.reset(token)


def _settle(conditions: list[_Condition]) -> None:
    """One wait for all conditions."""
    if not conditions:
        return
    for condition, holds in zip(conditions, torch.stack([c.holds for c in conditions]).tolist()):
        if not holds:
            condition.refuse()
