"""What the command-line tools share: devices, threads, processes, one-line errors."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine.config import DictAction
from rich.console import Console

from natx.errors import ConfigError, UserError


class Options(DictAction):
    """``key=value`` pairs; one that cannot be read raises ConfigError."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """See :class:`argparse.Action`."""
        if any(re.search(r"\w\(", value) for value in values):  # mmengine reads calls as text, or without end
            raise ConfigError(
                f"--cfg-options takes numbers, text, lists and tuples; got {' '.join(values)}: write a config with "
                "_base_ for dicts"
            )
        try:
            super().__call__(parser, namespace, values, option_string)
        except (ValueError, AssertionError) as error:
            raise ConfigError(f"--cfg-options takes key.sub=value; got {' '.join(values)} ({error})") from error


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """--device, --seed, --threads, --launcher, --cfg-options and --debug, the same in every tool."""
    parser.add_argument("--device", help="cpu, cuda or cuda:N (default: a GPU where there is one)")
    parser.add_argument("--seed", type=int, help="overrides the config's seed")
    parser.add_argument("--threads", type=int, help="CPU threads of torch (default: torch's own choice)")
    parser.add_argument("--launcher", choices=["none", "pytorch"], default="none", help="pytorch under torchrun")
    parser.add_argument("--cfg-options", nargs="+", action=Options, help="override config values: key.sub=value")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def set_up(arguments: argparse.Namespace) -> torch.device:
    """Set threads, join the process group where asked for, and return the device.

    Raises:
        ConfigError: a GPU asked for where there is none, or the launcher's environment is missing.
    """
    if arguments.threads is not None:
        if arguments.threads < 1:
            raise ConfigError(f"--threads must be at least 1; got {arguments.threads}")
        torch.set_num_threads(arguments.threads)
    device = pick_device(arguments.device)
    if arguments.launcher == "pytorch":
        if "RANK" not in os.environ:
            raise ConfigError("--launcher pytorch needs torchrun: torchrun --nproc-per-node=N tools/...")
        if device.type == "cuda":
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return device


def output_folder(path: str | Path) -> Path:
    """A folder to write to, which need not exist yet; asked before anything is computed.

    Raises:
        ConfigError: a file lies there, or where one of its parents should be, or it may not be written to.
    """
    folder = Path(path)
    present = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not present.is_dir():
        raise ConfigError(f"{folder} cannot be a folder to write to: {present} is a file; name another place")
    if not os.access(present, os.W_OK):
        raise ConfigError(f"{folder} cannot be written to: no permission in {present}; name another place")
    return folder


def console(*, quiet: bool = False) -> Console:
    """A console for results; wide enough for a table where the output is no terminal (a log, a pipe)."""
    probe = Console(quiet=quiet)
    return probe if probe.is_terminal else Console(quiet=quiet, width=160)


def pick_device(name: str | None) -> torch.device:
    """The device of a name; a GPU where there is one for None."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"--device is cpu, cuda or cuda:N; got {name!r}") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device is cpu, cuda or cuda:N; got {name!r}")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"--device {name}: torch {torch.__version__} sees no GPU on this machine; use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"--device {name}: this machine has {torch.cuda.device_count()} GPU(s)")
    return device


def one_line(error: UserError) -> str:
    """The text of an error without line breaks and without the traceback that a data loader's worker adds."""
    text = str(error).strip()
    if "Original Traceback" in text:
        text = text.splitlines()[-1].partition(": ")[2]
    return " ".join(text.split())


def run(main: Callable[[], None], *, debug: bool) -> None:
    """Run a tool: a UserError becomes one line and exit code 2 (the traceback with ``debug``)."""
    try:
        main()
    except UserError as error:
        if debug:
            raise
        sys.stderr.write(f"error: {one_line(error)}\n")
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        raise SystemExit(130) from None
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
