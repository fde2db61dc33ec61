"""One reader for the weight files of all programs: which entry it takes, under which names, with which statistics."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import save_for_hf
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from workshop import DIGITS

import natx
from natx.errors import CheckpointError, ConfigError
from natx.models.adversary import build_adversary
from natx.models.checkpoint import load_weights, save_weights
from natx.models.weights import read_weights, weights_path
from natx.registry import TASKS
from tasks.cls import ClassificationTask

State = dict[str, Tensor]


def small(seed: int = 0, **changes: Any) -> ClassificationTask:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return TASKS.build({**DIGITS["task"], **changes}).eval()


def prefixed(state: State, prefix: str) -> State:
    return {prefix + key: value for key, value in state.items()}


def message(error: pytest.ExceptionInfo[CheckpointError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


# What training programs write: the raw weights, an average of them, and where each is.
FILES: dict[str, tuple[Callable[[State, State], Any], str, str | None]] = {
    "timm": (lambda raw, ema: {"epoch": 1, "state_dict": raw, "state_dict_ema": ema}, "state_dict", "state_dict_ema"),
    "deit": (lambda raw, ema: {"model": raw, "model_ema": ema}, "model", "model_ema"),
    "lightning": (
        lambda raw, ema: {"model_state_dict": raw, "ema": {"state_dict": ema}},
        "model_state_dict",
        "ema.state_dict",
    ),
    "pytorch-cifar": (lambda raw, ema: {"net": raw, "acc": 93.0}, "net", None),
    "wrapped": (lambda raw, ema: {"net": prefixed(raw, "module."), "ema": prefixed(ema, "module.")}, "net", "ema"),
    "nested": (lambda raw, ema: {"state_dict": {"model": raw}}, "state_dict.model", None),
}


@pytest.mark.parametrize("program", FILES)
@pytest.mark.parametrize("route", ["test", "task.checkpoint", "adversary"])
def test_every_route_takes_the_raw_weights_and_the_average_only_when_asked(
    tmp_path: Path, program: str, route: str
) -> None:
    write, raw_entry, ema_entry = FILES[program]
    raw, average, path = small(1), small(2), tmp_path / "weights.pth"
    torch.save(write(raw.net.state_dict(), average.net.state_dict()), path)

    def weight(ema: bool) -> Tensor:
        if route == "test":
            task = small(3)
            load_weights(task, path, ema=ema)
        elif route == "task.checkpoint":
            task = small(3, checkpoint=path, checkpoint_ema=ema)
        else:
            task = build_adversary({"task": DIGITS["task"], "checkpoint": path, "ema": ema}).tasks[0]
        return task.net.fc.weight

    assert torch.equal(weight(ema=False), raw.net.fc.weight)
    assert read_weights(path).entry == raw_entry
    if ema_entry is not None:
        assert torch.equal(weight(ema=True), average.net.fc.weight)
        assert read_weights(path, ema=True).entry == ema_entry
        return
    with pytest.raises(CheckpointError, match="averaged weights"):
        weight(ema=True)


def test_the_meta_says_which_entry_was_taken_and_which_was_left(tmp_path: Path) -> None:
    state = small().net.state_dict()
    torch.save({"state_dict": state, "state_dict_ema": state, "optimizer": {}}, tmp_path / "a.pth")
    assert load_weights(small(), tmp_path / "a.pth")["weights"] == "entry state_dict of a.pth (not state_dict_ema)"


def test_a_file_with_an_average_alone_is_refused_with_the_remedy(tmp_path: Path) -> None:
    torch.save({"ema": small().net.state_dict(), "epoch": 3}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"ema \(\d+ tensors\), epoch; ema is an average .*--ema"):
        load_weights(small(), tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("content", "present"),
    [
        ({"optimizer": {"lr": 1}, "encoder": {"a": torch.ones(1)}}, "optimizer, encoder (1 tensors)"),
        ([1, 2], "a list without entries"),
    ],
)
def test_a_refusal_lists_what_the_file_has(tmp_path: Path, content: Any, present: str) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(CheckpointError) as error:
        load_weights(small(), tmp_path / "a.pth")
    assert present in message(error)


class Asks:
    """Pickles as a call of a function of numpy."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def test_numbers_of_numpy_beside_the_weights_call_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, path = small(1).net.state_dict(), tmp_path / "model.pth.tar"
    beside = {"rank1": np.float32(0.5), "cmc": np.arange(3.0), "best": np.int64(3), "seen": [np.bool_(True)]}
    torch.save({"state_dict": raw, **beside}, path)
    before = set(torch.serialization.get_safe_globals())  # a list in no order
    monkeypatch.setattr("numpy._core.multiarray.scalar", lambda *_: pytest.fail("numpy was called"))
    assert all(torch.equal(value, raw[name]) for name, value in read_weights(path).tensors.items())
    assert set(torch.serialization.get_safe_globals()) == before
    for function, name in ((np.load, "numpy.load"), (np.fromfile, "fromfile")):
        torch.save({"state_dict": raw, "best": Asks(function, "secret.npy")}, path)
        with pytest.raises(CheckpointError, match=name):
            read_weights(path)


def test_weights_of_another_architecture_are_listed(tmp_path: Path) -> None:
    torch.save({"encoder.weight": torch.ones(2), "decoder.weight": torch.ones(2)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"it has encoder\.weight, decoder\.weight"):
        load_weights(small(), tmp_path / "a.pth")


@pytest.mark.parametrize(
    "prefix",
    ["module.", "model.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "module.model.", "task.net."],
)
def test_prefixes_of_wrappers_are_taken_off(tmp_path: Path, prefix: str) -> None:
    source, target = small(1), small(2)
    torch.save(prefixed(source.net.state_dict(), prefix), tmp_path / "a.pth")
    load_weights(target, tmp_path / "a.pth")
    assert torch.equal(target.net.fc.weight, source.net.fc.weight)


def test_a_compiled_part_and_torchs_own_average_load(tmp_path: Path) -> None:
    source, target = small(1), small(2)
    torch.save(
        {re.sub(r"^body\.", "body._orig_mod.", k): v for k, v in source.net.state_dict().items()}, tmp_path / "a.pth"
    )
    load_weights(target, tmp_path / "a.pth")
    assert torch.equal(target.net.fc.weight, source.net.fc.weight)
    torch.save(AveragedModel(source.net).state_dict(), tmp_path / "b.pth")  # module.*, and n_averaged
    load_weights(small(3), tmp_path / "b.pth")


def test_names_that_fit_keep_what_looks_like_a_prefix(tmp_path: Path) -> None:
    task = small(1)
    torch.save(task.net.body.state_dict(), tmp_path / "a.pth")
    state = nn.Sequential(nn.Sequential(nn.Linear(2, 2))).state_dict()  # all names begin with "0."
    torch.save(state, tmp_path / "b.pth")
    assert read_weights(tmp_path / "b.pth").under(state).keys() == state.keys()


def test_counters_of_batch_norm_may_be_missing(tmp_path: Path) -> None:
    """As in every file written before torch 0.4.1; torch's strict loading accepts them."""
    changes = {"model": "resnet8_cifar", "model_args": {"in_chans": 1}}
    source, target = small(1, **changes), small(2, **changes)
    state = {k: v for k, v in source.net.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert len(state) < len(source.net.state_dict())
    torch.save(state, tmp_path / "a.pth")
    load_weights(target, tmp_path / "a.pth")
    assert torch.equal(target.net.fc.weight, source.net.fc.weight)
    assert torch.equal(small(3, **changes, checkpoint=tmp_path / "a.pth").net.fc.weight, source.net.fc.weight)


class Renamed(nn.Linear):
    """A layer that reads an older name of its weight, as torch's loading hooks let it."""

    def _load_from_state_dict(self, state: State, prefix: str, *rest: Any) -> None:
        if f"{prefix}kernel" in state:
            state[f"{prefix}weight"] = state.pop(f"{prefix}kernel")
        super()._load_from_state_dict(state, prefix, *rest)


def test_what_torchs_strict_loading_accepts_is_accepted(tmp_path: Path) -> None:
    target = small()
    target.net = Renamed(2, 2)
    torch.save({"kernel": torch.full((2, 2), 3.0), "bias": torch.zeros(2)}, tmp_path / "a.pth")
    load_weights(target, tmp_path / "a.pth")
    assert torch.equal(target.net.weight, torch.full((2, 2), 3.0))


def test_settings_that_nothing_could_follow_are_refused(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    torch.save(net.state_dict(), tmp_path / "a.pth")
    for settings in ({"model": "small_cnn"}, {"model": "small_cnn", "checkpoint": None}):
        with pytest.raises(ConfigError, match="checkpoint_ema takes the average in a file: name it"):
            ClassificationTask(num_classes=3, checkpoint_ema=True, **settings)
    with pytest.raises(ConfigError, match="Sequential is made already: its arguments .width. are too late"):
        natx.load(tmp_path / "a.pth", model=net, model_args={"width": 8})
    for settings in ({"num_classes": 3}, {"model_args": {"width": 8}}):
        with pytest.raises(ConfigError, match="are of a network that you name"):
            natx.load(tmp_path / "a.pth", **settings)
    with pytest.raises(CheckpointError, match="timm:test_resnet names a library's own weights"):
        natx.load("timm:test_resnet", ema=True)


# --- timm's conversions -----------------------------------------------------------------------------------------------

CONVNEXT = {"model": "test_convnext", "num_classes": 5}
SWIN = {
    "model": "swin_tiny_patch4_window7_224",
    "num_classes": 5,
    "image_size": 64,
    "model_args": {"embed_dim": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2), "window_size": 2},
}


def facebook(state: State) -> State:
    """timm's names of a ConvNeXt as facebookresearch/ConvNeXt has them."""
    renamings = (
        (r"^stem\.(\d)", r"downsample_layers.0.\1"),
        (r"^stages\.(\d)\.downsample", r"downsample_layers.\1"),
        (r"^stages\.(\d)\.blocks", r"stages.\1"),
        (r"conv_dw", "dwconv"),
        (r"mlp\.fc", "pwconv"),
        (r"^head\.norm", "norm"),
        (r"^head\.fc", "head"),
    )
    for pattern, replacement in renamings:
        state = {re.sub(pattern, replacement, key): value for key, value in state.items()}
    return {"model": state}


def old_swin(state: State) -> State:
    """timm's names of a Swin transformer as microsoft/Swin-Transformer and timm before 0.9 have them."""
    state = {re.sub(r"^head\.fc", "head", key): value for key, value in state.items()}
    state = {
        re.sub(r"^layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", key): value
        for key, value in state.items()
    }
    return {"model": {**state, "layers.0.blocks.0.attn.relative_position_index": torch.zeros(4, 4)}}


@pytest.mark.parametrize(("settings", "rename"), [(CONVNEXT, facebook), (SWIN, old_swin)], ids=["convnext", "swin"])
def test_timms_conversions_work_on_every_route(tmp_path: Path, settings: dict[str, Any], rename: Any) -> None:
    torch.manual_seed(0)
    source = ClassificationTask(**settings).eval()
    content = rename(source.net.state_dict())
    assert content["model"].keys() != source.net.state_dict().keys()
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    tested = ClassificationTask(**settings).eval()
    assert load_weights(tested, path)["weights"] == "entry model of weights.pth, converted"
    started = ClassificationTask(**settings, checkpoint=path).eval()
    with torch.no_grad():
        for task in (tested, started):
            torch.testing.assert_close(task.logits(x), source.logits(x))
    fewer = ClassificationTask(**{**settings, "num_classes": 3}, checkpoint=path)
    body = {key: value for key, value in fewer.net.state_dict().items() if not key.startswith("head.fc")}
    assert all(torch.equal(value, source.net.state_dict()[key]) for key, value in body.items())


def test_colour_weights_serve_a_model_of_grey_images(tmp_path: Path) -> None:
    source = timm.create_model("test_resnet", num_classes=5)
    save_file(source.state_dict(), tmp_path / "a.safetensors")
    grey = ClassificationTask("test_resnet", 5, model_args={"in_chans": 1}, checkpoint=tmp_path / "a.safetensors")
    first = source.conv1[0].weight.detach()
    torch.testing.assert_close(grey.net.conv1[0].weight.detach(), first.sum(1, keepdim=True))


@pytest.mark.parametrize("route", ["file", "hub"])
def test_a_grey_image_is_the_same_to_weights_of_colours_as_in_colour(tmp_path: Path, route: str) -> None:
    """With the same mean and std for each colour the sum over colours is exact, so the logits are."""
    statistics = {"mean": (0.3,) * 3, "std": (0.2,) * 3}
    net = timm.create_model("test_resnet", num_classes=5).eval()
    described = {"architecture": "test_resnet", "num_classes": 5, "pretrained_cfg": statistics}
    (tmp_path / "config.json").write_text(json.dumps(described))
    save_file(net.state_dict(), tmp_path / "model.safetensors")
    arguments: dict[str, Any] = {"in_chans": 1}
    if route == "hub":  # its place is taken by a file
        overlay = dict(file=str(tmp_path / "model.safetensors"), num_classes=5, **statistics)
        grey = ClassificationTask(
            "test_resnet", 5, pretrained=True, model_args={**arguments, "pretrained_cfg_overlay": overlay}
        )
    else:
        grey = ClassificationTask("test_resnet", 5, checkpoint=tmp_path, model_args=arguments)
    x = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(grey.eval().logits(x), net((x.expand(-1, 3, -1, -1) - 0.3) / 0.2), atol=1e-5, rtol=0)
    assert ClassificationTask("test_resnet", 5, model_args=arguments).normalisation["mean"] == [0.5]  # of no colours


# --- folders with their own mean and std ------------------------------------------------------------------------------

MEAN, STD, NAMES = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), ["ant", "bee", "cat", "dog", "eel"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What timm's save_for_hf writes of a model that was trained with statistics of its own."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("hf") / "model"
    net = timm.create_model("test_resnet", num_classes=5, pretrained_cfg_overlay=dict(mean=MEAN, std=STD))
    config = dict(num_classes=5, label_names=NAMES)
    save_for_hf(net, str(path), model_config=config, safe_serialization="both")
    return path


def reference(folder: Path, x: Tensor) -> Tensor:
    """Logits as timm gives them."""
    described = json.loads((folder / "config.json").read_text())
    net = timm.create_model(described["architecture"], num_classes=5).eval()
    net.load_state_dict(torch.load(folder / "pytorch_model.bin", weights_only=True))
    mean, std = (torch.tensor(described["pretrained_cfg"][key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        return net((x - mean) / std)


@pytest.mark.parametrize("route", ["natx.load", "task.checkpoint", "test", "the file itself"])
def test_a_folder_is_read_with_its_own_statistics(folder: Path, route: str) -> None:
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    task = ClassificationTask("test_resnet", 5).eval()
    if route == "natx.load":
        model = natx.load(folder)
        assert model.classes == tuple(NAMES)
        task = model.task
    elif route == "task.checkpoint":
        task = ClassificationTask("test_resnet", 5, checkpoint=folder).eval()
    else:
        load_weights(task, folder if route == "test" else folder / "pytorch_model.bin")
    with torch.no_grad():
        torch.testing.assert_close(task.logits(x), reference(folder, x))
    assert torch.allclose(torch.tensor(task.normalisation["mean"]), torch.tensor(MEAN))


def test_the_configs_own_statistics_go_before_a_folders(folder: Path) -> None:
    task = ClassificationTask("test_resnet", 5, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    meta = load_weights(task, folder)
    assert task.normalisation["mean"] == [0.5] * 3
    assert meta["normalisation"] == {"mean": list(MEAN), "std": list(STD)}


def test_a_config_json_beside_other_weights_is_not_theirs(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    (tmp_path / "best.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    assert read_weights(tmp_path / "best.safetensors").normalisation(()) is None


@pytest.mark.parametrize("text", ["{", "\xff"])
def test_a_broken_config_json_is_refused(folder: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text, encoding="latin1")
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="config.json"):
        read_weights(tmp_path)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no model.safetensors, pytorch_model.bin or best.safetensors"):
        read_weights(tmp_path)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"architecture": "hf-hub:somebody/something"}, "its network lies elsewhere"),
        ({"architecture": "local-dir:/tmp"}, "its network lies elsewhere"),
        ({"model_args": {"pretrained": True}}, "sets pretrained"),
        ({"model_args": {"checkpoint_path": "/etc/passwd"}}, "sets checkpoint_path"),
        ({"architecture": None}, "does not say which task"),
    ],
)
def test_a_config_json_cannot_make_natx_read_or_fetch_anything_else(
    folder: Path, tmp_path: Path, changes: dict[str, Any], part: str
) -> None:
    described = {**json.loads((folder / "config.json").read_text()), **changes}
    (tmp_path / "config.json").write_text(json.dumps(described))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match=part):
        natx.load(tmp_path)


@pytest.mark.parametrize(
    ("wrap", "names"),
    [
        (lambda state: state, ("mu", "sigma")),  # RobustBench's networks
        (lambda state: prefixed(state, "model."), ("mu", "sigma")),
        (lambda state: prefixed(state, "module.model."), ("module.normalize.mean", "module.normalize.std")),
        (lambda state: prefixed(state, "1."), ("0.mean", "0.std")),  # a Sequential of a layer and the network
    ],
)
def test_a_layer_that_normalised_before_the_network_is_taken_over(
    tmp_path: Path, wrap: Callable[[State], State], names: tuple[str, str]
) -> None:
    colour = {"model_args": {"in_chans": 3, "width": 4}}
    task, other = small(**colour), small(seed=1, **colour)
    mean, std = torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1), torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1)
    torch.save({**wrap(task.upstream.state_dict()), **dict(zip(names, (mean, std)))}, tmp_path / "wrapped.pth")
    meta = load_weights(other, tmp_path / "wrapped.pth")
    assert meta["normalisation"]["mean"] == pytest.approx([0.1, 0.2, 0.3])
    x = torch.rand(2, 3, 8, 8)
    assert torch.allclose(other.logits(x), task.upstream((x - mean) / std), atol=1e-5)
    named = small(seed=1, mean=[0.5] * 3, std=[0.5] * 3, **colour)
    load_weights(named, tmp_path / "wrapped.pth")  # the config's own stay, which a report then says
    assert torch.allclose(named.logits(x), task.upstream((x - 0.5) / 0.5), atol=1e-5)


class Normalising(nn.Module):
    """A network of one's own that normalises its pixels by buffers of a layer."""

    def __init__(self, names: tuple[str, str] = ("mean", "std"), values: tuple[float, float] = (0.0, 1.0)) -> None:
        super().__init__()
        self.names, self.layer, self.head = names, nn.Module(), nn.Linear(3 * 8 * 8, 5)
        for name, value in zip(names, values):
            self.layer.register_buffer(name, torch.full((1, 3, 1, 1), value))

    def forward(self, x: Tensor) -> Tensor:
        mean, std = (self.layer.get_buffer(name) for name in self.names)
        return self.head(((x - mean) / std).flatten(1))


@pytest.mark.parametrize("names", [("mean", "std"), ("mu", "sigma")])
@pytest.mark.parametrize("writer", ["natx", "torch", "DataParallel"])
def test_a_network_that_normalises_by_itself_gets_its_own_layer_back(
    tmp_path: Path, names: tuple[str, str], writer: str
) -> None:
    net, x = Normalising(names, (0.3, 0.4)).eval(), torch.rand(2, 3, 8, 8)
    if writer == "natx":
        file = tmp_path / "best.safetensors"
        task = ClassificationTask(net)
        save_weights(file, task, meta={"normalisation": task.normalisation})
    else:
        file = tmp_path / "net.pth"
        torch.save((nn.DataParallel(net) if writer == "DataParallel" else net).state_dict(), file)
    loaded, task = natx.load(file, model=Normalising(names)), ClassificationTask(Normalising(names))
    load_weights(task, file)
    for model in (loaded, task.logits, ClassificationTask(Normalising(names), checkpoint=file).logits):
        torch.testing.assert_close(model(x), net(x))


def test_what_is_no_normalisation_of_pixels_stays_a_weight(tmp_path: Path) -> None:
    state = {**small().upstream.state_dict(), "mu": torch.full((3,), 120.0), "sigma": torch.full((3,), 60.0)}
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="mu"):
        load_weights(small(), tmp_path / "other.pth")


def test_a_finished_frozen_model_is_found_by_the_name_of_its_config(tmp_path: Path) -> None:
    asked = tmp_path / "digits_vt" / "best.safetensors"
    first, second = (tmp_path / "adversaries" / f"digits_vt-{i:016x}" / "best.safetensors" for i in (1, 2))
    beside = (tmp_path / "adversaries" / f"{name}" / "best.safetensors" for name in ("digits_vt-seed1", "digits_vt2-1"))
    for path in (first, second, *beside):
        path.parent.mkdir(parents=True)
        save_file(small().upstream.state_dict(), path)
    with pytest.raises(CheckpointError, match="no checkpoint at"):  # none of them has finished
        weights_path(asked)
    (first.parent / "done.json").write_text("{}")
    assert weights_path(asked) == first
    (second.parent / "done.json").write_text("{}")
    with pytest.raises(CheckpointError) as error:
        weights_path(asked)
    assert str(first) in message(error) and str(second) in message(error)
    asked.parent.mkdir()
    save_file(small().upstream.state_dict(), asked)
    assert weights_path(asked) == asked
