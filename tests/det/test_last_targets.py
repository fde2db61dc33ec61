"""Targets hang on no pixel: they are worked out once for a batch, and never for another one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from detectors import annotation, as_batch, detector, faster, mixed_batch, retina, square_batch, ssd
from torch import Tensor

from natx.batch import Batch, select
from natx.methods import Adversarial
from natx.models.adversary import Adversary
from natx.task import Output
from natx.terms import NastyKL
from tasks.det import DetectionTask
from tasks.det.readers import LastTargets

FAMILIES = pytest.mark.parametrize("family", [ssd, retina, faster])
MTD = dict(
    type="WorstOf",
    threat=dict(type="Linf", eps=8 / 255),
    attacks=[
        dict(type="PGD", steps=1, step_size=8 / 255, objective=dict(type="ImageLoss", name=name))
        for name in ("loss_cls", "loss_bbox")
    ],
    objective=dict(type="ImageLoss"),
)


def counted(task: DetectionTask, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one at every assignment of one image's objects to priors."""
    head = task.net.rpn_head if hasattr(task.net, "rpn_head") else task.net.bbox_head
    calls: list[int] = []
    assign = head.assigner.assign

    def counting(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return assign(*args, **kwargs)

    monkeypatch.setattr(head.assigner, "assign", counting)
    return calls


def plain(output: Output) -> dict[str, Tensor]:
    """The tensors of an output by name."""
    rows = dict(zip(("image", "prior"), output.rows))
    fields = {"logits": output.logits, "labels": output.labels, "row_weight": output.row_weight}
    return {**fields, **rows, **output.losses, **{f"{name} each": loss for name, loss in output.image_losses.items()}}


def same(ours: Output, theirs: Output) -> None:
    for (name, a), (other, b) in zip(plain(ours).items(), plain(theirs).items(), strict=True):
        assert name == other and torch.equal(a, b), name


def changed(batch: Batch, **entries: Any) -> Batch:
    return {**batch, **entries}


@FAMILIES
@pytest.mark.parametrize("views", [("adv",), ("clean", "adv")], ids=["mtd", "union"])
def test_a_training_step_assigns_each_image_once(
    family: Callable, views: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    task, batch = detector(family()).train(), square_batch()
    terms: list[Any] = [dict(type="TaskLoss")]
    if len(views) == 2:
        terms.append(NastyKL(Adversary([detector(family(), seed=1)])))
    method, calls = Adversarial(MTD, views, terms=terms), counted(task, monkeypatch)
    method(task, batch, epoch=0)
    assert len(calls) == 3
    method(task, changed(batch, epoch=torch.ones(3, dtype=torch.int64)), epoch=1)  # the next epoch's step
    assert len(calls) == 6


@FAMILIES
def test_a_second_reading_is_that_of_a_new_model(family: Callable) -> None:
    task, batch = detector(family()).eval(), square_batch()
    fresh = copy.deepcopy(task)
    task(batch)
    moved = (task.pixels(batch) + 0.02).clamp(0, 1)
    again, first = task(batch, moved), fresh(batch, moved)
    same(again, first)
    for model, output in ((task, again), (fresh, first)):
        sum(output.losses.values()).backward()
        assert model.net.backbone.conv1.weight.grad.any()
    for a, b in zip(task.parameters(), fresh.parameters()):
        assert (a.grad is None and b.grad is None) or torch.equal(a.grad, b.grad)


@FAMILIES
def test_another_batch_gets_its_own_targets(family: Callable) -> None:
    task, batch = detector(family()).eval(), square_batch()
    objects = [*batch["data_samples"][:2], annotation([[60, 20, 240, 250]], [2])]
    larger = torch.zeros(3, 3, 128, 160, dtype=torch.uint8)
    larger[:, :, :, :128] = batch["inputs"]
    others = [
        changed(batch, data_samples=objects),
        changed(batch, data_samples=[replace(shot, shape=(100, 100)) for shot in batch["data_samples"]]),
        select(batch, torch.tensor([2, 0, 1])),
        select(batch, torch.tensor([0, 1])),
        changed(batch, index=batch["index"] + 1),
        changed(batch, epoch=torch.full((3,), 7)),
        changed(batch, inputs=larger) if family is not ssd else batch,  # an SSD has one size
    ]
    for other in others:
        task(batch)  # what is remembered when the other one comes
        same(task(other), detector(family()).eval()(other))


def test_targets_are_the_same_object_while_the_batch_is() -> None:
    batch, targets = mixed_batch(), LastTargets(32)
    first = targets(batch)
    assert targets(changed(batch, inputs=torch.rand(3, 3, 96, 128))) is first  # other pixels
    assert targets(changed(batch, data_samples=list(batch["data_samples"]), extra=1)) is first
    assert targets(changed(batch, index=batch["index"].clone())) is not first
    larger = targets(changed(batch, inputs=torch.rand(3, 3, 96, 160)))
    assert larger.metas[0]["batch_input_shape"] == (96, 160)
    assert targets(batch) is not first  # only the last batch is remembered
    assert [meta["pad_shape"] for meta in first.metas] == [(96, 96), (64, 128), (96, 128)]


def test_each_detector_of_one_batch_has_its_own_priors() -> None:
    """Levels of other sizes and other heads share no targets."""
    batch = square_batch()
    small, large = detector(ssd()).eval(), detector(ssd()).eval()
    large.targets = small.targets  # even where the targets are shared
    same(large(batch), small(batch))
    assert len(small.targets(batch).assigned) == 2
    inputs = torch.zeros(1, 3, 128, 128, dtype=torch.uint8)
    empty = as_batch([annotation([], [])], (128, 128))
    assert small(changed(empty, inputs=inputs)).losses["loss_bbox"] == 0
