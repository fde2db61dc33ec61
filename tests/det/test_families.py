"""Every family that a reader reads through mmdet's own methods: it trains a step, is attacked, is judged."""

from __future__ import annotations

import copy
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from detectors import mmdet_data, one, plain_mmdet, square_batch, totals
from families import FAMILIES, REMEMBERING, tiny
from torch import Tensor

from natx.attacks import PGD
from natx.errors import ConfigError, DataError, UnsupportedError
from natx.models.adversary import Adversary
from natx.models.checkpoint import plain
from natx.objectives import ImageLoss
from natx.terms import NastyKL, View
from tasks.det import DetectionTask
from tasks.det.attacks import DAG
from tasks.det.metrics import DetectionMAP
from tasks.det.readers import Targets
from tasks.det.readers.base import seeded

CLASSES = 3
THREAT = dict(type="Linf", eps=8 / 255)
# Families whose heads give no class logits a prior or query.
ROWLESS = {"autoassign", "cascade_rcnn", "free_anchor", "sparse_rcnn", "yolov3"}
# What stands for the classification loss where no loss has that name.
NAMES = {"autoassign": "loss_pos", "free_anchor": "positive_bag_loss"}


def build(family: str, seed: int = 0) -> DetectionTask:
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        return DetectionTask(tiny(family), CLASSES)


def mmdets(family: str, task: DetectionTask, batch: dict[str, Any]) -> tuple[dict[str, Tensor], list[Any]]:
    """Losses and detections of mmdet's own model on the very input of the task's: queries are chosen by small gaps."""
    seen: list[Tensor] = []
    hook = task.net.backbone.register_forward_pre_hook(lambda backbone, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        task.network(task.pixels(batch), batch)
    hook.remove()
    net = plain_mmdet(tiny(family), task).train()
    losses: dict[str, Tensor] = {}
    if family not in ("mask_rcnn", "double_head"):  # masks are needed there; the other has a test in test_readers
        data = mmdet_data(net, batch)
        with seeded(Targets.of(batch).seeds[0][0]):
            losses = totals(net.loss(seen[0], data["data_samples"]))
    net = plain_mmdet(tiny(family), task).eval()
    data = mmdet_data(net, batch)
    with torch.no_grad():
        return losses, [sample.pred_instances for sample in net.predict(seen[0], data["data_samples"])]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_trains_a_step_is_attacked_and_is_judged(family: str) -> None:
    task, batch = build(family).eval(), square_batch()
    losses, detections = mmdets(family, task, batch)
    predictions = task.predict(batch)
    for ours, theirs in zip(predictions, detections):
        assert torch.equal(ours["labels"], theirs.labels)
        torch.testing.assert_close(ours["scores"], theirs.scores, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours["boxes"], theirs.bboxes, rtol=1e-3, atol=1e-2)
    judged = SimpleNamespace(annotations=batch["data_samples"], classes=("a", "b", "c"))
    values = DetectionMAP()(predictions, judged)
    assert values.pop("false alarms") >= 0 and all(0 <= value <= 100 for value in values.values())

    generator = torch.get_rng_state()
    x_adv = PGD(THREAT, 1, step_size=4 / 255, objective=ImageLoss(NAMES.get(family, "loss_cls")))(task, batch)
    moved = (x_adv - task.pixels(batch)).abs().flatten(1).amax(1)
    assert moved[0] > 0 and moved[2] > 0 and moved.max() <= 8 / 255 + 1e-6
    assert torch.equal(generator, torch.get_rng_state()) and not any(m.training for m in task.modules())
    if family in ("mask_rcnn", "double_head"):  # their second stages score boxes
        DAG().check(task)
    else:
        with pytest.raises(UnsupportedError, match="priors of SSD and RetinaNet"):
            DAG().check(task)

    task.train()
    output = task(batch)
    for name, value in losses.items():
        assert float(output.losses[name]) == pytest.approx(float(value), rel=1e-4, abs=1e-5), name
    before = {name: p.detach().clone() for name, p in task.named_parameters()}
    sum(output.losses.values()).backward()
    torch.optim.SGD([p for p in task.parameters() if p.requires_grad], lr=0.01).step()
    steps = {name for name, p in task.named_parameters() if not torch.equal(p, before[name])}
    assert any("backbone" in name for name in steps) and any("head" in name for name in steps)
    assert not any("mask_head" in name for name in steps)
    assert all(torch.isfinite(p).all() for p in task.parameters())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - ROWLESS))
def test_the_nasty_term_compares_rows(family: str) -> None:
    task, batch, other = build(family).eval(), square_batch(), build(family, seed=1).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():  # class layers begin almost alike
        for parameter in other.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    x, output = task.pixels(batch), task(batch)
    assert len(output.logits) and set(output.labels.tolist()) <= {0, 1, 2, CLASSES}
    torch.testing.assert_close(output.row_weight.sum(), torch.tensor(1.0))
    view = [View("clean", x, output)]
    same, term = (NastyKL(Adversary([t]), weight=1.0, temperature=1.0) for t in (copy.deepcopy(task), other))
    for nasty in (same, term):
        nasty.prepare(task, torch.device("cpu"))
    assert same(view, batch)["kl_clean"].abs() < 1e-4
    scalars = term(view, batch)
    assert scalars["kl_clean"] > 1e-8
    scalars["loss_nasty"].backward()
    assert any(p.grad is not None and p.grad.any() for p in task.parameters())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", ["yolox", "fcos", "atss", "rtmdet"])  # positives alone, at once, a level at a time
def test_dense_rows_are_what_enters_the_classification_loss(family: str) -> None:
    task, batch, entered = build(family).eval(), square_batch(), []
    task.net.bbox_head.loss_cls.register_forward_hook(lambda loss, inputs, value: entered.append(inputs[:2]))
    output = task(batch)
    wanted: list[Any] = []
    for logits, target in entered:
        target = target[0] if isinstance(target, tuple) else target
        positive = target.sum(1) > 0 if target.is_floating_point() else target < CLASSES
        labels = target.argmax(1) if target.is_floating_point() else target
        wanted += zip(logits[positive].tolist(), labels[positive].tolist())
    assert sorted(zip(output.logits.tolist(), output.labels.tolist())) == sorted(wanted)
    assert set(output.image.tolist()) <= {0, 2} and set(output.labels[output.image == 2].tolist()) <= {1}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", ["yolox", "detr", "cascade_rcnn"])
def test_image_losses_are_those_of_each_image_alone_with_stages_added_up(family: str) -> None:
    task, batch = build(family).eval(), square_batch()
    together = task(batch).image_losses
    alone = task(one(batch, 2))
    for name, loss in together.items():
        stages = [value for key, value in alone.losses.items() if key.rsplit(".", 1)[-1] == name]
        assert stages and float(loss[2]) == pytest.approx(float(sum(stages)), rel=1e-4)


def memory(task: DetectionTask) -> list[Any]:
    """What a detector's losses remember of those before: Dynamic R-CNN's lists and thresholds, GHM's counts."""
    roi, head = getattr(task.net, "roi_head", None), getattr(task.net, "bbox_head", None)
    if roi is not None:
        loss = roi.bbox_head.loss_bbox
        return [[*roi.iou_history], [*roi.beta_history], roi.bbox_assigner.pos_iou_thr, loss.beta]
    return [buffer.tolist() for loss in (head.loss_cls, head.loss_bbox) for buffer in loss.buffers()]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", REMEMBERING)
def test_an_attack_leaves_what_losses_remember_and_an_update_does_not(family: str) -> None:
    task, batch = build(family).train(), square_batch()
    if family == "dynamic_rcnn":
        task.net.roi_head.train_cfg.dynamic_rcnn.update_iter_interval = 2  # of losses; 100 in the config
    initial = memory(task)
    task(batch)
    learnt = memory(task)
    assert learnt != initial
    PGD(THREAT, 1, objective=ImageLoss())(task, batch)
    assert memory(task) == learnt
    task.eval()
    first, second = (task(batch).losses for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert memory(task) == learnt
    task.train()(batch)
    assert memory(task) != learnt
    if family == "dynamic_rcnn":  # GHM's counts are buffers, which checkpoints hold anyway
        resumed = build(family)
        resumed.recall(plain({"memory": task.memory()})["memory"])
        assert memory(resumed) == memory(task) and resumed.memory() == task.memory()


@pytest.mark.filterwarnings("ignore")
def test_processes_do_not_wait_for_each_others_normalisers(monkeypatch: pytest.MonkeyPatch) -> None:
    task, batch = build("atss").eval(), square_batch()
    losses = task(batch).losses
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda *args, **kwargs: pytest.fail("asked other processes"))
    for name, loss in task(batch).losses.items():
        assert torch.equal(loss, losses[name])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", sorted(ROWLESS))
def test_nat_is_refused_where_no_row_has_logits(family: str) -> None:
    task = build(family).eval()
    with pytest.raises(ConfigError, match="no class logits a prior or query") as error:
        NastyKL(Adversary([build(family)])).prepare(task, torch.device("cpu"))
    assert "\n" not in str(error.value)


def test_a_shipped_config_is_taken_by_its_name() -> None:
    task = DetectionTask("ssd/ssd300_coco", 4)
    assert task.num_classes == 4 and task.net.bbox_head.num_classes == 4 and task.model == "SingleStageDetector"
    with pytest.raises(ConfigError, match="no config 'ssd/ssd300_cocoa'; the nearest is 'ssd/ssd300_coco'"):
        DetectionTask("ssd/ssd300_cocoa", 4)
    with pytest.raises(ConfigError, match="no model that can be read"):
        DetectionTask("_base_/default_runtime", 4)


def test_images_with_fewer_places_than_queries_are_refused_in_one_line() -> None:
    task = DetectionTask({**tiny("dino"), "num_queries": 900}, CLASSES).eval()
    batch = square_batch()
    with pytest.raises(DataError, match=r"images of 128 x 128 have \d+ places for the 900 queries of DINO") as error:
        task.network(task.pixels(batch), batch)
    assert "\n" not in str(error.value)
