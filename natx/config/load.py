"""Configs: mmengine Python configs. A config is code: run only those you trust."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mmengine.config import Config

from natx.errors import ConfigError

CHECKOUT = Path(__file__).resolve().parents[2]

# Keys a training config must have.
TRAINING = ("task", "method", "data.train", "data.batch_size", "optim_wrapper", "train_cfg.max_epochs", "seed")
# Keys a training config may lack; an option with any other unknown first key is a typing error.
OPTIONAL = {
    *("adversary_dir", "amp", "checkpoint_every", "heldout_seed", "launcher", "log_interval", "param_scheduler"),
    *("protocol", "select"),
    *("ema", "sync_bn", "threat", "vis_backends", "seed", "metric", "paper_row", "start"),
}


def load_config(path: str | Path, *, options: dict[str, Any] | None = None) -> Config:
    """Read a Python config with its ``_base_`` files and apply ``options`` (dotted keys, as ``--cfg-options``).

    Raises:
        ConfigError: the file is missing, is no Python config, or an option does not fit.
    """
    path = Path(path)
    if not path.is_file() and (CHECKOUT / path).is_file():
        path = CHECKOUT / path  # a shipped config's adversary, when the tool runs from another folder
    if not path.is_file():
        raise ConfigError(f"no config at {path}: shipped configs are under configs/")
    if path.suffix != ".py":
        raise ConfigError(f"configs are Python files (.py); got {path}")
    try:
        config = Config.fromfile(path)
    except SyntaxError as error:
        raise ConfigError(f"{path} is no valid Python config: line {error.lineno}: {error.msg}") from error
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: a _base_ file is missing: {error}") from error
    except ImportError as error:
        root: BaseException = error
        while root.__context__ is not None:  # mmengine's own text lists sys.path and leaves out the reason
            root = root.__context__
        raise ConfigError(f"{path}: custom_imports fails: {root}") from error
    return with_options(config, options) if options else config


def with_options(config: Config, options: dict[str, Any]) -> Config:
    """The config with ``options`` (dotted keys, as ``--cfg-options``) applied; raises ConfigError where they misfit."""
    for key in options:
        first = key.split(".")[0]
        if first not in config and first not in OPTIONAL:
            close = get_close_matches(first, [*config.keys(), *OPTIONAL], n=3)
            raise ConfigError(f"the option {key} is unknown to {config.filename}; close: {', '.join(close) or 'none'}")
    try:
        config.merge_from_dict(plain_dict(options))
    except (KeyError, TypeError, AssertionError, IndexError) as error:
        raise ConfigError(f"the options {options} do not fit {config.filename}: {error}") from error
    return config


def require(config: Config, keys: tuple[str, ...], *, path: str | Path) -> None:
    """Raise ConfigError naming the (dotted) keys that a config of this kind must have and does not."""

    def has(node: Any, key: str) -> bool:
        first, _, rest = key.partition(".")
        return first in node and (not rest or has(node[first], rest))

    missing = [key for key in keys if not has(config, key)]
    if missing:
        raise ConfigError(f"{path} lacks {', '.join(missing)}: is it the right kind of config?")


def require_training(config: Config, *, path: str | Path) -> None:
    """Raise ConfigError where a training config lacks a key, or has a misspelt one."""
    refuse_misspelt(config, [*(key.partition(".")[0] for key in TRAINING), *OPTIONAL], path=path)
    require(config, TRAINING, path=path)


def refuse_misspelt(config: Config, known: Iterable[str], *, path: str | Path) -> None:
    """Raise ConfigError for a key that nothing reads and that is nearly one which the config lacks.

    Other unknown keys are a config's own variables.
    """
    known = [*known]
    lacking = [name for name in known if name not in config]
    for key in config:
        close = [] if key in known else get_close_matches(key, lacking, n=1, cutoff=0.8)
        if close:
            raise ConfigError(
                f"{path}: nothing reads {key!r}; is {close[0]!r} meant? (Give a variable of your own another name.)"
            )


def plain_dict(config: Config | dict[str, Any]) -> dict[str, Any]:
    """The config as plain dicts and lists."""
    return config.to_dict() if isinstance(config, Config) else dict(config)
