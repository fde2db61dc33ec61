"""natx.evaluate, natx.attack, natx.load and natx.train with what users have at hand."""

from __future__ import annotations

import builtins
import json
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from hub import redirect, served
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import ConcatDataset, DataLoader, TensorDataset
from workshop import Workshop

import natx
from natx.attacks import PGD
from natx.config import load_config
from natx.data.base import InMemory
from natx.errors import CheckpointError, ConfigError, DataError
from natx.evaluation.statistics import wilson
from natx.models.checkpoint import save_weights
from natx.models.weights import read_weights
from natx.threat import Linf
from tasks.cls import ClassificationTask

EPS = 4 / 255


class Linear(nn.Module):
    """Three classes, linear in the pixels."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.layer = nn.Linear(3 * 4 * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(1))


class Wrapped(Linear):
    """The same in a tuple, a dict or an object."""

    def __init__(self, form: type) -> None:
        super().__init__()
        self.form = form

    def forward(self, x: Tensor) -> Any:
        logits = super().forward(x)
        return (x, logits) if self.form is tuple else {"aux": x, "scores": logits}


def images(count: int = 12) -> tuple[Tensor, Tensor]:
    x = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    return x, Linear()(x).argmax(1)


# --- images of any form -----------------------------------------------------------------------------------------------


class Dicts(torch.utils.data.Dataset):
    def __init__(self, names: tuple[str, str]) -> None:
        self.names, (self.x, self.y) = names, images()

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return dict(zip(self.names, (self.x[i], int(self.y[i]))))


X, Y = images()
FORMS = {
    "tensors": (X, Y),
    "arrays": (X.numpy(), Y.numpy()),
    "a flipped array": (np.ascontiguousarray(X.numpy()[..., ::-1])[..., ::-1], Y.tolist()),
    "a list of tensors": ([*X], Y),
    "a list of arrays": ([*X.numpy()], Y),
    "a loader": (DataLoader(TensorDataset(X, Y), batch_size=5), None),
    "batches": (None, None),
    "a list of batches": ([(X[:5], Y[:5]), (X[5:], Y[5:])], None),
    "sets of natx in one": (
        ConcatDataset([InMemory(x, y, classes="abc") for x, y in zip(X.split(5), Y.split(5))]),
        None,
    ),
    "a data set of torch": (TensorDataset(X, Y), None),
    "dicts of Hugging Face": (DataLoader(Dicts(("pixel_values", "labels")), batch_size=5), None),
    "dicts one by one": (Dicts(("image", "label")), None),
    "a data set of natx": (InMemory(X, Y, classes=["a", "b", "c"]), None),
}


@pytest.mark.parametrize("form", FORMS)
def test_images_come_in_any_form(form: str) -> None:
    expected = natx.evaluate(Linear(), X, Y, attacks="PGD-3", eps=EPS)
    source, labels = FORMS[form]
    source = iter([(X[:5], Y[:5]), (X[5:], Y[5:])]) if form == "batches" else source
    result = natx.evaluate(Linear(), source, labels, attacks="PGD-3", eps=EPS)
    assert all(torch.equal(result.correct[name], expected.correct[name]) for name in expected.correct)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (X, "without labels are a data set or a DataLoader; got Tensor"),
        (DataLoader(X, batch_size=4), "batches are .images, labels. with images as tensors"),
        ([("not a tensor", 1)], "batches are .images, labels. with images as tensors; got str"),
        ([], "holds no images"),
    ],
)
def test_what_holds_no_images_is_one_line(source: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        natx.evaluate(Linear(), source, attacks="PGD-3", eps=EPS)


def test_images_that_do_not_fit_are_one_line() -> None:
    with pytest.raises(DataError, match="a DataLoader or a data set goes alone, without labels"):
        natx.evaluate(Linear(), TensorDataset(X, Y), Y, attacks="PGD-3", eps=EPS)
    with pytest.raises(DataError, match=r"the model does not take images \[1, 4, 4\]"):
        natx.evaluate(Linear(), X[:, :1], Y, attacks="PGD-3", eps=EPS)
    with pytest.raises(DataError, match=r"or transpose\(0, 3, 1, 2\) of an array"):
        natx.evaluate(Linear(), X.numpy().transpose(0, 2, 3, 1), Y, attacks="PGD-3", eps=EPS)


@pytest.mark.parametrize(("form", "name"), [(tuple, 1), (tuple, "1"), (dict, "scores")])
def test_logits_within_an_output_are_named(form: type, name: str | int) -> None:
    expected = natx.evaluate(Linear(), X, Y, attacks="PGD-3", eps=EPS)
    result = natx.evaluate(Wrapped(form), X, Y, attacks="PGD-3", eps=EPS, logits=name)
    assert result.accuracies == expected.accuracies
    with pytest.raises(DataError, match="say which part is logits"):
        natx.evaluate(Wrapped(form), X, Y, attacks="PGD-3", eps=EPS)


def test_mean_and_std_are_those_of_a_model_of_normalised_images() -> None:
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]
    shift = [torch.tensor(values).view(1, 3, 1, 1) for values in (mean, std)]
    labels = Linear()((X - shift[0]) / shift[1]).argmax(1)
    assert natx.evaluate(Linear(), X, labels, attacks="FGSM", eps=EPS, mean=mean, std=std).accuracies["Clean"] == 100
    with pytest.raises(ConfigError, match="mean and std go together"):
        natx.evaluate(Linear(), X, labels, attacks="FGSM", eps=EPS, mean=mean)
    labels = Linear()((X - 0.5) / 0.25).argmax(1)
    assert natx.evaluate(Linear(), X, labels, attacks="FGSM", eps=EPS, mean=0.5, std=0.25).accuracies["Clean"] == 100


# --- one eps or several -----------------------------------------------------------------------------------------------


def test_several_eps_give_a_curve_of_the_single_results() -> None:
    radii = [8 / 255, 2 / 255]
    curve = natx.evaluate(Linear(), X, Y, attacks="PGD-3", eps=radii)
    assert [*curve.results] == sorted(radii)
    for eps in radii:
        alone = natx.evaluate(Linear(), X, Y, attacks="PGD-3", eps=eps)
        assert curve[eps].accuracies == alone.accuracies == curve.accuracies[eps]
        assert curve.worst_case[eps] == alone.worst_case
        right = int(alone.correct["PGD-3"].sum())
        assert (
            alone.intervals["PGD-3"]
            == tuple(100 * end for end in wilson(right, len(X)))
            == curve.intervals[eps]["PGD-3"]
        )
        assert f"Linf {round(eps * 255)}/255" in str(curve) and f"{round(eps * 255)}/255" in curve._repr_markdown_()
    for several in (np.array(radii), torch.tensor(radii, dtype=torch.float64), tuple(radii)):
        assert [*natx.evaluate(Linear(), X, Y, attacks="FGSM", eps=several).results] == sorted(radii)
    for one in (np.array(EPS), torch.tensor(EPS, dtype=torch.float64), np.float64(EPS)):
        assert natx.evaluate(Linear(), X, Y, attacks="FGSM", eps=one).threat == "Linf 4/255"
    with pytest.raises(ConfigError, match="eps is empty"):
        natx.evaluate(Linear(), X, Y, eps=[])
    for text in ("8/255", ["8/255"], "1", "01", b"1"):  # the letters of the last ones are numbers
        with pytest.raises(ConfigError, match="eps is a number such as 8 / 255, or several for a curve; got"):
            natx.evaluate(Linear(), X, Y, eps=text)


# --- natx.attack ------------------------------------------------------------------------------------------------------


def test_attack_gives_the_images_within_the_ball() -> None:
    model = Linear()
    x_adv = natx.attack(model, X, Y, "FGSM", eps=EPS)
    x = X.clone().requires_grad_()
    (grad,) = torch.autograd.grad(F.cross_entropy(model(x), Y, reduction="sum"), x)
    assert torch.allclose(x_adv, (X + EPS * grad.sign()).clamp(0, 1), atol=1e-7)
    strong = natx.attack(model, X.numpy(), Y.numpy(), "PGD-20", eps=32 / 255, batch_size=5)
    assert strong.shape == X.shape and float((strong - X).abs().max()) <= 32 / 255 + 1e-6
    judged = natx.evaluate(model, X, Y, attacks="PGD-20", eps=32 / 255, batch_size=5)
    assert torch.equal(model(strong).argmax(1) == Y, judged.correct["PGD-20"])
    assert all(parameter.requires_grad for parameter in model.parameters()) and model.training
    loader = DataLoader(TensorDataset(X, Y), batch_size=5)
    assert torch.equal(natx.attack(model, loader, attack="FGSM", eps=EPS), x_adv)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(eps=None), "needs a threat model"),
        (dict(attack="PDG-20"), "unknown attack 'PDG-20'"),
        (dict(attack=["FGSM", "PGD-3"]), "makes images with one attack at one eps"),
        (dict(eps=[EPS, 2 * EPS]), "makes images with one attack at one eps"),
        (dict(labels=Y + 5), "labels go up to 7, the model has 3 classes"),
        (dict(attack=PGD(Linf(EPS / 2), 3)), "within Linf 2/255, its own threat model: leave out Linf 4/255"),
        (dict(images=X * 255), "pixels must be in"),
    ],
)
def test_mistakes_in_attack_are_one_line(change: dict[str, Any], words: str) -> None:
    arguments = {"images": X, "labels": Y, "eps": EPS, **change}
    with pytest.raises((ConfigError, DataError), match=words):
        natx.attack(Linear(), **arguments)


# --- natx.load --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ClassificationTask]:
    """A folder with a small network's weights and what they are."""
    folder = tmp_path_factory.mktemp("hub")
    settings = dict(model="small_cnn", num_classes=3, model_args=dict(width=4))
    task = ClassificationTask(**settings).eval()
    save_weights(folder / "model.safetensors", task, meta={"task": {"type": "ClassificationTask", **settings}})
    (folder / "config.json").write_text(json.dumps({"architecture": "small_cnn", "num_classes": 3}))
    return folder, task


def test_tensors_alone_load_into_a_named_network(exported: tuple[Path, ClassificationTask], tmp_path: Path) -> None:
    folder, task = exported
    torch.save(task.upstream.state_dict(), tmp_path / "weights.pth")
    save_file(task.upstream.state_dict(), tmp_path / "weights.safetensors")
    x = torch.rand(2, 3, 32, 32)
    for path in (folder, folder / "model.safetensors"):
        assert torch.equal(natx.load(path)(x), task.logits(x))
    network = ClassificationTask("small_cnn", 3, model_args=dict(width=4)).upstream
    for name in ("weights.pth", "weights.safetensors"):
        with pytest.raises(CheckpointError, match="does not say which task it holds: name its network"):
            natx.load(tmp_path / name)
        assert torch.equal(natx.load(tmp_path / name, model=network)(x), task.logits(x))
        arguments = dict(model="small_cnn", num_classes=3, model_args=dict(width=4))
        assert torch.equal(natx.load(tmp_path / name, **arguments)(x), task.logits(x))


@pytest.fixture
def hub(exported: tuple[Path, ClassificationTask], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The exported folder as the repository owner/name; gives the folder of repositories."""
    shutil.copytree(exported[0], tmp_path / "hub" / "owner" / "name")
    with served(tmp_path / "hub", tmp_path / "cache", monkeypatch):
        yield tmp_path / "hub"


def test_a_repository_of_the_hub_is_fetched_and_loaded(
    hub: Path, exported: tuple[Path, ClassificationTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, task = exported
    x = torch.rand(2, 3, 32, 32)
    for name in ("hf-hub:owner/name", "hf-hub:owner/name@v1"):
        assert torch.equal(natx.load(name)(x), task.logits(x))
    fetched = read_weights("hf-hub:owner/name").path
    assert sorted(file.name for file in fetched.parent.iterdir()) == ["config.json", "model.safetensors"]
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert torch.equal(natx.load("hf-hub:owner/name")(x), task.logits(x))  # kept


def test_a_repository_of_pickled_tensors_is_read_and_of_pickled_objects_is_not(
    hub: Path, exported: tuple[Path, ClassificationTask]
) -> None:
    folder, task = hub / "owner" / "old", exported[1]
    folder.mkdir()
    torch.save(task.upstream.state_dict(), folder / "pytorch_model.bin")
    network = ClassificationTask("small_cnn", 3, model_args=dict(width=4)).upstream
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(natx.load("hf-hub:owner/old", model=network)(x), task.logits(x))
    (hub / "owner" / "evil").mkdir()
    torch.save(network, hub / "owner" / "evil" / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="holds Python objects .* and was not loaded"):
        natx.load("hf-hub:owner/evil", model=network)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("owner/gone", "the Hugging Face hub has no such repository, or a private one"),
        ("owner/name@v9", "the repository has no such revision"),
        ("owner/name/more", "a repository is owner/name"),
        ("owner/empty", "hf-hub:owner/empty has no model.safetensors or pytorch_model.bin"),
    ],
)
def test_a_repository_that_cannot_be_had_is_one_line(hub: Path, name: str, words: str) -> None:
    (hub / "owner" / "empty").mkdir()
    (hub / "owner" / "empty" / "README.md").write_text("nothing else")
    with pytest.raises(CheckpointError, match=words) as caught:
        natx.load(f"hf-hub:{name}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("offline", [False, True])
def test_without_a_network_it_is_said_so(offline: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    redirect("http://127.0.0.1:9", tmp_path / "cache", monkeypatch)  # no server answers there
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    with pytest.raises(CheckpointError, match="cannot be fetched: .*: check the network; a local copy is local-dir:"):
        natx.load("hf-hub:owner/name")


@pytest.mark.parametrize("model", ["local-dir:/etc", "hf-hub:owner/name"])
def test_a_file_does_not_decide_what_else_is_read(model: str, tmp_path: Path) -> None:
    task = ClassificationTask("small_cnn", 3, model_args=dict(width=4))
    meta = {"task": {"type": "ClassificationTask", "model": model, "num_classes": 3}}
    save_weights(tmp_path / "weights.safetensors", task, meta=meta)
    with pytest.raises(CheckpointError, match="it says that its network lies elsewhere"):
        natx.load(tmp_path / "weights.safetensors")


# --- natx.train, progress ---------------------------------------------------------------------------------------------


def test_train_trains_and_load_takes_the_run(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop.folder)
    config = shop.digits(train_cfg={"max_epochs": 1})
    best = natx.train(config, options={"data.batch_size": 60}, seed=3, device="cpu")
    assert best == Path("work_dirs/digits-seed3/best.safetensors")
    assert natx.load(best.parent)(torch.rand(2, 1, 8, 8)).shape == (2, 10)
    with pytest.raises(ConfigError, match="holds a run already"):
        natx.train(config, seed=3, device="cpu")
    loaded = load_config(config)
    read = natx.train(loaded, options={"data.batch_size": 60}, seed=3, work_dir="again", device="cpu")
    assert loaded.data.batch_size != 60 and torch.equal(natx.load(read)(X[:, :1]), natx.load(best)(X[:, :1]))


def test_a_bar_is_shown_on_a_terminal_and_nothing_in_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    natx.evaluate(Linear(), X, Y, attacks="PGD-3", eps=EPS)
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("FORCE_COLOR", "1")
    natx.evaluate(Linear(), X, Y, attacks="PGD-3", eps=EPS)
    assert "PGD-3" in capsys.readouterr().err


@pytest.mark.parametrize("widgets", [True, False])
def test_a_notebook_shows_the_progress(
    widgets: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a bar where it has widgets, as lines where not; what rich asks of a notebook stands in."""
    shown: list[Any] = []

    class Output(nullcontext):
        def clear_output(self, wait: bool = False) -> None:
            pass

    def module(name: str, **content: Any) -> ModuleType:
        stand_in = ModuleType(name)
        stand_in.__spec__ = ModuleSpec(name, None)
        vars(stand_in).update(content)
        return stand_in

    kernel = type("ZMQInteractiveShell", (), {})  # the name by which rich knows a notebook
    monkeypatch.setattr(builtins, "get_ipython", kernel, raising=False)
    monkeypatch.setitem(sys.modules, "IPython", module("IPython"))
    display = module("IPython.display", display=lambda *things: shown.extend(things))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setitem(sys.modules, "ipywidgets", module("ipywidgets", Output=Output) if widgets else None)
    natx.evaluate(Linear(), X, Y, attacks="PGD-3", eps=EPS)
    bars = [thing for thing in shown if isinstance(thing, Output)]
    texts = [re.sub(r"\x1b\[[\d;]*m", "", thing.text) for thing in shown if not isinstance(thing, Output)]
    assert bool(bars) == widgets and any("PGD-3" in text for text in texts)
    assert widgets or any(f"{len(X)}/{len(X)}" in text for text in texts)  # a bar is drawn anew ten times a second
    assert "PGD-3" not in capsys.readouterr().err
