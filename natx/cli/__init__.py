"""The program ``natx``: a module for each command, and here what they share: devices, processes, one-line errors.

Libraries are imported where they are used, and commands import theirs after the arguments are read, so that ``--help``
and a misspelt argument do not wait for torch. ``main.py`` picks the command.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from natx.errors import ConfigError, UserError
from natx.runtime.files import STORAGE

if TYPE_CHECKING:
    import torch
    from rich.console import Console

    from natx.runtime.processes import Watch


SCRIPTS = "tools"  # a checkout's folder of scripts that start one command each
LAUNCHERS = ("none", "pytorch", "slurm")
RENAMED = {"bench": "benchmark"}  # commands whose script has another name

_watching: Watch | None = None  # of a process that is one of several


class Options(argparse.Action):
    """``key=value`` pairs, see :func:`natx.config.options.parse_option`; given again, the option adds to them."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """See :class:`argparse.Action`."""
        from natx.config.options import parse_option

        if any(re.search(r"\w\(", value) for value in values):  # a call would be text
            raise ConfigError(
                f"--cfg-options takes numbers, text, lists and tuples; got {' '.join(values)}: write a config with "
                "_base_ for dicts"
            )
        setattr(namespace, self.dest, {**(getattr(namespace, self.dest) or {}), **dict(map(parse_option, values))})


def program(command: str) -> str:
    """How a command is called by whoever started this process: ``natx train`` or ``python tools/train.py``."""
    script = Path(sys.argv[0]).name
    from_script = script.endswith(".py") and script != "__main__.py"
    return f"python {SCRIPTS}/{RENAMED.get(command, command)}.py" if from_script else f"natx {command}"


def parser(command: str, description: str | None) -> argparse.ArgumentParser:
    """A parser of a command's arguments; its description calls the command as the user did."""
    text = (description or "").replace(f"natx {command}", program(command), 1)
    kind = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(prog=program(command), description=text, formatter_class=kind)


def write(text: str) -> None:
    """A line or several on the standard output, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """--device, --seed, --threads, --launcher, --cfg-options and --debug, the same in every tool."""
    add_device_arguments(parser)
    parser.add_argument("--seed", type=int, help="overrides the config's seed")
    parser.add_argument(
        "--launcher", choices=LAUNCHERS, default="none", help="pytorch under torchrun, slurm under srun"
    )
    parser.add_argument("--cfg-options", nargs="+", action=Options, help="override config values: key.sub=value")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def add_device_arguments(parser: argparse.ArgumentParser, *, default: str | None = None) -> None:
    """--device and --threads; a device of None is the machine's accelerator."""
    named = default or "an accelerator where there is one"
    parser.add_argument("--device", default=default, help=f"cpu, cuda, cuda:N, mps, xpu (default: {named})")
    parser.add_argument("--threads", type=int, help="CPU threads of torch (default: torch's own choice)")


def fraction(text: str) -> float:
    """A finite number, or a fraction such as ``4/255``, from the command line."""
    above, slash, below = text.partition("/")
    try:
        number = float(above) / (float(below) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"a number or a fraction such as 4/255; got {text!r}")
    return number


def set_up(arguments: argparse.Namespace) -> torch.device:
    """Set threads, join the process group where asked for, and return the device.

    Raises:
        ConfigError: a device that this machine does not have, or one that torchrun's processes cannot share, or the
            launcher's environment is missing.
    """
    import torch

    from natx.runtime.device import pick_device
    from natx.runtime.processes import meet, slurm_meeting, watch

    global _watching

    if arguments.threads is not None:
        if arguments.threads < 1:
            raise ConfigError(f"--threads must be at least 1; got {arguments.threads}")
        torch.set_num_threads(arguments.threads)
    device = pick_device(arguments.device)
    if arguments.launcher == "slurm":
        os.environ.update(slurm_meeting(os.environ))
    if arguments.launcher != "none":
        if "RANK" not in os.environ:
            raise ConfigError("--launcher pytorch needs torchrun: torchrun --nproc-per-node=N -m natx ...")
        if device.type not in ("cpu", "cuda"):  # mmengine's collectives know gloo and nccl
            raise ConfigError(
                f"--launcher {arguments.launcher} runs on cpu and cuda; got {device}: start one process without it"
            )
        if device.type == "cuda":
            device = torch.device("cuda", _place(arguments.launcher, torch.accelerator.device_count()))
            torch.accelerator.set_device_index(device.index)
        meet("nccl" if device.type == "cuda" else "gloo")
        _watching = watch()
    return device


def _place(launcher: str, devices: int) -> int:
    """The number of this process's GPU on its machine; Slurm may show each task its own alone."""
    return 0 if launcher == "slurm" and devices == 1 else int(os.environ["LOCAL_RANK"])


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


def results_folder(name: str, weights: Path) -> Path:
    """Where results about weights are written by default: beside their file; below work_dirs for those of the hub.

    Args:
        name: what the user called the weights.
        weights: their file.
    """
    from natx.models.hub import HUB

    return Path("work_dirs", name.removeprefix(HUB).replace("/", "--")) if name.startswith(HUB) else weights.parent


def console(*, quiet: bool = False) -> Console:
    """A console for results; wide enough for a table where the output is no terminal (a log, a pipe).

    It prints text as it is: brackets in the name of a file, a class or a model are no markup.
    """
    from rich.console import Console

    plain: dict[str, Any] = dict(quiet=quiet, markup=False, emoji=False)
    probe = Console(**plain)
    return probe if probe.is_terminal else Console(**plain, width=160)


def one_line(error: UserError) -> str:
    """The text of an error without line breaks and without the traceback that a data loader's worker adds."""
    text = str(error).strip()
    if "Original Traceback" in text:
        text = text.splitlines()[-1].partition(": ")[2]
    return " ".join(text.split())


def run(main: Callable[[], None], *, debug: bool) -> None:
    """Run a tool: a UserError becomes one line and its exit code (the traceback with ``debug``).

    One process of several tells the others, which would wait for it, and ends without waiting for them.
    """
    if os.getcwd() not in sys.path:  # modules that a user's config imports; last, so that they hide nothing
        sys.path.append(os.getcwd())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a sign that the terminal's encoding lacks is no reason to end
            stream.reconfigure(errors="replace")
    try:
        main()
    except UserError as error:
        if debug:
            _leave_with_traceback(error, code=error.exit_code)
            raise
        _fail(one_line(error), code=error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        raise SystemExit(130) from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno in STORAGE and not debug:
            _fail(f"{error.filename or 'a file'} cannot be written: {error.strerror}; make room", code=2)
        _leave_with_traceback(error, code=1)
        raise
    finally:
        _leave_process_group()


def _fail(line: str, *, code: int) -> None:
    """One line, and the end."""
    sys.stderr.write(f"error: {line}\n")
    if _watching is not None:
        _leave(line, code=code)
    raise SystemExit(code) from None


def _leave_with_traceback(error: Exception, *, code: int) -> None:
    """The end of one process of several; nothing where there is but one."""
    if _watching is not None:
        traceback.print_exc()
        _leave(" ".join(f"{type(error).__name__}: {error}".split()), code=code)


def _leave(line: str, *, code: int) -> None:
    """Tell the other processes and end at once: leaving the group in order would wait for them."""
    assert _watching is not None
    _watching.report(line, code=code)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _leave_process_group() -> None:
    """Nothing where torch was never imported (``--help``, a misspelt argument)."""
    global _watching
    if _watching is not None:
        _watching.stop()
        _watching = None
    torch = sys.modules.get("torch")
    if torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
