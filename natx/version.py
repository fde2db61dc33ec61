"""The version of natx; pyproject.toml reads it from here."""

__version__ = "0.9.5"
