"""Configs: mmengine Python configs, read, checked and fingerprinted. A config is code: run only those you trust."""

from natx.config.fingerprint import VOLATILE_DATA, essence, fingerprint
from natx.config.load import (
    CHECKOUT,
    load_config,
    plain_dict,
    refuse_misspelt,
    require,
    require_training,
    with_options,
)

__all__ = [
    "CHECKOUT",
    "VOLATILE_DATA",
    "essence",
    "fingerprint",
    "load_config",
    "plain_dict",
    "refuse_misspelt",
    "require",
    "require_training",
    "with_options",
]
