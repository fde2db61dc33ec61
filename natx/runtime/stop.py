"""Stops that a scheduler asks for: SIGTERM (the end of a job) and SIGUSR1 (Slurm's warning before it)."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from natx.errors import Stopped

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
GO_ON = "the same command goes on, natx train with --resume"  # studies and demos go on by themselves


class StopRequest:
    """Whether the process was asked to stop.

    Attributes:
        signal: the name of the signal that asked; None while none did.
        deferred: True where the work stops by itself at its next good moment; otherwise a signal raises
            :class:`~natx.errors.Stopped` at once.
    """

    def __init__(self) -> None:
        self.signal: str | None = None
        self.deferred = False

    def __call__(self, number: int, frame: FrameType | None = None) -> None:
        """Take note of a signal."""
        self.signal = signal.Signals(number).name
        if not self.deferred:
            raise Stopped(f"stopped by {self.signal}; {GO_ON}")

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside, a signal need not wait: nothing would be lost. One that came before stops now."""
        deferred, self.deferred = self.deferred, False
        try:
            if self.signal is not None:
                raise Stopped(f"stopped by {self.signal}; {GO_ON}")
            yield
        finally:
            self.deferred = deferred


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Listen for :data:`SIGNALS`; what handled them before does so again on exit.

    Only a process's main thread can; elsewhere nothing is listened to.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
