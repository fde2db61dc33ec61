"""Errors that a user can cause: one line that says what was got, what was expected and what to do."""

from typing import ClassVar


class UserError(Exception):
    """A mistake in what the user gave (a path, a config value, a checkpoint); tools print one line and exit with 2."""

    exit_code: ClassVar[int] = 2


class DataError(UserError):
    """Missing, unreadable or inconsistent data."""


class CheckpointError(UserError):
    """A checkpoint that cannot be loaded safely or does not fit the model."""


class ConfigError(UserError):
    """A config value that is out of range or does not fit the others."""


class UnsupportedError(ConfigError):
    """An attack cannot attack a task, for its norm, its pixels or its classes; an evaluation may leave it out."""


class NonFiniteError(UserError):
    """A loss became NaN or infinite during training."""


class StorageError(UserError):
    """A file that could not be written: a full disk, no permission, a folder that is gone or is used by another run."""


class MemoryShortage(UserError):
    """Neither the accelerator's nor the machine's memory holds what was asked for."""


class Stopped(UserError):
    """A scheduler asked for the end; what was reached is on disk: the same command goes on (natx train: --resume)."""

    exit_code = 75  # EX_TEMPFAIL: try again


class ConstraintError(RuntimeError):
    """An attack returned pixels outside its threat model: a bug in the attack, never a user's mistake."""
