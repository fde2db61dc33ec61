"""Reading configs: mmengine Python configs. A config is code: run only those you trust."""

from __future__ import annotations

import copy
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config

from natx.config.check import Kind, check, check_options, plain_dict
from natx.config.find import find_config, find_file, shadow
from natx.config.frozen import frozen_models
from natx.config.threats import check_threat_options
from natx.errors import ConfigError


def load_config(path: str | Path, *, kind: Kind | None = None, options: dict[str, Any] | None = None) -> Config:
    """Read a Python config with its ``_base_`` files and apply ``options`` (dotted keys, as ``--cfg-options``).

    Args:
        path: the file, or its name; see :func:`natx.config.find.find_config`. Its bases and the configs of its frozen
            models are found in the same way, after those that lie beside the file.
        kind: what it is to be; it and the options are checked against that kind's schema. None reads it unchecked.
        options: overrides.

    Raises:
        ConfigError: the file is missing, is no Python config, fails when it is executed, or says what nothing reads.
    """
    path = find_config(path)
    config = _executed(path)
    _name_beside(config, path.parent)
    if options:
        return with_options(config, options, kind=kind)
    if kind is not None:
        check(config, kind, path=path)
    return config


def with_options(config: Config, options: dict[str, Any], *, kind: Kind | None = None) -> Config:
    """The config with ``options`` (dotted keys, as ``--cfg-options``) applied; both are checked where a kind is given.

    Raises:
        ConfigError: an option that does not fit, or that nothing reads.
    """
    path = config.filename or "config"
    if kind is not None:
        check_options(options, kind, path=path)
    try:
        config.merge_from_dict(copy.deepcopy(plain_dict(options)))  # it takes _delete_ out of them
    except (KeyError, TypeError, AttributeError, AssertionError, IndexError) as error:
        raise ConfigError(f"the options {options} do not fit {path}: {error}") from error
    if kind is not None:
        check(config, kind, path=path)
        check_threat_options(config, options, kind=kind, path=path)
    return config


def _executed(path: Path) -> Config:
    """The config of a file; whatever its code raises becomes one line with the file and the line."""
    with _shipped_bases():
        return _read(path)


def _read(path: Path) -> Config:
    try:
        return Config.fromfile(path)
    except SyntaxError as error:
        raise ConfigError(f"{path} is no valid Python config: line {error.lineno}: {error.msg}") from error
    except FileNotFoundError as error:
        own = (place := _place(error, path)) != str(path)  # the config's own code opens a file
        raise ConfigError(f"{place}: {'' if own else 'a _base_ file is missing: '}{error}") from error
    except ImportError as error:
        root: BaseException = error
        while root.__context__ is not None:  # mmengine's own text lists sys.path and leaves out the reason
            root = root.__context__
        raise ConfigError(shadow() or f"{path}: custom_imports fails: {root}") from error
    except Exception as error:  # a config is code: it can raise anything
        raise ConfigError(_duplicate(error) or f"{_place(error, path)}: {type(error).__name__}: {error}") from error


def _name_beside(config: Config, folder: Path) -> None:
    """Give frozen models whose config lies in the folder of the config that names it that path."""
    for entry in frozen_models(config):
        name = entry.get("config")
        if isinstance(name, str) and (folder / name).is_file():
            entry["config"] = str((folder / name).absolute())


@contextmanager
def _shipped_bases() -> Iterator[None]:
    """While configs are read, a base that does not lie beside the file naming it is a shipped one."""
    beside = Config._get_cfg_path

    def found(base: str, filename: str) -> tuple[str, str | None]:
        path, scope = beside(base, filename)
        if scope is None and not Path(path).is_file() and (shipped := find_file(base, suffix=".py")) is not None:
            path = str(shipped)
        return path, scope

    Config._get_cfg_path = staticmethod(found)
    try:
        yield
    finally:
        Config._get_cfg_path = staticmethod(beside)


def _reader(error: BaseException) -> Any:
    """The innermost frame of mmengine's reading of a file, and what it called; (None, None) where there is none."""
    frames = [*traceback.walk_tb(error.__traceback__)]
    readers = [i for i, (frame, _) in enumerate(frames) if frame.f_code.co_name == "_file2dict"]
    if not readers:
        return None, None
    i = readers[-1]
    return frames[i][0], frames[i + 1] if i + 1 < len(frames) else None


def _place(error: BaseException, path: Path) -> str:
    """The config's file and line that raised an error."""
    _, called = _reader(error)
    if called is None or not called[0].f_code.co_filename.endswith(".py") or called[0].f_code.co_name != "<module>":
        return str(path)
    return f"{called[0].f_code.co_filename}, line {called[1]}"


def _duplicate(error: BaseException) -> str | None:
    """What to say where two bases of a config define the same key; None where that is not the error."""
    reader, _ = _reader(error)
    repeated = None if reader is None else reader.f_locals.get("duplicate_keys")
    if not repeated or "Duplicate key" not in str(error):
        return None
    child, second = (reader.f_locals[name] for name in ("filename", "base_cfg_path"))
    firsts = []
    for base in Config._get_base_files(child):
        base, _ = Config._get_cfg_path(base, child)
        if base == second:
            break
        if repeated & Config.fromfile(base).keys():
            firsts.append(Path(base).name)
    return (
        f"{child}: its bases {' and '.join([*firsts, Path(second).name])} both define {', '.join(sorted(repeated))}: "
        "a key may stand in one base only; name one of them, or let one be the other's _base_"
    )
