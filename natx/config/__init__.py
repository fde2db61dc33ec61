"""Configs: mmengine Python configs, read, checked and fingerprinted. A config is code: run only those you trust."""

from natx.config.check import (
    ANALYSED,
    ATTACKS,
    CRAFTED,
    EXPORTED,
    JUDGED,
    MODEL,
    PAPER_TABLES,
    STUDY,
    TRAINING,
    Kind,
    check,
    plain_dict,
)
from natx.config.fingerprint import VOLATILE_DATA, essence, fingerprint
from natx.config.load import CHECKOUT, load_config, with_options
from natx.config.seeds import seeded

__all__ = [
    "ANALYSED",
    "ATTACKS",
    "CHECKOUT",
    "CRAFTED",
    "EXPORTED",
    "JUDGED",
    "MODEL",
    "STUDY",
    "PAPER_TABLES",
    "TRAINING",
    "VOLATILE_DATA",
    "Kind",
    "check",
    "essence",
    "fingerprint",
    "load_config",
    "plain_dict",
    "seeded",
    "with_options",
]
