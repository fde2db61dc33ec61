"""The program ``natx``: picks the command; ``python -m natx`` is the same."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

from natx import cli
from natx.errors import ConfigError
from natx.runtime.allocator import keep_freed_memory
from natx.version import __version__

# Each is the module of its name in this folder.
COMMANDS = {
    "demo": "train and judge small models on data that is at hand, in minutes",
    "init": "write a first config for a folder of images",
    "configs": "list the shipped configs",
    "config": "show or copy a config with its bases resolved",
    "train": "train a model from a config",
    "test": "judge a model under attacks",
    "transfer": "attacks crafted on each model, judged on each other",
    "analyze": "look into models: the paper's figures 3 to 8",
    "report": "runs and seeds side by side on one page",
    "leaderboard": "all reports below a folder in tables that sort",
    "export": "weights for other programs, with a model card",
    "study": "train and judge rows over seeds",
    "reproduce": "the paper's tables",
    "bench": "speed against bare loops and other libraries",
}


def main() -> None:
    """The program with the arguments of the process."""
    words = sys.argv[1:]
    if words and not words[0].startswith("-"):
        start(words[0], words[1:])
    else:
        _parser().parse_args(words or ["--help"])


def start(command: str, words: Sequence[str]) -> None:
    """Run a command with its arguments; what the user did wrong becomes one line and an exit code."""
    # OpenMP's threads wait by spinning, which takes the processor from whoever they wait for: beside other busy
    # processes two threads made a small network's steps 30 times as slow as with this. Read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_freed_memory()
    cli.run(lambda: _command(command, words), debug="--debug" in words)


def _command(command: str, words: Sequence[str]) -> None:
    if command not in COMMANDS:
        close = get_close_matches(command, COMMANDS, n=1)
        hint = f"is {close[0]!r} meant?" if close else f"they are {', '.join(COMMANDS)}"
        raise ConfigError(f"natx has no command {command!r}: {hint}")
    import_module(f"natx.cli.{command}").main(words)


def _parser() -> argparse.ArgumentParser:
    lines = [f"  {name:<11} {text}" for name, text in COMMANDS.items()]
    parser = argparse.ArgumentParser(
        prog="natx",
        usage="natx COMMAND ...",
        description="Nasty adversarial training across vision tasks, with an honest robustness judge.",
        epilog="\n".join(["commands (natx COMMAND --help says more):", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"natx {__version__}")
    return parser
