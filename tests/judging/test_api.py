"""natx.evaluate and natx.load, against closed forms of linear models and plain torch."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import natx
from natx.attacks import PGD, Transfer
from natx.errors import CheckpointError, ConfigError, DataError, UserError
from natx.models.adversary import Adversary
from natx.models.checkpoint import save_weights
from natx.testing import LinearTask, TinyCNNTask
from natx.threat import L2, Linf

EPS = 0.03


class Linear(nn.Module):
    """Logits ``W x + b`` of flattened pixels."""

    def __init__(self, classes: int, *, softmax: bool = False) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(torch.randn(classes, 12, generator=generator))
        self.bias = nn.Parameter(torch.zeros(classes))
        self.softmax = softmax

    def forward(self, x: Tensor) -> Tensor:
        z = x.flatten(1) @ self.weight.T + self.bias
        return z.softmax(1) if self.softmax else z


def pictures(count: int, model: nn.Module) -> tuple[Tensor, Tensor]:
    """Images far from 0 and 1, so that clipping never binds, with the model's own classes but for the first three."""
    x = 0.3 + 0.4 * torch.rand(count, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    y = model(x).argmax(1)
    y[:3] = (y[:3] + 1) % len(model.bias)
    return x, y


def survivors(model: Linear, x: Tensor, y: Tensor, *, order: float, eps: float) -> Tensor:
    """Images that no perturbation breaks: each margin beats eps times the dual norm of the weights' difference."""
    w = model.weight.detach()
    z = x.flatten(1) @ w.T + model.bias.detach()
    reach = eps * (w[y][:, None] - w[None]).norm(p=order, dim=2)
    margin = z.gather(1, y[:, None]) - z - reach
    margin[torch.arange(len(y)), y] = 1
    assert margin.abs().min() > 1e-4  # none lies on the border
    return (margin > 0).all(1)


@pytest.mark.parametrize("threat", [dict(eps=EPS), dict(threat=Linf(EPS)), dict(threat=L2(0.08))])
def test_two_linear_classes_have_a_closed_form(threat) -> None:
    model = Linear(2)
    x, y = pictures(60, model)
    result = natx.evaluate(model, x, y, attacks=["PGD-20", "C&W"], batch_size=17, **threat)
    order, eps = (2, 0.08) if isinstance(threat.get("threat"), L2) else (1, EPS)
    expected = survivors(model, x, y, order=order, eps=eps)
    assert list(result.correct) == ["Clean", "PGD-20", "C&W"]
    assert torch.equal(result.correct["Clean"], torch.arange(60) >= 3)
    assert torch.equal(result.correct["PGD-20"], expected) and torch.equal(result.correct["C&W"], expected)
    assert torch.equal(result.survivors, expected) and 5 < expected.sum() < 50
    percent = 100 * expected.double().mean().item()
    assert result.accuracies == pytest.approx({"Clean": 95.0, "PGD-20": percent, "C&W": percent})
    assert result.worst_case == pytest.approx(percent)
    assert f"{percent:.2f}" in str(result) and "95.00" in str(result) and "Worst case" in str(result)
    assert f"| {percent:.2f} |" in result._repr_markdown_()


def test_four_linear_classes_under_autoattack() -> None:
    model = Linear(4)
    x, y = pictures(24, model)
    result = natx.evaluate(model, x, y, attacks="AutoAttack", eps=0.15)
    assert list(result.correct) == ["Clean", "AA"]
    assert torch.equal(result.correct["AA"], survivors(model, x, y, order=1, eps=0.15))
    assert any("targets" in note for note in result.notes)  # the library's remark on few classes


def test_an_attack_may_be_a_name_a_config_or_an_object() -> None:
    model = Linear(2)
    x, y = pictures(40, model)
    step = EPS / 4
    ways = ["PGD-5", dict(type="PGD", steps=5, step_size=step), PGD(Linf(EPS), 5, step_size=step)]
    found = [natx.evaluate(model, x, y, attacks=way, eps=EPS).correct["PGD-5"] for way in ways]
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    own = natx.evaluate(model, x, y, attacks=[PGD(Linf(EPS), 5, step_size=step)])
    assert torch.equal(own.correct["PGD-5"], found[0]) and own.threat == "Linf 7.65/255"
    together = natx.evaluate(model, x, y, attacks=["pgd-2/5", "FGSM", "cw"], eps=EPS)
    assert list(together.correct) == ["Clean", "PGD-2", "PGD-5", "FGSM", "C&W"]
    assert torch.equal(together.correct["PGD-5"], found[0])


def test_uint8_arrays_and_lists_are_images_and_labels_too() -> None:
    model = Linear(2)
    x, y = pictures(40, model)
    x = (x * 255).round() / 255
    y = model(x).argmax(1)
    expected = natx.evaluate(model, x, y, attacks="PGD-3", eps=EPS)
    coded = (x * 255).round().to(torch.uint8).numpy()
    found = natx.evaluate(model, coded, y.tolist(), attacks="PGD-3", eps=EPS)
    assert torch.equal(found.correct["PGD-3"], expected.correct["PGD-3"])


@pytest.mark.parametrize("kind", ["uint16", "uint32", "uint64", "int8"])
def test_labels_are_integers_of_any_width(kind: str) -> None:
    model = Linear(2)
    x, y = pictures(10, model)
    result = natx.evaluate(model, x, y.numpy().astype(kind), attacks="FGSM", eps=EPS)
    assert torch.equal(result.correct["Clean"], torch.arange(10) >= 3)


def test_labels_without_names_are_numbered_as_the_models_classes() -> None:
    model = Linear(3)
    x, y = pictures(10, model)
    expected = natx.evaluate(model, x, y, attacks="FGSM", eps=EPS)
    for names in (("0", "2", "1"), ("1", "7", "9"), ("cat", "dog", "cow")):  # folders may be called by numbers
        model.classes = names
        result = natx.evaluate(model, x, y, attacks="FGSM", eps=EPS)
        assert torch.equal(result.correct["FGSM"], expected.correct["FGSM"]) and result.notes == expected.notes


def test_a_source_of_transferred_attacks_numbers_the_models_classes() -> None:
    model, source = Linear(3), LinearTask(torch.randn(3, 12, generator=torch.Generator().manual_seed(0)))
    x, y = pictures(10, model)
    model.classes, source.classes = ("ant", "bee", "cat"), ("bee", "ant", "cat")
    attack = Transfer(Linf(EPS), Adversary([source]), dict(type="FGSM"))
    for judged in (natx.evaluate, natx.attack):
        with pytest.raises(ConfigError, match="was trained on other classes"):
            judged(model, x, y, **{"attacks" if judged is natx.evaluate else "attack": attack})


def test_the_model_is_left_as_it_was() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(16, 3))
    net.train()
    net[1].eval()
    net[0].weight.requires_grad_(False)
    net[4].bias.grad = torch.ones(3)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    modes, flags = [m.training for m in net.modules()], [p.requires_grad for p in net.parameters()]
    state = torch.get_rng_state()
    x = torch.rand(20, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    net.eval()
    labels = net(x).argmax(1)
    net.train()
    net[1].eval()
    result = natx.evaluate(net, x, labels, attacks=["PGD-3"], eps=0.01)
    assert result.accuracies["Clean"] == 100.0  # judged in eval mode, whatever mode it came in
    with pytest.raises(DataError):
        natx.evaluate(net, x, labels + 3, attacks=["PGD-3"], eps=0.01)
    assert [m.training for m in net.modules()] == modes
    assert [p.requires_grad for p in net.parameters()] == flags
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert torch.equal(net[4].bias.grad, torch.ones(3)) and net[4].weight.grad is None
    assert torch.equal(torch.get_rng_state(), state)


class Mean(nn.Module):
    """Two classes by the mean pixel; no parameters at all."""

    def forward(self, x: Tensor) -> Tensor:
        mean = x.flatten(1).mean(1)
        return torch.stack([0.5 - mean, mean - 0.5], 1)


@pytest.mark.parametrize("device", [None, "cpu"])
def test_a_module_without_parameters(device) -> None:
    x = torch.tensor([0.30, 0.42, 0.61, 0.48]).view(4, 1, 1, 1).expand(4, 1, 3, 3)
    result = natx.evaluate(Mean(), x, [0, 0, 1, 0], attacks="PGD-10", eps=0.1, device=device)
    assert result.correct["PGD-10"].tolist() == [True, False, True, False]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions(dtype) -> None:
    model = Linear(2)
    x, y = pictures(30, model)
    expected = survivors(model, x, y, order=1, eps=EPS)
    found = natx.evaluate(model.to(dtype), x, y, attacks="PGD-10", eps=EPS).correct["PGD-10"]
    assert torch.equal(found, expected) if dtype == torch.float64 else (found == expected).sum() >= 27
    assert model.weight.dtype == dtype


def test_softmax_outputs_are_told() -> None:
    model, logits = Linear(3, softmax=True), Linear(3)
    x, y = pictures(20, model)
    with pytest.warns(UserWarning, match="look like probabilities"):
        result = natx.evaluate(model, x, y, attacks="PGD-4", eps=0.01)
    assert "probabilities" in str(result) and "probabilities" in result._repr_markdown_()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert natx.evaluate(logits, x, y, attacks="PGD-4", eps=0.01).notes == []


def test_success_last_follows_the_image_to_the_end() -> None:
    model = Linear(2)
    x, y = pictures(60, model)
    attack = dict(type="PGD", steps=1, step_size=EPS, random_start=True, seed=2)
    any_step = natx.evaluate(model, x, y, attacks=attack, eps=EPS).correct["PGD-1"]
    last = natx.evaluate(model, x, y, attacks=attack, eps=EPS, success="last").correct["PGD-1"]
    assert (last >= any_step).all()


X, Y = torch.rand(6, 3, 2, 2), torch.zeros(6, dtype=torch.int64)


def weight_normed() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.Sequential(nn.Flatten(), nn.utils.weight_norm(nn.Linear(12, 2)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(images=X * 2 - 1), "pixels must be in"),
        (dict(images=X * 255), "pixels must be in"),
        (dict(images=X[0]), "expected [N, channels, height, width]"),
        (dict(images=X.long()), "expected floats in [0,1] or uint8"),
        (dict(images=torch.rand(6, 8, 8, 3)), "permute(0, 3, 1, 2)"),
        (dict(labels=Y[:5]), "expected integers [6]"),
        (dict(labels=Y.float()), "expected integers [6]"),
        (dict(images=TensorDataset(X, torch.eye(2).long()[Y]), labels=None), "labels are torch.int64 [6, 2]"),
        (dict(images=[(X, Y), (X[..., :1], Y)], labels=None), "images are of several sizes"),
        (dict(labels=Y - 1), "from 0 on"),
        (dict(labels=Y + 2), "the model has 2 classes"),
        (dict(model=lambda x: x), "expected a torch.nn.Module"),
        (dict(model=nn.Flatten(0)), "expected logits [N, classes]"),
        (dict(model=nn.Sequential(nn.Flatten(), nn.Linear(12, 1))), "at least 2"),
        (dict(eps=None), "needs a threat model"),
        (dict(eps=8), "eps=8/255"),
        (dict(threat=L2(1.0)), "not both"),
        (dict(eps=None, threat="L2"), "a threat model is L2(0.5)"),
        (dict(eps=[0.01, 0.02], attacks=["FGSM", PGD(Linf(0.01), 2)]), "PGD-2 has a threat model of its own"),
        (dict(eps=[0.01], attacks=dict(type="FGSM", threat=Linf(0.01))), "the same at every eps of a curve"),
        (dict(attacks=None), "attacks is empty"),
        (dict(model=weight_normed().half()), "cannot copy it to judge it in float32"),
        (dict(attacks=["PGD"]), "known: PGD-K"),
        (dict(attacks=[]), "attacks is empty"),
        (dict(attacks=[3]), "an attack is a name"),
        (dict(attacks=["PGD-5", "PGD-5"]), "two attacks fill the column"),
        (dict(attacks=["PGD-5"], success="first"), "'any' or 'last'"),
        (dict(batch_size=0), "batch_size is a whole number from 1; got 0"),
        (dict(batch_size=2.5), "batch_size is a whole number from 1; got 2.5"),
        (dict(attacks=["FGSM", dict(type="PGD", steps=2.0)]), "attacks.1.steps should be a valid integer; got 2.0"),
        (dict(attacks=[dict(type="PGD", stepz=2)]), "attacks.0.stepz is no argument of PGD: is 'steps' meant?"),
        (dict(device="gpu"), "no device"),
    ],
)
def test_mistakes_are_one_line(change, words) -> None:
    given = dict(model=Linear(2), images=X, labels=Y, attacks=["PGD-2"], eps=EPS) | change
    with pytest.raises(UserError) as error:
        natx.evaluate(given.pop("model"), given.pop("images"), given.pop("labels"), **given)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_nan_logits_are_refused() -> None:
    model = Linear(2)
    nn.init.constant_(model.bias, torch.nan)
    with pytest.raises(DataError, match="NaN"):
        natx.evaluate(model, X, Y, attacks="PGD-2", eps=EPS)


def test_importing_natx_imports_nothing_heavy() -> None:
    code = (
        "import sys, natx; print('torch' in sys.modules, sorted(m for m in sys.modules if m[:4] == 'natx'), dir(natx))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (
        ran.stdout.startswith("False ['natx', 'natx.version']")
        and "'evaluate'" in ran.stdout
        and "'load'" in ran.stdout
    )
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = natx.nothing


def saved(path: Path, model, /, **meta) -> Path:
    save_weights(path, model, meta=meta)
    return path


def test_load_takes_pixels_and_returns_logits(tmp_path: Path) -> None:
    task = TinyCNNTask(4, width=5, seed=7).eval()
    settings = dict(type="TinyCNNTask", num_classes=4, width=5, seed=1)
    path = saved(tmp_path / "best.safetensors", task, task=settings, classes=list("abcd"))
    state = torch.get_rng_state()
    model = natx.load(path)
    assert torch.equal(torch.get_rng_state(), state)
    x = torch.rand(3, 3, 8, 8)
    with torch.no_grad():
        expected = task.net((x - 0.5) / 0.25)
        torch.testing.assert_close(model(x), expected, rtol=0, atol=0)
    assert not model.training and model.classes == ("a", "b", "c", "d")
    assert model(x[:0]).shape == (0, 4)
    coded = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    torch.testing.assert_close(model(coded), model(coded.float() / 255))
    with pytest.raises(DataError, match="do not normalise"):
        model(x * 2 - 1)
    x.requires_grad_()
    model(x).sum().backward()
    assert x.grad.abs().sum() > 0


def test_load_gives_what_evaluate_takes(tmp_path: Path) -> None:
    weight = Linear(2).weight.detach()
    settings = dict(type="LinearTask", weight=torch.zeros(2, 12).tolist())
    path = saved(tmp_path / "linear.safetensors", LinearTask(weight), task=settings)
    x, y = pictures(30, Linear(2))
    found = natx.evaluate(natx.load(path), x, y, attacks="PGD-20", eps=EPS)
    assert torch.equal(found.correct["PGD-20"], survivors(Linear(2), x, y, order=1, eps=EPS))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (None, "does not say which task"),
        ("TinyCNNTask", "does not say which task"),
        (dict(type="subprocess.run", args=["touch", "RAN"]), "natx.load knows"),
        (dict(type="nobody.knows.this"), "natx.load knows"),
        (dict(type="TinyCNNTask", num_classes=4, net=dict(type="subprocess.run")), "sets type"),
        (dict(type="TinyCNNTask", model_args=dict(checkpoint_path="/x")), "sets checkpoint_path"),
        (dict(type="TinyCNNTask", model_args=[dict(pretrained_cfg={})]), "sets pretrained_cfg"),
        (dict(type="TinyCNNTask", colour="red"), "cannot be built"),
        (dict(type="TinyCNNTask", num_classes=5), "does not fit the model"),
        (dict(type="TinyCNNTask", num_classes=4, batch_norm=False), "another architecture"),
    ],
)
def test_load_refuses_in_one_line_what_it_must_not_build(tmp_path: Path, monkeypatch, settings, words) -> None:
    monkeypatch.chdir(tmp_path)
    path = saved(tmp_path / "w.safetensors", TinyCNNTask(4), **({} if settings is None else {"task": settings}))
    with pytest.raises(CheckpointError) as error:
        natx.load(path)
    assert words in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "RAN").exists()


def test_load_ignores_where_the_run_once_took_its_weights_from(tmp_path: Path) -> None:
    settings = dict(type="TinyCNNTask", num_classes=4, pretrained=True, checkpoint="/nowhere/else.pth")
    model = natx.load(saved(tmp_path / "w.safetensors", TinyCNNTask(4, seed=2), task=settings))
    assert model(torch.rand(1, 3, 8, 8)).shape == (1, 4)


def test_load_refuses_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "cut.safetensors").write_bytes(b"\x08\x00\x00")
    save_file({"w": torch.zeros(2)}, tmp_path / "plain.safetensors", metadata={"natx": json.dumps([1])})
    (tmp_path / "text.safetensors").write_text("{}")
    torch.save({}, tmp_path / "w.pth")
    for name in ("cut.safetensors", "plain.safetensors", "text.safetensors", "w.pth", "none.safetensors"):
        with pytest.raises(CheckpointError) as error:
            natx.load(tmp_path / name)
        assert "\n" not in str(error.value)
    good = saved(tmp_path / "w.safetensors", TinyCNNTask(5), task=dict(type="TinyCNNTask"))
    with pytest.raises(ConfigError, match="no device"):
        natx.load(good, device="nowhere")


def test_numbers_are_numpy_friendly() -> None:
    model = Linear(2)
    x, y = pictures(12, model)
    result = natx.evaluate(model, x.numpy().astype(np.float64), y.numpy(), attacks="PGD-2", eps=EPS)
    assert isinstance(result.worst_case, float) and result.survivors.numpy().dtype == bool
    json.dumps(result.report())


def test_notes_name_the_attacks_that_they_are_of() -> None:
    """Logits so large that the softmax is one: the cross-entropy has no gradient, differences of logits have."""
    model = Linear(2)
    x, y = pictures(20, model)
    with torch.no_grad():
        model.weight *= 1e30
    attacks = ({"type": "PGD", "steps": 3, "name": "one"}, "C&W", {"type": "PGD", "steps": 3, "name": "two"})
    result = natx.evaluate(model, x, y, attacks=(attack for attack in attacks), eps=EPS)
    met = [note for note in result.notes if "gradient was zero" in note]
    assert len(met) == 1 and met[0].startswith("one, two: images whose gradient was zero")
    assert result.accuracies["C&W"] < result.accuracies["one"] == result.accuracies["two"]
    assert len(set(result.notes)) == len(result.notes)
