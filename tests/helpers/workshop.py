"""What the tests of training share: a tiny config, and running the tools in this process."""

from __future__ import annotations

import copy
import os
import runpy
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mmengine.config.config
import pytest
from mmengine.logging import MMLogger

from natx.config import load_config

ROOT = Path(__file__).resolve().parents[2]
# Copies of configs are written as they are: yapf takes a second or more to lay out each, and no test reads the layout.
mmengine.config.config.FormatCode = lambda text, **_: (text, True)


def environment(*folders: Path, **variables: str) -> dict[str, str]:
    """The environment of a process that a test starts: it imports from the folders, this checkout and the helpers."""
    places = [*folders, ROOT, ROOT / "tests" / "helpers"]
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, places)), **variables}


# Six steps an epoch of a net with 3,000 weights on real images: an epoch takes some tens of milliseconds.
DIGITS: dict[str, Any] = {
    "custom_imports": {"imports": ["tasks.cls"]},
    "seed": 0,
    "data": {
        "train": {"type": "Digits", "train": True, "test_fraction": 0.8},
        "test": {"type": "Digits", "train": False},
        "heldout": 100,
        "batch_size": 40,
    },
    "task": {
        "type": "ClassificationTask",
        "model": "small_cnn",
        "num_classes": 10,
        "model_args": {"in_chans": 1, "width": 4},
    },
    "method": {"type": "Standard"},
    "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}},
    "param_scheduler": [{"type": "CosineAnnealingLR", "T_max": 3, "by_epoch": True}],
    "train_cfg": {"max_epochs": 2},
    "threat": {"type": "Linf", "eps": 51 / 255},
}
PGD: dict[str, Any] = {"type": "PGD", "threat": {"type": "Linf", "eps": 51 / 255}, "steps": 2, "step_size": 0.1}


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A deep copy with nested dicts merged; a dict with another type replaces, a value of None removes."""
    result = copy.deepcopy(base)
    for key, value in changes.items():
        old = result.get(key)
        if isinstance(value, dict) and isinstance(old, dict) and value.get("type", old.get("type")) == old.get("type"):
            result[key] = merged(old, value)
        elif value is None:
            result.pop(key, None)
        else:
            result[key] = copy.deepcopy(value)
    return result


def nat(adversary: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The method of Eq. 5 with a short inner attack."""
    terms = [{"type": "TaskLoss"}, {"type": "NastyKL", "weight": 0.06, "temperature": 4.0, "adversary": adversary}]
    return {"type": "Adversarial", "views": ("clean", "adv"), "attack": PGD, "terms": terms, **changes}


def write_config(path: Path, content: dict[str, Any]) -> Path:
    """A config file of plain assignments."""
    path.write_text("".join(f"{key} = {value!r}\n" for key, value in content.items()))
    return path


@dataclass
class Ran:
    """What a tool did."""

    code: int
    out: str
    err: str

    def error(self) -> str:
        """The one line of a user's error, once it is known to be that."""
        lines = [line for line in self.err.splitlines() if line.startswith("error:")]
        assert self.code == 2, self.err
        assert len(lines) == 1, self.err
        assert self.err.rstrip().endswith(lines[0])
        assert "Traceback" not in self.out + self.err
        assert len(lines[0]) < 700
        return lines[0]


@dataclass
class Workshop:
    """Writes configs and runs tools in this process."""

    folder: Path
    capsys: Any
    monkeypatch: pytest.MonkeyPatch

    def write(self, name: str, content: dict[str, Any]) -> Path:
        """A config file of plain assignments."""
        return write_config(self.folder / name, content)

    def digits(self, name: str = "digits.py", **changes: Any) -> Path:
        """A config file of the tiny digits training with changes merged in."""
        return self.write(name, merged(DIGITS, changes))

    def load(self, name: str = "digits.py", **changes: Any) -> Any:
        """The config itself."""
        return load_config(self.digits(name, **changes))

    def run(self, tool: str, *arguments: Any) -> Ran:
        """Run a tool as ``__main__`` with one thread on the CPU (unless the arguments say otherwise)."""
        arguments = tuple(map(str, arguments))
        defaults = {} if tool in ("export.py", "report.py", "leaderboard.py") else {"--device": "cpu", "--threads": "1"}
        extra = [word for option in defaults.items() if option[0] not in arguments for word in option]
        self.monkeypatch.setattr(sys, "argv", [tool, *arguments, *extra])
        self.capsys.readouterr()
        MMLogger._instance_dict.clear()  # loggers of earlier runs write to streams that are closed by now
        code = 0
        try:
            runpy.run_path(str(ROOT / "tools" / tool), run_name="__main__")
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        except Exception:  # a traceback and exit code 1 in a process of its own
            code = 1
            sys.stderr.write(traceback.format_exc())
        return Ran(code, *self.capsys.readouterr())
