"""Where a number comes from: package versions, git revision, machine."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from natx.runtime.device import device_name
from natx.version import __version__

PACKAGES = ("torch", "torchvision", "mmengine", "timm", "torchreid", "pyautoattack", "numpy")
OPTIONAL = ("mmdet", "mmcv-lite", "mmcv")  # named where they are installed


def git_revision(folder: Path | None = None) -> str:
    """Commit of natx's checkout, with ``+changes`` where files differ; 'unknown' outside one.

    An installed package may lie in the environment of somebody else's checkout, whose commit says nothing of natx.
    """
    folder = folder or Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != folder.resolve():
            return "unknown"
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that numbers depend on."""
    versions = {"python": platform.python_version(), "natx": __version__}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    for name in OPTIONAL:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def command_line() -> str:
    """How this process was started: ``natx ...``, or ``python`` and its script."""
    script = Path(sys.argv[0])
    by_natx = script.stem == "natx" or script.name == "__main__.py" and script.parent.name == "natx"
    return shlex.join(["natx", *sys.argv[1:]] if by_natx else ["python", *sys.argv])


def provenance(device: torch.device) -> dict[str, Any]:
    """Plain values for a report."""
    return {
        "command": command_line(),
        "packages": package_versions(),
        "git": git_revision(),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
    }
