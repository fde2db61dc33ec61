"""Networks compiled in place: numbers as uncompiled, keys as they were, and a compiler that fails is no end."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from detectors import detector, square_batch, ssd
from safetensors.torch import load_file
from tiny_runs import run, tiny_config
from torch import Tensor, nn

from natx.batch import Batch
from natx.benchmark.training import Trainer
from natx.errors import ConfigError
from natx.methods import Adversarial
from natx.models.compiled import Compilation, compilation_notes, compile_network
from natx.task import Task
from natx.testing import TinyCNNTask, TinyDataset
from natx.threat import L2
from natx.training.learner import Learner
from natx.training.plan import describe_plan
from tasks.reid import ReIDTask

CPU = torch.device("cpu")
N = 4
needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None, reason="torch.compile needs a C++ compiler on CPUs"
)


@pytest.fixture(autouse=True)
def nothing_compiled_before() -> Iterator[None]:
    yield
    torch.compiler.reset()


def broken(graph: Any, inputs: Any) -> Any:
    """A backend that fails."""
    raise ValueError("no such instruction\nand more")


def counting() -> tuple[Callable[..., Any], list[tuple[int, ...]]]:
    """A backend that runs graphs as they are, and the shapes for which it was asked."""
    shapes: list[tuple[int, ...]] = []

    def backend(graph: Any, inputs: list[Tensor]) -> Any:
        shapes.extend(tuple(value.shape) for value in inputs if isinstance(value, Tensor) and value.dim() == 4)
        return graph.forward

    return backend, shapes


# ------------------------------------------------------------------------------------------------ numbers


def classification() -> tuple[Task, Batch]:
    data = TinyDataset(N)
    return TinyCNNTask(5, dropout=0.0), data.__getitems__(range(N))


def retrieval() -> tuple[Task, Batch]:
    task = ReIDTask("squeezenet1_1", 2, height=64, width=32)
    batch = {"inputs": torch.rand(N, 3, 64, 32, generator=torch.Generator().manual_seed(0))}
    return task, {**batch, "data_samples": torch.arange(N) // 2, "index": torch.arange(N)}


def detection() -> tuple[Task, Batch]:
    return detector(ssd()), square_batch()


def pixel_gradient(task: Task, batch: Batch) -> Tensor:
    x = task.pixels(batch).requires_grad_()
    return torch.autograd.grad(sum(task(batch, x).losses.values()), x)[0]


@pytest.mark.parametrize(
    ("make", "backend"),
    [
        pytest.param(classification, "inductor", marks=needs_compiler),
        (retrieval, "aot_eager"),  # graphs of forward and backward without a compiler: inductor takes minutes for these
        (detection, "aot_eager"),
    ],
)
def test_numbers_are_those_of_the_network_itself(make: Callable[[], tuple[Task, Batch]], backend: str) -> None:
    """Forward, pixel gradient and one training step, attack and joint forward included, within 1e-5 in fp32.

    The attack's step is along the gradient, not its sign, which would make rounding as large as eps.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        eager, batch = make()
    compiled = copy.deepcopy(eager)
    count = len(batch["index"])
    compilation = compile_network(compiled, sizes=[count, 2 * count], backend=backend)
    for task in (eager, compiled):
        task.eval()
    gradients = [pixel_gradient(task, batch) for task in (eager, compiled)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-5 * float(gradients[0].abs().max()))
    scalars = []
    for task in (eager, compiled):
        attack = {"type": "PGD", "threat": L2(0.5), "steps": 1, "random_start": False}
        trainer = Trainer(Learner(task, Adversarial(attack, ("clean", "adv"))))
        scalars.append(trainer(batch))
    for name in scalars[0]:
        if "loss" in name:
            torch.testing.assert_close(scalars[0][name], scalars[1][name], rtol=1e-4, atol=1e-5)
    for (name, one), (other, two) in zip(eager.named_parameters(), compiled.named_parameters()):
        assert name == other
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)
    assert compilation.failure is None and set(compilation.calls) == {count, 2 * count}


# ------------------------------------------------------------------------------------------------ keys, shapes


SINGLE = {"type": "Adversarial", "attack": {"type": "SingleStep", "threat": {"type": "Linf", "eps": 0.1}}}


@pytest.mark.parametrize("method", [SINGLE, {"type": "AWP", "method": SINGLE, "gamma": 0.05}], ids=["plain", "AWP"])
def test_keys_and_files_stay(tmp_path: Path, method: dict[str, Any]) -> None:
    """The weights of a run with the network compiled by a backend that changes nothing are those of one without.

    AWP calls the network with other tensors in the place of its weights.
    """
    task = {"type": "TinyCNNTask", "num_classes": 5, "dropout": 0.0}  # whose draws a compiler may make otherwise
    settings = {"ema": {"decay": 0.9, "warmup": 0.0}, "train_cfg": {"max_epochs": 1}, "task": task}
    states = [run(tiny_config(method, **settings), tmp_path / "plain")]
    states.append(run(tiny_config(method, compile="eager", **settings), tmp_path / "compiled"))
    for name in ("best.safetensors", "last.safetensors"):
        plain, compiled = (load_file(tmp_path / folder / name) for folder in ("plain", "compiled"))
        assert plain.keys() == compiled.keys() and not any("_orig_mod" in key for key in compiled)
        assert all(torch.equal(plain[key], compiled[key]) for key in plain), name
    assert states[0]["live"].keys() == states[1]["live"].keys()


def test_full_batches_are_compiled_and_others_are_not() -> None:
    backend, shapes = counting()
    task = TinyCNNTask(5).eval()
    compilation = compile_network(task, sizes=[4], backend=backend)
    images = torch.rand(4, 3, 8, 8)
    for count in (4, 3, 2, 4, 1):
        torch.testing.assert_close(task.logits(images[:count]), copy.deepcopy(task).logits(images[:count]))
    assert compilation.calls == {4: 2} and {shape[0] for shape in shapes if shape[1:] == (3, 8, 8)} == {4}


def test_a_copy_is_not_compiled() -> None:
    """An average of the weights that shared the compiled call would answer with the other's weights."""
    backend, _ = counting()
    task = TinyCNNTask(5).eval()
    compilation = compile_network(task, sizes=[4], backend=backend)
    twin = copy.deepcopy(task)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert float(twin.logits(torch.rand(4, 3, 8, 8)).detach().abs().max()) == 0 and compilation.calls == {}


def test_detectors_name_what_their_network_calls() -> None:
    task, batch = detection()
    backend, _ = counting()
    count = len(batch["index"])
    compilation = compile_network(task, sizes=[count], backend=backend)
    task.eval().network(task.pixels(batch), batch)
    assert compilation.calls[count] == len(task.compiled_parts()) == 3


# ------------------------------------------------------------------------------------------------ failures


def test_a_compiler_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr("natx.models.compiled.say", lines.append)
    task = TinyCNNTask(5).eval()
    plain = copy.deepcopy(task)
    compilation = compile_network(task, sizes=[4], backend=broken)
    images = torch.rand(4, 3, 8, 8)
    for _ in range(2):
        assert torch.equal(task.logits(images), plain.logits(images))
    assert len(lines) == 1 and "\n" not in lines[0] and "runs uncompiled" in lines[0]
    assert compilation.failure is not None and "no such instruction" in compilation.failure
    assert compilation_notes(compilation)[0].startswith("torch.compile failed")


def test_what_the_network_itself_refuses_is_not_taken_for_a_compilers_failure() -> None:
    class Refusing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("images of another size")

    class RefusingTask(TinyCNNTask):
        @property
        def upstream(self) -> nn.Module:
            return self.refusing

    task = RefusingTask(5)
    task.refusing = Refusing()
    compile_network(task, sizes=[4], backend="eager")
    with pytest.raises(ValueError, match="another size"):
        task.refusing(torch.rand(4, 3, 8, 8))


def test_a_method_that_differentiates_gradients_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="GradAlign differentiates the network's gradients"):
        describe_plan(tiny_config({"type": "GradAlign", "method": SINGLE}, compile=True), tmp_path / "run", device=CPU)


def test_reports_say_what_was_compiled() -> None:
    assert compilation_notes(None) == []
    assert compilation_notes(Compilation("inductor", frozenset({250}), calls={250: 3})) == [
        "the network was compiled (torch.compile, inductor) for batches of 250: 3 calls"
    ]


def test_the_plan_counts_the_first_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that takes 40 seconds by the clock that the rehearsal reads."""
    import natx.training.rehearsal as rehearsal

    ticks = iter([0.0, *(second for end in (41.0, 42.0, 43.0, 44.0, 45.0) for second in (end, end))])
    clock = type("Clock", (), {"perf_counter": staticmethod(lambda: next(ticks))})
    monkeypatch.setattr(rehearsal, "time", clock)
    config = tiny_config({"type": "Standard"}, compile="eager")
    config.data.heldout = 0
    lines = describe_plan(config, tmp_path / "run", device=CPU, timing=True)
    # Three epochs of five steps of a second each, and 40 seconds for the first call.
    assert any(line.startswith("time: about 55 s, 40 s of it for compiling") for line in lines), lines
    assert "compiled" in lines[2]
