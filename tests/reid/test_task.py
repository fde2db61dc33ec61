"""The torchreid task: its outputs, losses, modes and what it refuses."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchreid.reid.losses import CrossEntropyLoss, TripletLoss
from torchreid.reid.models import build_model

from natx.errors import CheckpointError, ConfigError, DataError
from tasks.reid import ReIDTask, compat
from tasks.reid.losses import batch_hard_triplet
from tasks.reid.models import create_model

SMALL = dict(height=64, width=32)


def batch(n: int = 8, *, identities: int = 4, height: int = 64, width: int = 32) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    return {
        "inputs": torch.randint(0, 256, (n, 3, height, width), dtype=torch.uint8, generator=generator),
        "data_samples": torch.arange(n) % identities,
        "index": torch.arange(n),
    }


def osnet(**kwargs: Any) -> ReIDTask:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ReIDTask("osnet_x0_25", 5, **{**SMALL, **kwargs})


@pytest.mark.parametrize("bnneck", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_embedding_logits_and_losses(bnneck: bool, training: bool) -> None:
    task, data = osnet(bnneck=bnneck).train(training), batch()
    raw = task.network(task.pixels(data), data)
    output = task.read(raw, data)
    assert {key: tuple(value.shape) for key, value in raw.items()} == {
        "feature": (8, 512),
        "embedding": (8, 512),
        "logits": (8, 5),
    }
    weight = task.net.classifier.weight
    bias = 0 if bnneck else task.net.classifier.bias
    torch.testing.assert_close(raw["logits"], raw["embedding"] @ weight.T + bias)
    assert torch.equal(raw["feature"], raw["embedding"]) != bnneck
    expected = CrossEntropyLoss(5, eps=0.1, use_gpu=False)(raw["logits"], data["data_samples"])
    torch.testing.assert_close(output.losses["loss_id"], expected)
    expected = TripletLoss(0.3)(raw["feature"].detach(), data["data_samples"])
    torch.testing.assert_close(output.losses["loss_triplet"], expected)
    assert torch.equal(output.features, raw["embedding"])
    assert torch.equal(output.row_weight, torch.full((8,), 1 / 8))


def test_the_neck_is_batch_norm_with_a_frozen_bias() -> None:
    task, data = osnet().train(), batch()
    raw = task.network(task.pixels(data), data)
    feature = raw["feature"]
    expected = (feature - feature.mean(0)) / (feature.var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(raw["embedding"], expected, rtol=1e-4, atol=1e-4)
    assert not task.net.bnneck.bias.requires_grad and task.net.classifier.bias is None


def test_normalisation_is_inside_and_pixels_are_in_0_1() -> None:
    task, data = osnet(bnneck=False).eval(), batch()
    x = task.pixels(data)
    torch.testing.assert_close(x, data["inputs"] / 255)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected = task.net((data["inputs"] / 255 - mean) / std)
    torch.testing.assert_close(task.predict(data), expected)
    assert not task.predict(data).requires_grad


def test_test_images_have_no_labels_and_no_losses() -> None:
    task, data = osnet().eval(), batch()
    del data["data_samples"]
    output = task(data)
    assert output.losses == {} and output.labels is None


def test_switches() -> None:
    data = batch()
    assert set(osnet(triplet_weight=0)(data).losses) == {"loss_id"}
    torch.testing.assert_close(
        osnet(triplet_weight=2.0).eval()(data).losses["loss_triplet"],
        2 * osnet().eval()(data).losses["loss_triplet"],
    )
    output = osnet(label_smoothing=0.0).eval()(data)
    torch.testing.assert_close(output.losses["loss_id"], F.cross_entropy(output.logits, output.labels))
    torch.testing.assert_close(
        osnet(channels_last=True).eval().predict(data), osnet().eval().predict(data), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("bnneck", [True, False])
def test_a_flip_test_averages_an_image_and_its_mirror_image(bnneck: bool) -> None:
    plain, task, data = osnet(bnneck=bnneck).eval(), osnet(bnneck=bnneck, flip_test=True).eval(), batch()
    mirrored = {**data, "inputs": data["inputs"].flip(3)}
    mean = (plain.predict(data) + plain.predict(mirrored)) / 2
    torch.testing.assert_close(task.predict(data), mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(task.predict(mirrored), mean, rtol=1e-4, atol=1e-5)
    x = task.pixels(data).requires_grad_()  # an attack sees both
    (grad,) = torch.autograd.grad(task(data, x).features.square().sum(), x)
    torch.testing.assert_close(grad.flip(3), _gradient(task, mirrored), rtol=1e-3, atol=1e-4)
    assert torch.equal(task.train()(data).features, plain.train()(data).features)  # training is as ever


def _gradient(task: ReIDTask, data: dict[str, Any]) -> torch.Tensor:
    x = task.pixels(data).requires_grad_()
    return torch.autograd.grad(task(data, x).features.square().sum(), x)[0]


def test_last_stride_of_a_resnet_doubles_its_maps() -> None:
    with torch.device("meta"):
        nets = [create_model("resnet50", num_classes=3, image_size=(256, 128), last_stride=s) for s in (None, 1)]
    x = torch.empty(2, 3, 256, 128, device="meta")
    shapes = [tuple(net.featuremaps(x).shape) for net in nets]
    assert shapes == [(2, 2048, 8, 4), (2, 2048, 16, 8)]
    assert [k for k in nets[1].state_dict() if not k.startswith(("bnneck", "classifier"))] == [
        k for k in build_model("resnet50", 3, loss="triplet", pretrained=False).state_dict() if "classifier" not in k
    ]


def test_resnet50_trains() -> None:
    task, data = ReIDTask("resnet50", 4, last_stride=1, **SMALL).train(), batch(4, identities=2)
    output = task(data)
    sum(output.losses.values()).backward()
    assert torch.isfinite(output.logits).all() and output.features.shape == (4, 2048)
    assert task.net.layer4[0].conv2.weight.grad.abs().sum() > 0


def loops(features: torch.Tensor, labels: torch.Tensor, margin: float) -> torch.Tensor:
    """Batch-hard triplet by loops."""
    total = []
    for a in range(len(labels)):
        positive = max((features[a] - features[b]).norm() for b in range(len(labels)) if labels[b] == labels[a])
        negative = min((features[a] - features[b]).norm() for b in range(len(labels)) if labels[b] != labels[a])
        total.append(max(torch.tensor(0.0), margin + positive - negative))
    return torch.stack(total).mean()


@pytest.mark.parametrize("seed", range(5))
def test_triplet_loss_by_loops_and_by_torchreid(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(12, 6, generator=generator) * 0.3
    labels = torch.randint(0, 4, (12,), generator=generator)
    found = batch_hard_triplet(features, labels, margin=0.3)
    torch.testing.assert_close(found, loops(features, labels, 0.3), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found, TripletLoss(0.3)(features, labels), rtol=1e-5, atol=1e-5)


def test_triplet_loss_of_equal_features_and_of_one_person() -> None:
    features = torch.zeros(4, 3, requires_grad=True)
    loss = batch_hard_triplet(features, torch.tensor([0, 0, 1, 1]), margin=0.3)
    loss.backward()
    torch.testing.assert_close(loss.detach(), torch.tensor(0.3))
    assert torch.isfinite(features.grad).all()
    assert batch_hard_triplet(torch.randn(4, 3), torch.zeros(4, dtype=torch.long)) == 0
    half = batch_hard_triplet(torch.randn(4, 3, dtype=torch.bfloat16), torch.tensor([0, 0, 1, 1]))
    assert half.dtype == torch.float32


def test_the_triplet_loss_is_not_rounded_under_autocast() -> None:
    """Features far from the origin, as pooled ones are: what tells them apart is below bfloat16's rounding."""
    generator = torch.Generator().manual_seed(0)
    features = 1 + 0.05 * torch.randn(32, 512, generator=generator)
    labels = torch.arange(8).repeat_interleave(4)
    exact = TripletLoss(0.3)(features.double(), labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = batch_hard_triplet(features, labels)
    torch.testing.assert_close(loss.double(), exact, atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", compat.model_names())
def test_every_model_is_taken_or_refused_in_one_line(name: str) -> None:
    """One feature and one linear head is what counts; the parameters are only counted, not allocated."""
    multi = {"pcb_p4", "pcb_p6", "hacnn"}
    with torch.device("meta"):
        if name in multi:
            with pytest.raises(ConfigError, match="one feature vector|does not run on images of"):
                create_model(name, num_classes=6, image_size=(256, 128))
            return
        net = create_model(name, num_classes=6, image_size=(256, 128))
        assert isinstance(net.classifier, nn.Linear) and net.classifier.out_features == 6
        assert net.bnneck.num_features == net.classifier.in_features


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (dict(model="osnet_x0_26"), "torchreid has no model 'osnet_x0_26'"),
        (dict(model="pcb_p6"), "several branches or heads"),
        (dict(model="osnet_x0_25", last_stride=1), "last_stride=1 is for ResNets"),
        (dict(model="osnet_x0_25", num_classes=1), "at least 2 identities"),
        (dict(model="osnet_x0_25", label_smoothing=1.0), "label_smoothing"),
        (dict(model="osnet_x0_25", margin=-0.1), "margin"),
        (dict(model="osnet_x0_25", mean=(0.5,)), "each of 3 channels"),
    ],
)
def test_bad_settings_are_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        ReIDTask(**{"num_classes": 4, **SMALL, **arguments})
    assert "\n" not in str(caught.value)


def test_images_of_another_size_or_range_are_refused() -> None:
    task = osnet()
    with pytest.raises(DataError, match=r"images are \(3, 32, 32\).*\(3, 64, 32\)"):
        task.pixels(batch(height=32))
    with pytest.raises(DataError, match=r"\[0,1\]"):
        task.pixels({"inputs": torch.full((1, 3, 64, 32), 1.5)})


def test_backbone_weights_start_a_training_and_another_head_is_refused(tmp_path: Path) -> None:
    own = build_model("osnet_x0_25", 751, loss="softmax", pretrained=False).state_dict()
    torch.save({k: v for k, v in own.items() if not k.startswith("classifier")}, tmp_path / "backbone.pth")
    task = osnet(checkpoint=tmp_path / "backbone.pth")
    assert torch.equal(task.net.conv1.conv.weight, own["conv1.conv.weight"])
    torch.save(own, tmp_path / "head.pth")
    with pytest.raises(CheckpointError, match=r"classifier.weight is \(751, 512\)"):
        osnet(checkpoint=tmp_path / "head.pth")
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="keys missing"):
        osnet(checkpoint=tmp_path / "other.pth")


def test_weights_that_cannot_be_fetched_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: Any, **kwargs: Any) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr("torchreid.reid.models.build_model", unreachable)
    with pytest.raises(ConfigError, match=r"Network is unreachable.*task.checkpoint") as caught:
        osnet(pretrained=True)
    assert "\n" not in str(caught.value)


def test_the_older_layout_of_torchreid_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    import torchreid.reid.models as models

    monkeypatch.setitem(sys.modules, "torchreid.reid.models", None)  # as if it did not exist
    monkeypatch.setitem(sys.modules, "torchreid.models", models)
    assert "osnet_x0_25" in compat.model_names()


def test_a_missing_torchreid_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torchreid", "torchreid.reid", "torchreid.reid.models", "torchreid.models"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=r"pip install -e '\.\[reid\]'"):
        osnet()


def test_attack_gradients_reach_the_pixels_only() -> None:
    task, data = osnet().train(), batch()
    from natx.attacks import PGD
    from natx.threat import Linf
    from tasks.reid.objectives import IFGSM

    buffers = {name: value.clone() for name, value in task.named_buffers()}
    x_adv = PGD(Linf(8 / 255), 2, step_size=2 / 255, objective=IFGSM(guides="batch"))(task, data)
    assert (x_adv - task.pixels(data)).abs().max() <= 8 / 255 + 1e-6
    assert all(p.grad is None for p in task.parameters()) and task.training
    assert all(torch.equal(value, buffers[name]) for name, value in task.named_buffers())
    assert not task.net.bnneck.bias.requires_grad  # frozen before, frozen after
