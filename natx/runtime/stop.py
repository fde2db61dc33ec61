"""Stops that a scheduler asks for: SIGTERM (the end of a job) and SIGUSR1 (Slurm's warning before it)."""

from __future__ import annotations

import multiprocessing
import os
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

    Only a process's main thread can; elsewhere nothing is listened to. A signal that came too late to stop the work
    inside is handed on to what that is a part of, where this listens too.
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
    whole = before[signal.SIGTERM]
    if request.signal is not None and isinstance(whole, StopRequest):
        whole(signal.Signals[request.signal])


def leave_stops_to_the_main_process(worker: int) -> None:
    """Let a loading process live on where it is sent a signal: schedulers send theirs to all processes of a job.

    torch's loading processes would die of it, and the training with them, before it has written its state. The main
    process ends them by the same signal. Systems that do not tell who sends a signal (macOS) have no such schedulers.
    """
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        threading.Thread(target=_wait_for_the_main_process, daemon=True).start()


def _wait_for_the_main_process() -> None:
    main = multiprocessing.parent_process()
    while True:
        received = signal.sigwaitinfo(SIGNALS)
        if received.si_signo == signal.SIGTERM and (main is None or received.si_pid == main.pid):
            os._exit(0)
