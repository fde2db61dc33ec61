"""natx.evaluate with progress: killed calls go on, calls of anything else begin anew, finished ones leave nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import natx
from natx.attacks import PGD
from natx.attacks.base import Attack
from natx.errors import ConfigError
from natx.judging import kept as kept_module
from natx.threat import Linf

EPS, COUNT, BATCH = 0.05, 20, 5
ATTACKS = ["PGD-3", dict(type="PGD", steps=2, step_size=0.02, name="C&W", objective=dict(type="Margin"))]


class Net(nn.Module):
    """A small smooth classifier with an attribute of its own."""

    def __init__(self, *, scale: float = 1.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(4, 12, generator=generator))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * torch.tanh(x.flatten(1) @ self.weight.T)


def pictures() -> tuple[Tensor, Tensor]:
    x = torch.rand(COUNT, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    return x, Net()(x).argmax(1)


def judged(model: nn.Module, folder: Path | None, **changes: Any) -> Any:
    x, y = pictures()
    given = dict(images=x, labels=y, attacks=ATTACKS, eps=EPS, batch_size=BATCH, progress=folder) | changes
    return natx.evaluate(model, **given)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each call of an attack got."""
    seen: list[int] = []
    plain = Attack.judge

    def judge(self: Attack, task: Any, batch: Any, **settings: Any) -> Any:
        seen.append(len(batch["index"]))
        return plain(self, task, batch, **settings)

    monkeypatch.setattr(Attack, "judge", judge)
    return seen


def interrupted(folder: Path, *, after: int, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """A judging that Ctrl-C ends when so many blocks are kept."""
    plain, count = kept_module.Progress.add, 0

    def add(self: Any, name: str, block: Any) -> None:
        nonlocal count
        plain(self, name, block)
        count += 1
        if count == after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(kept_module.Progress, "add", add)
        judged(Net(), folder, **changes)


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {folder!r})
from natx.evaluation.progress import Progress
from test_kept import Net, judged

plain, count = Progress.add, 0

def add(self, name, block):
    global count
    plain(self, name, block)
    count += 1
    if count == 6:  # four blocks of the clean pass and two of the first attack
        os.kill(os.getpid(), signal.SIGKILL)

Progress.add = add
judged(Net(), Path({out!r}))
"""


def test_a_killed_call_goes_on_and_ends_as_an_unbroken_one(tmp_path: Path, loads: list[int]) -> None:
    """The killed one is another process: nothing of what tells a judging may hang on a process."""
    whole = judged(Net(), None)
    expected = len(loads)
    code = KILLED.format(folder=str(Path(__file__).parent), out=str(tmp_path / "kept"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    assert len(list((tmp_path / "kept").glob("*/progress.json"))) == 1
    loads.clear()
    again = judged(Net(), tmp_path / "kept")
    assert len(loads) == expected - 2
    assert again.evaluation.correct.keys() == whole.evaluation.correct.keys()
    for column, right in whole.correct.items():
        assert again.correct[column].equal(right)
    assert [a.cost for a in again.evaluation.attacks] == [a.cost for a in whole.evaluation.attacks]
    assert not list((tmp_path / "kept").iterdir())


def other_weights() -> nn.Module:
    model = Net()
    with torch.no_grad():
        model.weight[0, 0] += 1e-3
    return model


class Rewritten(Net):
    """The same answers by other code."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


def a_pixel_moved() -> Tensor:
    """Of an image behind those whose classes are looked at."""
    x = pictures()[0]
    x[-1, 0, 0, 0] = 0.5
    return x


OTHERS: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "weights": (other_weights, {}),
    "an attribute": (lambda: Net(scale=2.0), {}),
    "code": (Rewritten, {}),
    "labels": (Net, {"labels": pictures()[1].roll(1)}),
    "images": (Net, {"images": a_pixel_moved()}),
    "radius": (Net, {"eps": EPS / 2}),
    "seed": (Net, {"seed": 1}),
    "steps": (Net, {"attacks": ["PGD-4", ATTACKS[1]]}),
    "objective": (Net, {"attacks": [ATTACKS[0], dict(type="PGD", steps=2, step_size=0.02, name="C&W")]}),
    "success": (Net, {"success": "last"}),
    "normalisation": (Net, {"mean": 0.5, "std": 1.0}),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_call_of_something_else_begins_anew(
    what: str, tmp_path: Path, loads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    make, changes = OTHERS[what]
    whole = judged(make(), None, **changes)
    expected = len(loads)
    interrupted(tmp_path, after=7, monkeypatch=monkeypatch)
    loads.clear()
    found = judged(make(), tmp_path, **changes)
    assert len(loads) == expected
    assert all(found.correct[column].equal(right) for column, right in whole.correct.items())
    loads.clear()
    judged(Net(), None)
    own = len(loads)
    judged(Net(), tmp_path)  # what was interrupted lies there still
    assert len(loads) - own == own - 3  # the clean pass's four blocks were kept, and three of the first attack


def test_the_answers_of_code_outside_of_classes_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that a forward calls is in no class: that the model answers otherwise tells it."""
    labels = pictures()[1]
    for count, function in enumerate((torch.sin, torch.neg), start=1):
        monkeypatch.setattr(torch, "tanh", function)
        interrupted(tmp_path, after=2, monkeypatch=monkeypatch, labels=labels)
        assert len(list(tmp_path.iterdir())) == count


def test_a_curve_keeps_its_finished_radii(tmp_path: Path, loads: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    radii = [EPS / 8, EPS / 4]
    whole = judged(Net(), None, eps=radii)
    calls, blocks = len(loads), COUNT // BATCH
    assert calls == 2 * 2 * blocks  # two attacks at two radii, on every block
    interrupted(tmp_path, after=5 * blocks, monkeypatch=monkeypatch, eps=radii)
    loads.clear()
    again = judged(Net(), tmp_path, eps=radii)
    assert len(loads) == blocks  # the last attack at the last radius: what comes before, clean passes too, is kept
    for radius, result in whole.results.items():
        assert all(again.results[radius].correct[column].equal(right) for column, right in result.correct.items())
    assert not list(tmp_path.iterdir())


def test_attacks_given_as_objects_are_refused_with_progress(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="progress knows attacks by their names and configs; PGD-2 is an object"):
        judged(Net(), tmp_path, attacks=[PGD(Linf(EPS), 2, step_size=0.02)], eps=None)
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    judged(Net(), None)
    assert not list(tmp_path.iterdir())


def test_layers_without_weights_tell_models_apart_and_addresses_do_not() -> None:
    class Calling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.function = lambda x: x

        def extra_repr(self) -> str:
            return repr(self.function)

        def forward(self, x: Tensor) -> Tensor:
            return self.function(x)

    def told(layer: nn.Module) -> dict[str, Any]:
        return kept_module.model_identity(nn.Sequential(layer, nn.Flatten()))

    assert told(nn.ReLU()) == told(nn.ReLU()) != told(nn.SELU())
    assert told(nn.ReLU()) == told(nn.ReLU().eval())
    assert repr(Calling()) != repr(Calling()) and told(Calling()) == told(Calling())


def test_the_source_of_a_class_tells_models_apart(tmp_path: Path) -> None:
    """A forward that was edited between two sessions, in a class of the same name, with the same weights."""
    told = []
    for number, activation in enumerate(("relu", "tanh")):
        path = tmp_path / str(number) / "edited.py"
        path.parent.mkdir()
        path.write_text(
            "from torch import nn\n\n\nclass Edited(nn.Linear):\n    def forward(self, x):\n"
            f"        return super().forward(x).{activation}()\n"
        )
        spec = spec_from_file_location("edited", path)
        assert spec is not None and spec.loader is not None
        module = module_from_spec(spec)
        with mock.patch.dict(sys.modules, {"edited": module}):
            spec.loader.exec_module(module)
            torch.manual_seed(0)
            told.append(kept_module.model_identity(module.Edited(2, 2)))
    assert told[0] != told[1] and told[0]["structure"] == told[1]["structure"]


class Holding(nn.Module):
    """An attribute of any kind, and what torch gives every module."""

    def __init__(self, held: Any) -> None:
        super().__init__()
        self.held = held


def scaled(by: float) -> Callable[[Tensor], Tensor]:
    return lambda x: by * x


def circle(end: int) -> list[Any]:
    held: list[Any] = [end]
    held.append(held)
    return held


def layer(value: float) -> nn.Module:
    held = nn.Linear(1, 1, bias=False)
    nn.init.constant_(held.weight, value)
    return held


# How a value is made, and how another one is that answers may not tell from it.
HELD: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "list": (lambda: [1.0, 0.0], lambda: [0.0, 1.0]),
    "a list's kind": (lambda: [1, 2], lambda: (1, 2)),
    "dict": (lambda: {"mean": 0.5}, lambda: {"mean": 0.1}),
    "tensor": (lambda: torch.tensor(0.5), lambda: torch.tensor(0.1)),
    "tensor in a tuple": (
        lambda: (torch.ones(9000), 1),
        lambda: (torch.ones(9000).index_fill(0, torch.tensor(5), 2), 1),
    ),
    "array": (lambda: np.arange(9000.0), lambda: np.arange(9000.0) + (np.arange(9000) == 4500)),
    "set": (lambda: {"a", "b", "c"}, lambda: {"a", "b", "d"}),
    "object": (lambda: SimpleNamespace(mean=[0.5]), lambda: SimpleNamespace(mean=[0.1])),
    "modules in a list": (lambda: [layer(1.0)], lambda: [layer(2.0)]),
    "an attribute of a module in a list": (lambda: [Holding([1])], lambda: [Holding([2])]),
    "closure": (lambda: scaled(0.5), lambda: scaled(0.1)),
    "partial": (lambda: partial(torch.mul, other=0.5), lambda: partial(torch.mul, other=0.1)),
    "function": (lambda: torch.sin, lambda: torch.neg),
    "method": (lambda: Net().forward, lambda: other_weights().forward),
    "circle": (lambda: circle(1), lambda: circle(2)),
}


@pytest.mark.parametrize("kind", HELD)
def test_attributes_of_every_kind_tell_models_apart(kind: str) -> None:
    """An ensemble's weights in a list, a mean in a plain tensor: old outcomes went into the new model's accuracy."""
    one, other = HELD[kind]

    def identity(held: Any) -> str:
        return json.dumps(kept_module.model_identity(nn.Sequential(Holding(held))))

    assert identity(one()) == identity(one()) != identity(other())


def test_a_models_mode_hooks_and_place_are_not_its_content() -> None:
    model = nn.Sequential(Holding([1]))
    before = kept_module.model_identity(model)
    model[0].register_forward_hook(lambda *_: None).remove()
    assert kept_module.model_identity(model.eval()) == before
