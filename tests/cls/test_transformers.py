"""Image classifiers of Hugging Face's transformers: read, judged, trained, exported, where the library is installed.

``pip install -e ".[dev,transformers]"`` installs it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from workshop import PGD, Workshop

import natx
from natx.errors import CheckpointError
from tasks.cls import ClassificationTask
from tasks.cls.hugging_face import statistics

SIDE, NAMES = 32, ("cup", "lamp", "tree")


@pytest.fixture(scope="module")
def library() -> Any:
    return pytest.importorskip("transformers")


def network(library: Any, kind: str) -> Any:
    """A small classifier of three named classes; its batch norms' statistics are not a new network's."""
    small = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    stages = dict(hidden_sizes=[8, 16], depths=[1, 1])
    config = {
        "ViT": lambda: library.ViTConfig(image_size=SIDE, patch_size=16, **small),
        "ResNet": lambda: library.ResNetConfig(embedding_size=8, layer_type="basic", **stages),
        "ConvNext": lambda: library.ConvNextConfig(num_stages=2, **stages),
    }[kind]()
    config.id2label = dict(enumerate(NAMES))
    config.label2id = {name: i for i, name in enumerate(NAMES)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net = getattr(library, f"{kind}ForImageClassification")(config).eval()
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.5, 2)
    return net


def saved(library: Any, kind: str, folder: Path) -> tuple[Any, Any]:
    """The network and its processor, saved as their library saves them."""
    net = network(library, kind)
    processor = library.ViTImageProcessor(
        size={"height": SIDE, "width": SIDE}, image_mean=[0.5, 0.4, 0.3], image_std=[0.2, 0.3, 0.4]
    )
    net.save_pretrained(folder)
    processor.save_pretrained(folder)
    return net, processor


def photographs(count: int = 6, side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 3, side, side), dtype=np.uint8)


def answers(net: Any, processor: Any, images: np.ndarray) -> Tensor:
    """What their library makes of images of 0..255."""
    pixels = processor(images=list(images.transpose(0, 2, 3, 1)), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        return net(pixels).logits


@pytest.mark.parametrize("kind", ["ViT", "ResNet", "ConvNext"])
def test_it_answers_as_in_its_own_library_and_goes_back_there(library: Any, kind: str, tmp_path: Path) -> None:
    net, processor = saved(library, kind, tmp_path / "theirs")
    images = photographs()
    expected = answers(net, processor, images)
    model = natx.load(tmp_path / "theirs")
    x = torch.from_numpy(images).float() / 255
    with torch.no_grad():
        torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-5)
    assert model.classes == NAMES
    assert natx.evaluate(model, x, expected.argmax(1), attacks="FGSM", eps=1 / 255).accuracies["Clean"] == 100
    with pytest.raises(CheckpointError, match="another architecture|does not fit"):
        other = "ResNet" if kind == "ViT" else "ViT"
        network(library, other).save_pretrained(tmp_path / "other")
        ClassificationTask(f"local-dir:{tmp_path / 'theirs'}", checkpoint=tmp_path / "other")


def test_only_what_is_tied_to_a_size_refuses_another(library: Any, tmp_path: Path) -> None:
    for kind in ("ViT", "ConvNext"):
        saved(library, kind, tmp_path / kind)
    x = torch.rand(1, 3, 64, 64)
    assert natx.load(tmp_path / "ConvNext")(x).shape == (1, 3)
    with pytest.raises(natx.errors.DataError, match=r"images are \(64, 64\)"):
        natx.load(tmp_path / "ViT")(x)
    larger = ClassificationTask(f"local-dir:{tmp_path / 'ViT'}", pretrained=True, image_size=64).eval()
    assert larger.logits(x).shape == (1, 3)
    old, new = (task.upstream.vit.embeddings.position_embeddings for task in (natx.load(tmp_path / "ViT").task, larger))
    assert new.shape[1] == 1 + 16 and torch.equal(old[:, 0], new[:, 0])  # the class's stays as it is


def test_it_is_trained_judged_and_exported_by_the_tools(library: Any, shop: Workshop, monkeypatch: Any) -> None:
    monkeypatch.chdir(shop.folder)
    saved(library, "ViT", shop.folder / "theirs")
    images = photographs(24)
    for i, pixels in enumerate(images):
        file = shop.folder / "data" / "abcd"[i % 4] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.transpose(1, 2, 0)).save(file)
    part = {"type": "ImageFolder", "root": "data", "image_size": SIDE, "resize": SIDE}
    config = shop.digits(
        "mine.py",
        task=None,
        data={"train": part, "test": part, "heldout": 4, "batch_size": 10},
        train_cfg={"max_epochs": 1},
        method={"type": "Adversarial", "attack": PGD},
    )
    task = dict(type="ClassificationTask", model="local-dir:theirs", num_classes=4, pretrained=True)
    config.write_text(f"{config.read_text()}task = {task!r}\n")
    trained = shop.run("train.py", config, "--work-dir", "run")
    assert trained.code == 0, trained.err
    attacks = shop.write("attacks.py", {"attacks": [PGD]})
    judged = shop.run("test.py", config, "run", "--attacks", attacks)
    assert judged.code == 0, judged.err
    exported = shop.run("export.py", config, "run", "--out", "export")
    assert exported.code == 0, exported.err
    assert {file.name for file in Path("export").iterdir()} >= {"config.json", "preprocessor_config.json"}
    net = library.AutoModelForImageClassification.from_pretrained("export").eval()
    processor = library.AutoImageProcessor.from_pretrained("export")
    assert [net.config.id2label[i] for i in range(4)] == [*"abcd"]
    model, x = natx.load("export"), torch.from_numpy(images).float() / 255
    with torch.no_grad():
        torch.testing.assert_close(model(x), answers(net, processor, images), rtol=0, atol=1e-5)
        start = natx.load("theirs").task.upstream.vit.layernorm.weight
    assert model.classes == ("a", "b", "c", "d")
    assert not torch.equal(model.task.upstream.vit.layernorm.weight, start)
    text = Path("export/README.md").read_text()
    assert "library_name: transformers" in text and 'from_pretrained(".")' in text and "Worst case" in text
    assert "theirs" not in text + Path("export/config.json").read_text()


@pytest.mark.parametrize(
    ("processor", "normalised"),
    [
        (dict(image_mean=[0.5] * 3, image_std=[0.25] * 3), lambda p: (p / 255 - 0.5) / 0.25),
        (dict(do_normalize=False), lambda p: p / 255),
        (dict(do_rescale=False, image_mean=[100.0] * 3, image_std=[50.0] * 3), lambda p: (p - 100) / 50),
        (
            dict(rescale_factor=1 / 127.5, rescale_offset=True, image_mean=[0.1] * 3, image_std=[0.5] * 3),
            lambda p: (p / 127.5 - 1 - 0.1) / 0.5,
        ),
    ],
)
def test_a_processors_arithmetic_is_a_mean_and_a_std(processor: dict[str, Any], normalised: Any) -> None:
    levels = torch.tensor([0.0, 3.0, 128.0, 255.0])
    mean, std = statistics(json.loads(json.dumps(processor)))
    torch.testing.assert_close((levels / 255 - mean[0]) / std[0], normalised(levels), rtol=0, atol=1e-5)
