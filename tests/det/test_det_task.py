from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from detectors import (
    BGR,
    CLASSES,
    RGB,
    annotation,
    as_batch,
    detector,
    faster,
    mixed_batch,
    mmdet_data,
    one,
    plain_mmdet,
    retina,
    square_batch,
    ssd,
    totals,
)
from mmdet.models.backbones import ResNet
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from natx.attacks import PGD
from natx.attacks.victim import Cost, Victim
from natx.batch import Batch
from natx.errors import CheckpointError, ConfigError, DataError
from natx.models.adversary import Adversary
from natx.models.checkpoint import load_weights, save_weights
from natx.objectives import ImageLoss
from natx.task import slice_raw
from natx.terms import NastyKL, View
from natx.terms.nasty import nasty_divergence
from natx.testing import TinyCNNTask
from natx.threat import Linf
from tasks.det import DetectionTask
from tasks.det.metrics import DetectionMAP
from tasks.det.readers import Targets
from tasks.det.readers.ssd import SSDReader

THREAT = dict(type="Linf", eps=8 / 255)


@pytest.fixture(scope="module")
def shared() -> DetectionTask:
    return detector(ssd()).eval()


@pytest.fixture
def task(shared: DetectionTask) -> DetectionTask:
    return copy.deepcopy(shared)


# ------------------------------------------------------------------------------------------------ losses


@pytest.mark.parametrize("batch", [square_batch(), mixed_batch()], ids=["square", "mixed"])
@pytest.mark.parametrize("ignore", [-1, 0.5])
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_losses_are_those_of_mmdets_model(batch: Batch, ignore: float, training: bool) -> None:
    config = ssd(assigner=dict(ignore_iof_thr=ignore))
    task = detector(config).train(training)
    net = plain_mmdet(config, task)
    data = mmdet_data(net, batch)
    ours, theirs = task(batch), totals(net.loss(data["inputs"], data["data_samples"]))
    assert ours.losses.keys() == theirs.keys() == {"loss_cls", "loss_bbox"}
    for name, value in theirs.items():
        torch.testing.assert_close(ours.losses[name], value.sum().view_as(ours.losses[name]), rtol=1e-5, atol=1e-6)
    sum(ours.losses.values()).backward()
    sum(value.sum() for value in theirs.values()).backward()
    for (name, mine), other in zip(task.net.named_parameters(), net.parameters()):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-3, atol=1e-4, msg=name)


def test_ignored_boxes_change_the_losses() -> None:
    plain, ignoring = (detector(ssd(assigner=dict(ignore_iof_thr=value))).eval() for value in (-1, 0.3))
    batch = square_batch()
    x = plain.pixels(batch)
    raw = plain.network(x, batch)
    assert plain.read(raw, batch).losses["loss_cls"] != ignoring.read(raw, batch).losses["loss_cls"]


def test_a_batch_without_objects_has_zero_losses_with_gradients(task: DetectionTask) -> None:
    batch = one(square_batch(), 1)
    output = task(batch)
    assert len(output.logits) == 0 and all(loss == 0 for loss in output.losses.values())
    sum(output.losses.values()).backward()
    assert all(p.grad is not None and not p.grad.any() for p in task.net.bbox_head.parameters())


def test_boxes_without_area_are_left_out(task: DetectionTask) -> None:
    flat = annotation([[20, 30, 90, 120], [50, 60, 50, 90]], [0, 1])
    plain = annotation([[20, 30, 90, 120]], [0])
    inputs = square_batch()["inputs"][:1]
    batches = [{"inputs": inputs, "data_samples": [shot], "index": torch.arange(1)} for shot in (flat, plain)]
    assert len(Targets.of(batches[0]).objects[0].bboxes) == 1
    flat_losses, plain_losses = (task(b).losses for b in batches)
    assert all(torch.isfinite(v) and v == plain_losses[k] for k, v in flat_losses.items())


def test_boxes_are_scaled_from_the_original_image(task: DetectionTask) -> None:
    # 200 x 100 pixels shown as 128 x 128: x is stretched, y is shrunk.
    original = annotation([[10, 50, 60, 150]], [1], original=(200, 100), shape=(128, 128))
    resized = annotation([[12.8, 32, 76.8, 96]], [1], original=(128, 128), shape=(128, 128))
    inputs = square_batch()["inputs"][:1]
    batches = [{"inputs": inputs, "data_samples": [shot], "index": torch.arange(1)} for shot in (original, resized)]
    first, second = (task(b) for b in batches)
    for name in first.losses:
        torch.testing.assert_close(first.losses[name], second.losses[name])
    torch.testing.assert_close(Targets.of(batches[0]).objects[0].bboxes, torch.tensor([[12.8, 32, 76.8, 96]]))


@pytest.mark.parametrize("batch", [square_batch(), mixed_batch()], ids=["square", "mixed"])
def test_image_losses_are_the_losses_of_each_image_alone(task: DetectionTask, batch: Batch) -> None:
    together = task(batch).image_losses
    for i in range(3):
        alone = task(one(batch, i))
        for name, loss in together.items():
            torch.testing.assert_close(loss[i], alone.losses[name], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(loss[i : i + 1], alone.image_losses[name], rtol=1e-4, atol=1e-5)


def test_an_attack_climbs_the_training_loss(task: DetectionTask) -> None:
    batch = one(mixed_batch(), 1)
    x = task.pixels(batch)
    victim = Victim(task, batch, ball=Linf(8 / 255).around(x, task.perturbable(batch)), cost=Cost())
    for name, loss in task(batch).losses.items():
        _, _, score = victim.gradient(x, ImageLoss(name))
        torch.testing.assert_close(score, loss.detach()[None])


@pytest.mark.parametrize("name", ["loss_cls", "loss_bbox", None])
def test_attacks_raise_the_loss_they_climb(task: DetectionTask, name: str | None) -> None:
    batch = square_batch()
    attack = PGD(THREAT, 3, step_size=4 / 255, objective=dict(type="ImageLoss", name=name))
    objective = ImageLoss(name)
    x_adv = attack(task, batch)
    before, after = (objective(task(batch, x), batch, x=x) for x in (task.pixels(batch), x_adv))
    assert after[0] > before[0] and after[2] > before[2] and after[1] == before[1] == 0


# ------------------------------------------------------------------------------------------------ rows


@pytest.mark.parametrize(("ignore", "positive"), [(-1, -1), (0.5, -1), (-1, 2.5)])
def test_weighted_cross_entropy_of_the_rows_is_the_classification_loss(ignore: float, positive: float) -> None:
    config = ssd(assigner=dict(ignore_iof_thr=ignore))
    config["train_cfg"]["pos_weight"] = positive
    output = detector(config).eval()(square_batch())
    rows = F.cross_entropy(output.logits, output.labels, reduction="none")
    torch.testing.assert_close((rows * output.row_weight).sum(), output.losses["loss_cls"])
    background = output.labels == CLASSES
    for i in range(3):
        own = output.image == i
        assert (own & background).sum() == 3 * (own & ~background).sum()


def test_rows_scored_again_give_the_same_logits(task: DetectionTask) -> None:
    batch = square_batch()
    x = task.pixels(batch)
    raw = task.network(x, batch)
    output = task.read(raw, batch)
    again = task.read(raw, batch, rows=output.rows)
    assert torch.equal(again.logits, output.logits) and again.losses == {} and again.labels is None
    # The clean image's rows on other pixels, not those that the other pixels would choose.
    other = task.read(task.network(1 - x, batch), batch, rows=output.rows)
    assert len(other.logits) == len(output.logits) and not torch.equal(other.logits, output.logits)


def test_raw_slices_read_alike(task: DetectionTask) -> None:
    batch = square_batch()
    raw = task.network(task.pixels(batch), batch)
    whole = task.read(raw, batch)
    for i in range(3):
        part = task.read(slice_raw(raw, i, i + 1), one(batch, i))
        assert torch.equal(part.logits, whole.logits[whole.image == i])
        assert torch.equal(part.rows[1], whole.rows[1][whole.image == i])
        for name, loss in part.image_losses.items():
            torch.testing.assert_close(loss[0], whole.image_losses[name][i])


def test_nasty_term_compares_the_targets_rows(task: DetectionTask) -> None:
    batch, other = square_batch(), detector(ssd(), seed=1)
    x = task.pixels(batch)
    output = task(batch)
    view = [View("clean", x, output)]
    same = NastyKL(Adversary([copy.deepcopy(task)]), weight=1.0, temperature=2.0)
    same.prepare(task, torch.device("cpu"))
    assert same(view, batch)["kl_clean"].abs() < 1e-6
    term = NastyKL(Adversary([other]), weight=1.0, temperature=2.0)
    term.prepare(task, torch.device("cpu"))
    scalars = term(view, batch)
    logits = other.read(other.network(x, batch), batch, rows=output.rows).logits
    expected = (nasty_divergence(output.logits, logits, temperature=2.0) * output.row_weight).sum()
    assert expected > 0.01
    torch.testing.assert_close(scalars["kl_clean"], expected.detach())
    torch.testing.assert_close(scalars["loss_nasty"], -4 * expected)
    scalars["loss_nasty"].backward()
    assert all(p.grad is None for p in other.parameters())
    assert any(p.grad is not None and p.grad.any() for p in task.parameters())


# ------------------------------------------------------------------------------------------------ adversaries


def changed(part: str, **values: Any) -> dict[str, Any]:
    config = ssd()
    node = config
    for name in part.split("."):
        node = node[name]
    node.update(values)
    return config


def test_an_adversary_with_the_same_priors_is_taken_and_nothing_is_left_behind(task: DetectionTask) -> None:
    task.train()
    before = {name: value.clone() for name, value in task.state_dict().items()}
    Adversary([detector(ssd(), seed=2)]).check(task)
    assert all(m.training for m in task.modules()) and all(p.requires_grad for p in task.parameters())
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())


@pytest.mark.parametrize(
    "config",
    [
        changed("bbox_head.anchor_generator", min_sizes=[20, 40, 64]),
        changed("bbox_head.anchor_generator", ratios=[[2], [2, 3], [2]]),
        changed("neck", level_paddings=(0,)),  # the last level is 1 x 1 and not 2 x 2
    ],
    ids=["sizes", "ratios", "levels"],
)
def test_an_adversary_with_other_priors_is_refused(task: DetectionTask, config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="priors are not the target's") as error:
        NastyKL(Adversary([detector(config)])).prepare(task, torch.device("cpu"))
    assert "\n" not in str(error.value)


def test_an_adversary_of_another_family_task_or_class_count_is_refused(task: DetectionTask) -> None:
    for other, message in (
        (detector(retina()), "a Retina detector, the target SSD"),
        (TinyCNNTask(CLASSES), "a TinyCNNTask, the target a detector"),
        (detector(ssd(4), 4), "4 classes, the target 3"),
    ):
        with pytest.raises(ConfigError, match=message):
            Adversary([other]).check(task)


# ------------------------------------------------------------------------------------------------ pixels and padding


@pytest.mark.parametrize("fill", [0, 114])
@pytest.mark.parametrize(
    "preprocessor",
    [RGB, BGR, {**RGB, "bgr_to_rgb": False, "rgb_to_bgr": True}],
    ids=["rgb", "bgr", "turned"],
)
def test_detections_are_those_of_mmdets_model(preprocessor: dict[str, Any], fill: int) -> None:
    config = ssd(preprocessor=dict(preprocessor, pad_value=fill))
    task = detector(config).eval()
    net, batch = plain_mmdet(config, task), mixed_batch()
    data = mmdet_data(net, batch)
    inside = task.perturbable(batch)
    seen: list[torch.Tensor] = []
    task.reader.raw = lambda x: (seen.append(x), SSDReader.raw(task.reader, x))[1]
    found, theirs = task.predict(batch), net.predict(data["inputs"], data["data_samples"])
    torch.testing.assert_close(seen[0], data["inputs"], rtol=1e-5, atol=1e-4)
    assert (seen[0].masked_select(~inside) == fill).all()
    for ours, sample in zip(found, theirs):
        other = sample.pred_instances
        assert len(ours["scores"]) > 5 and torch.equal(ours["labels"], other.labels)
        torch.testing.assert_close(ours["scores"], other.scores.detach(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours["boxes"], other.bboxes.detach(), rtol=1e-4, atol=1e-2)


def test_padding_is_known_never_perturbed_and_reset(task: DetectionTask) -> None:
    batch = mixed_batch()
    mask = task.perturbable(batch)
    assert mask.shape == (3, 1, 96, 128) and mask[0, 0, :92, :68].all() and mask[0].sum() == 92 * 68
    assert mask[1].sum() == 60 * 100 and mask[2].all() and task.perturbable(square_batch()) is None
    x = task.pixels(batch)
    x_adv = PGD(THREAT, 2, objective=dict(type="ImageLoss"))(task, batch)
    outside = ~mask.expand_as(x)
    assert torch.equal(x_adv[outside], x[outside]) and not torch.equal(x_adv[~outside], x[~outside])
    dirty = torch.where(outside, torch.rand_like(x), x)
    for clean, other in zip(task.network(x, batch)["cls"], task.network(dirty, batch)["cls"]):
        assert torch.equal(clean, other)


def test_pixels_are_checked(task: DetectionTask) -> None:
    batch = square_batch()
    x = task.pixels(batch)
    assert x.dtype == torch.float32 and torch.equal(x, batch["inputs"] / 255)
    with pytest.raises(DataError, match="1 channels"):
        task.pixels({**batch, "inputs": x[:, :1]})
    with pytest.raises(DataError, match=r"in \[0,1\]"):
        task.pixels({**batch, "inputs": x * 255})


def test_channels_last_gives_the_same_losses() -> None:
    config, batch = ssd(), square_batch()
    plain = detector(config).eval()
    other = DetectionTask(config, CLASSES, channels_last=True).eval()
    other.load_state_dict(plain.state_dict())
    assert other.pixels(batch).is_contiguous(memory_format=torch.channels_last)
    for name, loss in plain(batch).losses.items():
        torch.testing.assert_close(other(batch).losses[name], loss, rtol=1e-4, atol=1e-5)


def test_an_attack_leaves_modes_flags_and_statistics(task: DetectionTask) -> None:
    task.train()
    task.net.backbone.bn1.eval()
    task.net.backbone.conv1.weight.requires_grad_(False)
    modes, flags = [m.training for m in task.modules()], [p.requires_grad for p in task.parameters()]
    state = {name: value.clone() for name, value in task.state_dict().items()}
    generator = torch.get_rng_state()
    for bn_mode in ("eval", "train"):
        PGD(THREAT, 1, objective=dict(type="ImageLoss", name="loss_cls"), bn_mode=bn_mode)(task, square_batch())
    assert modes == [m.training for m in task.modules()] and flags == [p.requires_grad for p in task.parameters()]
    assert all(p.grad is None for p in task.parameters()) and torch.equal(generator, torch.get_rng_state())
    assert all(torch.equal(value, state[name]) for name, value in task.state_dict().items())


# ------------------------------------------------------------------------------------------------ weights and configs


def test_weights_are_saved_under_mmdets_keys(task: DetectionTask, tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    save_weights(path, task, meta={"classes": ["a", "b", "c"]})
    net = plain_mmdet(ssd(), detector(ssd(), seed=3))
    net.load_state_dict(load_file(path), strict=True)
    for name, value in net.state_dict().items():
        assert torch.equal(value, task.upstream.state_dict()[name])
    other = detector(ssd(), seed=4).eval()
    load_weights(other, path)
    assert other.classes == ("a", "b", "c")
    batch = square_batch()
    assert torch.equal(other(batch).losses["loss_cls"], task(batch).losses["loss_cls"])
    given = DetectionTask(ssd(), CLASSES, checkpoint=path).eval()
    assert torch.equal(given(batch).losses["loss_cls"], task(batch).losses["loss_cls"])


def test_backbone_weights_alone_are_taken(tmp_path: Path) -> None:
    source = ResNet(depth=18, base_channels=8, stem_channels=8)
    path = tmp_path / "resnet.safetensors"
    save_file({**source.state_dict(), "fc.weight": torch.zeros(2, 3)}, path)
    task = DetectionTask(ssd(), CLASSES, checkpoint=path)
    for name, value in source.state_dict().items():
        assert torch.equal(value, task.net.backbone.state_dict()[name])
    save_file({"conv1.weight": source.conv1.weight.detach()}, path)
    with pytest.raises(CheckpointError, match="keys missing"):
        DetectionTask(ssd(), CLASSES, checkpoint=path)


def test_weights_of_another_class_count_are_not_judged(task: DetectionTask, tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    save_weights(path, task, meta={})
    with pytest.raises(CheckpointError, match="does not fit the model") as error:
        load_weights(detector(ssd(5), 5), path)
    assert "\n" not in str(error.value)


def test_configs_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigError, match="num_classes=3, the task 20"):
        DetectionTask(ssd(), 20)
    with pytest.raises(ConfigError, match="batch_augments"):
        DetectionTask(ssd(preprocessor=dict(RGB, batch_augments=[dict(type="BatchFixedSizePad")])), CLASSES)
    untrained = retina()
    untrained["train_cfg"] = None
    with pytest.raises(ConfigError, match="no train_cfg"):
        DetectionTask(untrained, CLASSES)


def test_a_data_set_of_other_classes_is_refused(task: DetectionTask) -> None:
    class Set:
        num_classes = 20

    with pytest.raises(DataError, match="20 classes, the detector 3"):
        task.check_data(Set())


def test_downloads_are_taken_out() -> None:
    config = ssd()
    config["backbone"]["init_cfg"] = dict(type="Pretrained", checkpoint="https://example.invalid/none.pth")
    untouched = copy.deepcopy(config)
    assert isinstance(DetectionTask(config, CLASSES).reader, SSDReader) and config == untouched


def test_targets_follow_the_padding_that_mmdet_gives_each_image() -> None:
    batch = mixed_batch()
    net = plain_mmdet(ssd(), detector(ssd()))
    samples = mmdet_data(net, batch)["data_samples"]
    assert as_batch(batch["data_samples"], (96, 128))["inputs"].equal(batch["inputs"])
    for sample, meta in zip(samples, Targets.of(batch, divisor=32).metas):
        assert {name: tuple(sample.metainfo[name]) for name in meta} == meta


# ------------------------------------------------------------------------------------------------ damaged weights


@pytest.mark.parametrize("family", [ssd, retina, faster])
def test_a_network_with_damaged_weights_does_not_pass_for_one_that_finds_nothing(family: Any) -> None:
    """One class layer's entry is NaN; mmdet drops such scores as it drops low ones."""
    task, batch = detector(family()).eval(), square_batch()
    judged = SimpleNamespace(annotations=batch["data_samples"], classes=("a", "b", "c"))
    assert DetectionMAP()(task.predict(batch), judged)["mAP"] >= 0
    names = {ssd: "bbox_head.cls_convs.0.0.bias", retina: "bbox_head.retina_cls.bias"}
    with torch.no_grad():
        task.net.get_parameter(names.get(family, "roi_head.bbox_head.fc_cls.bias"))[1] = torch.nan
    with pytest.raises(DataError, match="predicts NaN or infinite boxes or scores") as error:
        DetectionMAP()(task.predict(batch), judged)
    assert "\n" not in str(error.value)
