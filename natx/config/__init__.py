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
from natx.config.find import CHECKOUT, SHIPPED, find_config, find_file, header, shadow, shipped_configs, short_name
from natx.config.fingerprint import VOLATILE_DATA, essence, fingerprint
from natx.config.frozen import frozen_models
from natx.config.load import load_config, with_options
from natx.config.seeds import seeded

__all__ = [
    "ANALYSED",
    "ATTACKS",
    "CHECKOUT",
    "CRAFTED",
    "EXPORTED",
    "JUDGED",
    "MODEL",
    "PAPER_TABLES",
    "SHIPPED",
    "STUDY",
    "TRAINING",
    "VOLATILE_DATA",
    "Kind",
    "check",
    "essence",
    "find_config",
    "find_file",
    "fingerprint",
    "frozen_models",
    "header",
    "load_config",
    "plain_dict",
    "seeded",
    "shadow",
    "shipped_configs",
    "short_name",
    "with_options",
]
