"""Networks from anywhere as a classification task: one's own class, torchvision's, folders of timm and Hugging Face."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from workshop import PGD, Workshop

import natx
from natx.config import load_config
from natx.errors import CheckpointError, ConfigError, DataError
from natx.judging.build import load_task
from natx.models.checkpoint import load_weights
from tasks.cls import ClassificationTask

MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
# A module as a user writes one: gray 8x8 pixels to ten logits, among other things.
NETS = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width=4, classes=10):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, width, 3), nn.BatchNorm2d(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        return self.head(torch.relu(self.norm(self.conv(x))).mean((2, 3)))


class Pair(Net):
    def forward(self, x):
        return {"features": x, "scores": super().forward(x)}


def not_a_net():
    return 3
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The user's module, in the working folder."""
    (tmp_path / "own_nets.py").write_text(NETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_nets", raising=False)
    import own_nets

    return own_nets


def gray(count: int = 5, seed: int = 0) -> Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


# --- one's own class ------------------------------------------------------------------------------------------------


def test_a_class_of_ones_own_takes_pixels_as_they_are(nets: ModuleType) -> None:
    task = ClassificationTask(dict(type="own_nets.Net", width=6)).eval()
    assert (task.num_classes, task.input_size, task.model) == (10, None, "own_nets.Net")
    x = gray()
    assert torch.equal(task.logits(x), task.net(x))
    normalised = ClassificationTask(task.net, mean=[0.5], std=[0.25]).eval()
    assert torch.allclose(normalised.logits(x), task.net((x - 0.5) / 0.25))
    assert task.classifier() is task.net.head
    embedded = torch.relu(task.net.norm(task.net.conv(x))).mean((2, 3))
    assert torch.allclose(task.embed(x), embedded)


def test_a_network_that_returns_more_names_its_logits(nets: ModuleType) -> None:
    task = ClassificationTask(dict(type="own_nets.Pair"), logits="scores").eval()
    assert task.logits(gray()).shape == (5, 10)
    with pytest.raises(DataError, match="returns a dict of features, scores: say which part is logits"):
        ClassificationTask(dict(type="own_nets.Pair")).eval().logits(gray())
    with pytest.raises(DataError, match=r"returns logits \[5, 10\] for 5 images, expected \[5, 7\]"):
        ClassificationTask(dict(type="own_nets.Net"), 7).eval().logits(gray())


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (dict(type="own_nets.Gone"), "own_nets.Gone cannot be imported"),
        (dict(type="nowhere.Net"), "nowhere.Net cannot be imported"),
        (dict(type="Net"), "my_package.MyNet"),
        (dict(type="own_nets.Net", depth=3), "own_nets.Net cannot be built: .*depth"),
        (dict(type="own_nets.not_a_net"), "is int, expected a torch.nn.Module"),
    ],
)
def test_a_class_that_cannot_be_had_is_one_line(nets: ModuleType, model: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ClassificationTask(model, 10)


def test_a_network_of_ones_own_is_trained_judged_and_loaded_by_the_tools(
    shop: Workshop, nets: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shop.folder)
    network = {"type": "ClassificationTask", "model": {"type": "own_nets.Net"}, "num_classes": 10}
    config = shop.digits(
        "mine.py", task=None, train_cfg={"max_epochs": 1}, method={"type": "Adversarial", "attack": PGD}
    )
    config.write_text(f"{config.read_text()}task = {network!r}\n")
    assert shop.run("train.py", config, "--work-dir", "run").code == 0
    attacks = shop.write("attacks.py", {"attacks": [PGD]})
    judged = shop.run("test.py", config, "run", "--attacks", attacks, "--subset", 20, "--out", "report")
    assert judged.code == 0, judged.err
    task, meta = load_task(load_config(config), Path("run/best.safetensors"))
    with pytest.raises(CheckpointError, match="holds a own_nets.Net, a class that a file may not import"):
        natx.load("run")
    model = natx.load("run", model=nets.Net())
    assert torch.equal(model(gray()), task.logits(gray())) and len(model.classes) == 10
    exported = shop.run("export.py", config, "run", "--out", "export")
    assert exported.code == 0, exported.err
    assert torch.equal(natx.load("export", model=nets.Net())(gray()), model(gray()))


def statistics_of_a_file(folder: Path, state: dict[str, Tensor]) -> Path:
    """Weights with a layer before them that normalises, as a training program leaves them."""
    layer = {"normalize.mean": torch.tensor(MEAN), "normalize.std": torch.tensor(STD)}
    torch.save({**{f"net.{key}": value for key, value in state.items()}, **layer}, folder / "normalised.pth")
    return folder / "normalised.pth"


@pytest.mark.parametrize("route", ["task.checkpoint", "test", "natx.load"])
@pytest.mark.parametrize("source", ["one's own", "torchvision"])
def test_pixels_are_normalised_as_the_file_says_whatever_the_source_of_the_network(
    tmp_path: Path, source: str, route: str
) -> None:
    def build() -> nn.Module:
        torch.manual_seed(0)
        if source == "torchvision":
            return torchvision.models.squeezenet1_1(num_classes=4).eval()
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4))

    reference = build()
    file, x = statistics_of_a_file(tmp_path, reference.state_dict()), torch.rand(2, 3, 32, 32)
    model: Any = "torchvision:squeezenet1_1" if source == "torchvision" else build()
    if route == "natx.load":
        task = natx.load(file, model=model, num_classes=4).task
    else:
        task = ClassificationTask(model, 4, checkpoint=file if route == "task.checkpoint" else None).eval()
        if route == "test":
            load_weights(task, file)
    with torch.no_grad():
        expected = reference(torchvision.transforms.functional.normalize(x, MEAN, STD))
        torch.testing.assert_close(task.logits(x), expected, atol=1e-5, rtol=1e-4)
    with pytest.raises(DataError, match="images have 1 channels"):  # whatever it takes, it is three by now
        task.pixels({"inputs": x[:, :1]})


# --- torchvision's, timm's ------------------------------------------------------------------------------------------


def test_torchvisions_names_have_torchvisions_networks_and_statistics() -> None:
    task = ClassificationTask("torchvision:resnet18", 7).eval()
    reference = torchvision.models.resnet18(num_classes=7).eval()
    reference.load_state_dict(task.upstream.state_dict())
    x = torch.rand(2, 3, 64, 64)
    preset = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    normal = torchvision.transforms.functional.normalize(x, preset.mean, preset.std)
    assert torch.allclose(task.logits(x), reference(normal), atol=1e-5)
    assert task.input_size == (3, 224, 224) and not task.fixed_size
    assert ClassificationTask("torchvision:squeezenet1_1", 5).num_classes == 5  # its head is a convolution
    with pytest.raises(ConfigError, match="unknown model 'torchvision:resnet19'; close: .*resnet18"):
        ClassificationTask("torchvision:resnet19", 7)


@pytest.mark.parametrize("pretrained", [True, False])
def test_inception_gets_the_pixels_that_torchvision_gives_it(monkeypatch: pytest.MonkeyPatch, pretrained: bool) -> None:
    """Built with its weights, it changes normalised images inside; so does natx, and as well where a file has them."""
    reference = torchvision.models.googlenet(init_weights=False, num_classes=3, transform_input=True).eval()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: reference.state_dict())
    task = ClassificationTask("torchvision:googlenet", 3, pretrained=pretrained).eval()
    task.upstream.load_state_dict(reference.state_dict())
    first: dict[str, Tensor] = {}
    for name, net in (("natx", task.upstream), ("torchvision", reference)):
        net.conv1.register_forward_pre_hook(lambda _, inputs, name=name: first.update({name: inputs[0]}))
    x = torch.rand(1, 3, 32, 32)
    preset = torchvision.models.GoogLeNet_Weights.DEFAULT.transforms()
    with torch.no_grad():
        task.logits(x), reference(torchvision.transforms.functional.normalize(x, preset.mean, preset.std))
    torch.testing.assert_close(first["natx"], first["torchvision"], atol=1e-5, rtol=1e-5)
    assert first["natx"].min() < -0.9  # from -1 to 1
    inside = ClassificationTask("torchvision:googlenet", 3, model_args=dict(transform_input=True, init_weights=False))
    assert inside.normalisation["mean"] == pytest.approx(preset.mean)  # what the network itself then changes


def test_weights_of_a_file_start_a_network_of_torchvision(tmp_path: Path) -> None:
    source = torchvision.models.resnet18(num_classes=5)
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    task = ClassificationTask("torchvision:resnet18", 5, checkpoint=tmp_path / "weights.pth")
    assert all(torch.equal(a, b) for a, b in zip(task.upstream.state_dict().values(), source.state_dict().values()))
    other = ClassificationTask("torchvision:resnet18", 3, checkpoint=tmp_path / "weights.pth")  # a new head
    assert other.upstream.fc.out_features == 3 and torch.equal(other.upstream.conv1.weight, source.conv1.weight)
    loaded = natx.load(tmp_path / "weights.pth", model="torchvision:resnet18", num_classes=5)
    x = torch.rand(1, 3, 32, 32)
    assert torch.equal(loaded(x), task.eval().logits(x))


def test_pretrained_networks_load_by_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights come from a stand-in of the server; everything else is theirs."""
    source = torchvision.models.resnet18()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: source.state_dict())
    model, x = natx.load("torchvision:resnet18"), torch.rand(1, 3, 64, 64)
    preset = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    normal = torchvision.transforms.functional.normalize(x, preset.mean, preset.std)
    assert torch.allclose(model(x), source.eval()(normal), atol=1e-5)
    head = ClassificationTask("torchvision:resnet18", 3, pretrained=True).upstream.fc
    assert head.out_features == 3

    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(CheckpointError, match="no pretrained weights for 'torchvision:resnet18': connect"):
        natx.load("torchvision:resnet18")
    with pytest.raises(ConfigError, match="unknown model 'resnet19'"):
        natx.load("timm:resnet19")


@pytest.fixture(scope="module")
def timm_folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    """A folder as timm's save_for_hf writes it."""
    folder = tmp_path_factory.mktemp("timm")
    net = timm.create_model("resnet10t", num_classes=4).eval()
    save_file(net.state_dict(), folder / "model.safetensors")
    described = {
        "architecture": "resnet10t",
        "num_classes": 4,
        "pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7], "input_size": [3, 64, 64]},
    }
    (folder / "config.json").write_text(json.dumps(described))
    return folder, net


def test_a_local_folder_of_timm_is_a_model(timm_folder: tuple[Path, nn.Module]) -> None:
    folder, net = timm_folder
    task = ClassificationTask(f"local-dir:{folder}", pretrained=True).eval()
    x = torch.rand(2, 3, 64, 64)
    normal = torchvision.transforms.functional.normalize(x, [0.1, 0.2, 0.3], [0.5, 0.6, 0.7])
    assert task.num_classes == 4 and torch.allclose(task.logits(x), net(normal), atol=1e-5)
    assert ClassificationTask(f"local-dir:{folder}", 9, pretrained=True).num_classes == 9
    with pytest.raises(CheckpointError, match="no folder at"):
        ClassificationTask(f"local-dir:{folder}/gone", 4)


def test_a_number_of_classes_that_does_not_show_is_asked_for() -> None:
    assert ClassificationTask("resnet10t").num_classes == 1000
    with pytest.raises(ConfigError, match="'resnet8_cifar' has no number of classes by itself: set task.num_classes"):
        ClassificationTask("resnet8_cifar")


# --- Hugging Face ---------------------------------------------------------------------------------------------------


class StandIn(nn.Module):
    """What transformers' image classifiers look like from outside."""

    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        self.config = config
        self.body, self.classifier = nn.Conv2d(3, 6, 3), nn.Linear(6, config.num_labels)

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        return SimpleNamespace(loss=None, logits=self.classifier(self.body(pixel_values).mean((2, 3))))


def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers, as far as natx asks it."""

    def settings(folder: str, num_labels: int | None = None, **more: Any) -> SimpleNamespace:
        content = json.loads((Path(folder) / "config.json").read_text())
        return SimpleNamespace(num_labels=num_labels or len(content["id2label"]), **more)

    module: Any = ModuleType("transformers")
    module.AutoConfig = SimpleNamespace(from_pretrained=settings)
    module.AutoModelForImageClassification = SimpleNamespace(from_config=StandIn)
    monkeypatch.setitem(sys.modules, "transformers", module)


def hugging_face(folder: Path) -> StandIn:
    """A folder as a Hugging Face classifier is saved, and its network."""
    net = StandIn(SimpleNamespace(num_labels=3)).eval()
    save_file(net.state_dict(), folder / "model.safetensors")
    content = {"architectures": ["StandInForImageClassification"], "id2label": {"0": "a", "1": "b", "2": "c"}}
    (folder / "config.json").write_text(json.dumps(content))
    processor = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4], "size": {"height": 16, "width": 16}}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return net


def test_a_hugging_face_folder_is_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)
    net, x = hugging_face(tmp_path), torch.rand(4, 3, 16, 16)
    expected = net(torchvision.transforms.functional.normalize(x, [0.5, 0.4, 0.3], [0.2, 0.3, 0.4])).logits
    task = ClassificationTask(f"local-dir:{tmp_path}", pretrained=True).eval()
    assert (task.num_classes, task.input_size) == (3, (3, 16, 16))
    assert torch.allclose(task.logits(x), expected, atol=1e-6)
    model = natx.load(tmp_path)
    assert torch.allclose(model(x), expected, atol=1e-6)
    labels = expected.argmax(1)
    assert natx.evaluate(model, x, labels, attacks="FGSM", eps=1 / 255).accuracies["Clean"] == 100
    assert natx.evaluate(tmp_path, x, labels, attacks="FGSM", eps=1 / 255).accuracies["Clean"] == 100
    bare = natx.evaluate(net, x, labels, attacks="FGSM", eps=1 / 255, mean=[0.5, 0.4, 0.3], std=[0.2, 0.3, 0.4])
    assert bare.accuracies["Clean"] == 100


def test_without_transformers_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hugging_face(tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match="transformers, which is not .*: pip install transformers"):
        ClassificationTask(f"local-dir:{tmp_path}", 3)
