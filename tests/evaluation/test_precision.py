"""Models in half precision are judged as float32 copies; float32 is not rounded to TF32 while judging."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import natx
from natx.attacks import PGD
from natx.checks import audit
from natx.errors import DataError
from natx.evaluation import evaluate
from natx.evaluation.saved import save_adversarial
from natx.judging.transfer_matrix import transfer_matrix
from natx.models.half import in_float32
from natx.runtime.precision import exact_float32
from natx.testing import TinyCNNTask, TinyDataset
from natx.threat import Linf

LINF = Linf(4 / 255)


def classifier() -> nn.Module:
    """A fixed network whose logits lie far apart, so that gradients in float16 underflow."""
    generator = torch.Generator().manual_seed(4)
    net = nn.Sequential(nn.Flatten(), nn.Linear(27, 32), nn.ReLU(), nn.Linear(32, 5))
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator))
    return net


def pictures() -> tuple[Tensor, Tensor]:
    images = torch.rand(60, 3, 3, 3, generator=torch.Generator().manual_seed(5))
    return images, classifier()(images).argmax(1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_half_model_is_judged_as_its_float32_copy_and_stays_as_it_is(dtype: torch.dtype) -> None:
    model, (images, labels) = classifier().to(dtype), pictures()
    wide = copy.deepcopy(model).float()
    kept = [weight.clone() for weight in model.parameters()]
    given: dict[str, Any] = {"eps": 4 / 255, "attacks": ["PGD-20", "C&W"]}
    half, full = (natx.evaluate(one, images, labels, **given) for one in (model, wide))
    assert all(torch.equal(half.correct[name], right) for name, right in full.correct.items())
    kind = str(dtype).removeprefix("torch.")
    assert half.notes[0] == f"the model is in {kind}: judged as a float32 copy" and not any(
        kind in note for note in full.notes
    )
    assert all(torch.equal(one, two) and one.dtype == dtype for one, two in zip(model.parameters(), kept))


def test_a_task_with_half_weights_too() -> None:
    task, data = TinyCNNTask().eval(), TinyDataset(12)
    task.net.half()
    found = evaluate(task, data, [PGD(LINF, 4)])
    full, notes = in_float32(task)
    assert notes and full is not task and next(task.net.parameters()).dtype == torch.float16
    assert found.attacks[0].notes[0] == notes[0]
    assert torch.equal(found.correct["PGD-4"], evaluate(full, data, [PGD(LINF, 4)]).correct["PGD-4"])
    assert in_float32(full) == (full, [])


class Shared(set[tuple[torch.dtype, str]]):
    """A set of which a copy is the set itself."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Shared:
        return self


class Watched(TinyCNNTask):
    """Remembers in what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = Shared()

    def logits(self, x: Tensor) -> Tensor:
        weight = next(self.net.parameters())
        self.seen.add((weight.dtype, torch.get_float32_matmul_precision()))
        return super().logits(x.to(weight.dtype))


def saved(task: Watched, data: TinyDataset, folder: Path) -> None:
    save_adversarial(task, data, [PGD(LINF, 2)], folder / "adv")


def checked(task: Watched, data: TinyDataset, folder: Path) -> None:
    audit(task, data, attacks=[PGD(LINF, 2)], vanilla=task, images=4, draws=4)


def transferred(task: Watched, data: TinyDataset, folder: Path) -> None:
    notes = transfer_matrix({"a": task, "b": TinyCNNTask(seed=1).eval()}, data, [PGD(LINF, 2)]).notes
    assert notes["PGD-2", "a"][0].endswith("judged as a float32 copy") and "float32" not in str(notes["PGD-2", "b"])


@pytest.mark.parametrize("judging", [saved, checked, transferred])
def test_all_that_judges_is_in_exact_float32(
    judging: Callable[[Watched, TinyDataset, Path], None], tmp_path: Path
) -> None:
    """Another precision than the evaluation's would break other images than it says."""
    task, before = Watched().eval(), torch.get_float32_matmul_precision()
    task.net.half()
    torch.set_float32_matmul_precision("medium")
    try:
        judging(task, TinyDataset(8), tmp_path)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert task.seen == {(torch.float32, "highest")}  # a copy's, which shares the set
    assert next(task.net.parameters()).dtype == torch.float16


class Casting(nn.Module):
    """Casts its input to half precision itself."""

    def __init__(self) -> None:
        super().__init__()
        self.net = classifier().half()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.half())


class Autocast(nn.Module):
    """Computes in bfloat16 by autocast, whatever its weights are."""

    def __init__(self) -> None:
        super().__init__()
        self.net = classifier()

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.net(x)


def test_a_model_that_casts_by_itself_is_refused_in_one_line_and_autocast_is_told() -> None:
    images, labels = pictures()
    with pytest.raises(DataError, match="float16: judged as a float32 copy, and that does not run") as error:
        natx.evaluate(Casting(), images, labels, eps=0.01, attacks="PGD-4")
    assert "\n" not in str(error.value)
    notes = natx.evaluate(Autocast(), images, labels, eps=0.01, attacks="PGD-4").notes
    assert any("computes in bfloat16 of itself" in note for note in notes)


def switches() -> dict[str, Any]:
    """What torch says of rounding float32, as far as it is there."""
    backends = torch.backends
    ask: dict[str, Callable[[], Any]] = {
        "matmul": lambda: backends.cuda.matmul.fp32_precision,
        "conv": lambda: backends.cudnn.conv.fp32_precision,
        "rnn": lambda: backends.cudnn.rnn.fp32_precision,
        "cpu matmul": lambda: backends.mkldnn.matmul.fp32_precision,
        "old": lambda: (torch.get_float32_matmul_precision(), backends.cudnn.allow_tf32),
    }
    found = {}
    for name, question in ask.items():
        try:
            found[name] = question()
        except (AttributeError, RuntimeError) as error:
            found[name] = type(error).__name__
    return found


@pytest.mark.parametrize("matmul", ["highest", "high", "medium"])
@pytest.mark.parametrize("cudnn", [True, False])
def test_switches_are_off_inside_and_put_back(matmul: Any, cudnn: bool) -> None:
    start = switches()
    try:
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = cudnn
        before = switches()
        with pytest.raises(KeyError), exact_float32():
            inside = switches()
            assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
            assert torch.get_float32_matmul_precision() == "highest"
            assert {inside[name] for name in ("matmul", "conv", "rnn", "cpu matmul")} <= {"ieee", "AttributeError"}
            raise KeyError
        assert switches() == before
    finally:
        torch.set_float32_matmul_precision(start["old"][0])
        torch.backends.cudnn.allow_tf32 = start["old"][1]


def test_judging_has_them_off() -> None:
    looks: list[bool] = []

    class Looking(TinyCNNTask):
        def network(self, x: Tensor, batch: Any) -> Tensor:
            looks.append(torch.backends.cudnn.allow_tf32)
            return super().network(x, batch)

    assert torch.backends.cudnn.allow_tf32  # torch's own choice
    evaluate(Looking().eval(), TinyDataset(6), [PGD(LINF, 4)])
    assert looks and not any(looks) and torch.backends.cudnn.allow_tf32
    looks.clear()
    PGD(LINF, 4)(Looking().eval(), TinyDataset(6).__getitems__(range(6)))  # training keeps its own
    assert looks and all(looks)
