"""Errors that a user can cause: one line that says what was got, what was expected and what to do."""


class UserError(Exception):
    """A mistake in what the user gave (a path, a config value, a checkpoint); tools print one line and exit with 2."""


class DataError(UserError):
    """Missing, unreadable or inconsistent data."""


class CheckpointError(UserError):
    """A checkpoint that cannot be loaded safely or does not fit the model."""


class ConfigError(UserError):
    """A config value that is out of range or does not fit the others."""


class NonFiniteError(UserError):
    """A loss became NaN or infinite during training."""


class ConstraintError(RuntimeError):
    """An attack returned pixels outside its threat model: a bug in the attack, never a user's mistake."""
