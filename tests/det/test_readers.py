from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from detectors import (
    CLASSES,
    annotation,
    as_batch,
    coder,
    detector,
    faster,
    mixed_batch,
    mmdet_data,
    one,
    plain_mmdet,
    retina,
    square_batch,
    totals,
)
from mmdet.structures.bbox import bbox2roi
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import box_iou, sigmoid_focal_loss

from natx.attacks import PGD
from natx.batch import Batch, join, select
from natx.errors import ConfigError
from natx.methods import Adversarial
from natx.models.adversary import Adversary
from natx.objectives import CrossEntropy, ImageLoss
from natx.task import slice_raw
from natx.terms import NastyKL, View
from natx.terms.nasty import nasty_divergence
from tasks.det import DetectionTask
from tasks.det.readers import Targets
from tasks.det.readers.dense import DenseReader
from tasks.det.readers.general import GeneralReader
from tasks.det.readers.retina import RetinaReader
from tasks.det.readers.two_stage import TwoStageReader

THREAT = dict(type="Linf", eps=8 / 255)
GIOU = dict(reg_decoded_bbox=True, loss_bbox=dict(type="GIoULoss", loss_weight=2.0))
BATCHES = pytest.mark.parametrize("batch", [square_batch(), mixed_batch()], ids=["square", "mixed"])
FAMILIES = pytest.mark.parametrize("family", [retina, faster])


@pytest.fixture(scope="module")
def models() -> dict[Any, DetectionTask]:
    return {family: detector(family()).eval() for family in (retina, faster)}


@contextmanager
def sampling_like(net: nn.Module, targets: Targets) -> Iterator[None]:
    """Let mmdet's own samplers draw each image's numbers as the reader does."""
    with torch.random.fork_rng(devices=[]):
        for sampler, place in ((net.rpn_head.sampler, 0), (net.roi_head.bbox_sampler, 1)):
            seeds = iter([pair[place] for pair in targets.seeds])

            def sample(*args: Any, inner: Callable = sampler.sample, seeds: Iterator = seeds, **kwargs: Any) -> Any:
                torch.manual_seed(next(seeds))
                return inner(*args, **kwargs)

            sampler.sample = sample
        yield


def mmdet_losses(config: dict[str, Any], task: DetectionTask, batch: Batch) -> tuple[nn.Module, dict[str, Tensor]]:
    """The losses of mmdet's own model, from its own preprocessing on."""
    net = plain_mmdet(config, task)
    data = mmdet_data(net, batch)
    if not hasattr(net, "roi_head"):
        return net, totals(net.loss(data["inputs"], data["data_samples"]))
    with sampling_like(net, Targets.of(batch)):
        return net, totals(net.loss(data["inputs"], data["data_samples"]))


# ------------------------------------------------------------------------------------------------ every family


@BATCHES
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize(
    ("family", "values"),
    [
        (retina, {}),
        (retina, GIOU),
        (faster, {}),
        (faster, dict(reg_class_agnostic=True)),
        (faster, GIOU),
    ],
    ids=["retina", "retina-giou", "faster", "faster-agnostic", "faster-giou"],
)
def test_losses_and_gradients_are_those_of_mmdets_model(
    family: Callable, values: dict[str, Any], training: bool, batch: Batch
) -> None:
    config = family(**values)
    task = detector(config).train(training)
    net, theirs = mmdet_losses(config, task, batch)
    ours = task(batch)
    assert ours.losses.keys() == theirs.keys() == ours.image_losses.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours.losses[name], value, rtol=1e-5, atol=1e-6)
    sum(ours.losses.values()).backward()
    sum(theirs.values()).backward()
    for (name, mine), other in zip(task.net.named_parameters(), net.parameters()):
        scale = float(other.grad.abs().max())
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-3, atol=1e-5 * scale + 1e-7, msg=name)


@FAMILIES
@pytest.mark.parametrize("values", [{}, GIOU], ids=["plain", "giou"])
def test_images_without_objects_have_finite_losses(family: Callable, values: dict[str, Any]) -> None:
    config = family(**values)
    task = detector(config).eval()
    batch = as_batch([annotation([], []), annotation([[10, 10, 90, 90]], [0], difficult=(0,))], (128, 128))
    output = task(batch)
    _, theirs = mmdet_losses(config, task, batch)
    for name, value in theirs.items():
        torch.testing.assert_close(output.losses[name], value, rtol=1e-5, atol=1e-6)
    box_losses = [loss for name, loss in output.image_losses.items() if "bbox" in name]
    assert not any(loss.any() for loss in box_losses) and all(loss.shape == (2,) for loss in box_losses)
    sum(output.losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in task.parameters() if p.grad is not None)
    x_adv = PGD(THREAT, 1, objective=dict(type="ImageLoss"))(task, batch)
    assert torch.isfinite(x_adv).all()


@FAMILIES
@BATCHES
def test_image_losses_are_the_losses_of_each_image_alone(models: dict, family: Callable, batch: Batch) -> None:
    task = models[family]
    together = task(batch).image_losses
    for i in range(3):
        alone = task(one(batch, i))
        for name, loss in together.items():
            torch.testing.assert_close(loss[i], alone.losses[name], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(loss[i : i + 1], alone.image_losses[name], rtol=1e-4, atol=1e-5)


@FAMILIES
def test_detections_are_those_of_mmdets_model(models: dict, family: Callable) -> None:
    task, batch = models[family], mixed_batch()
    net = plain_mmdet(family(), task)
    data = mmdet_data(net, batch)
    with torch.no_grad():
        theirs = net.predict(data["inputs"], data["data_samples"])
    for ours, sample in zip(task.predict(batch), theirs):
        other = sample.pred_instances
        assert len(ours["scores"]) > 5 and torch.equal(ours["labels"], other.labels)
        torch.testing.assert_close(ours["scores"], other.scores, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours["boxes"], other.bboxes, rtol=1e-4, atol=1e-2)


@FAMILIES
def test_rows_scored_again_and_raw_slices_give_the_same_logits(models: dict, family: Callable) -> None:
    task, batch = models[family], square_batch()
    x = task.pixels(batch)
    raw = task.network(x, batch)
    output = task.read(raw, batch)
    again = task.read(raw, batch, rows=output.rows)
    torch.testing.assert_close(again.logits, output.logits, rtol=1e-5, atol=1e-5)
    assert again.link == output.link and again.losses == {} and again.labels is None
    for i in range(3):
        part = task.read(slice_raw(raw, i, i + 1), one(batch, i))
        torch.testing.assert_close(part.logits, output.logits[output.image == i], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(part.rows[1], output.rows[1][output.image == i], rtol=1e-4, atol=1e-3)


@FAMILIES
def test_nasty_term_compares_the_targets_rows(models: dict, family: Callable) -> None:
    task, other, batch = copy.deepcopy(models[family]), detector(family(), seed=1), square_batch()
    x, output = task.pixels(batch), task(batch)
    view = [View("clean", x, output)]
    same = NastyKL(Adversary([copy.deepcopy(task)]), weight=1.0, temperature=2.0)
    same.prepare(task, torch.device("cpu"))
    assert same(view, batch)["kl_clean"].abs() < 1e-5
    term = NastyKL(Adversary([other]), weight=1.0, temperature=2.0)
    term.prepare(task, torch.device("cpu"))
    scalars = term(view, batch)
    logits = other.read(other.network(x, batch), batch, rows=output.rows).logits
    rows = nasty_divergence(output.logits, logits, temperature=2.0, link=output.link)
    expected = (rows * output.row_weight).sum()
    assert expected > 0.01
    torch.testing.assert_close(scalars["loss_nasty"], -4 * expected)
    scalars["loss_nasty"].backward()
    assert all(p.grad is None for p in other.parameters())
    assert task.net.backbone.conv1.weight.grad.any()


@FAMILIES
@pytest.mark.parametrize("name", ["loss_cls", "loss_bbox"])
def test_attacks_raise_the_loss_they_climb(models: dict, family: Callable, name: str) -> None:
    task, batch = models[family], select(square_batch(), torch.tensor([0, 2]))
    x = task.pixels(batch)
    attack = PGD(THREAT, 4, step_size=2 / 255, objective=dict(type="ImageLoss", name=name), random_start=False)
    objective = ImageLoss(name)
    before, after = (objective(task(batch, pixels), batch, x=x) for pixels in (x, attack(task, batch)))
    assert (after > before).all()


@FAMILIES
def test_a_nasty_adversarial_step_trains(models: dict, family: Callable) -> None:
    task = copy.deepcopy(models[family]).train()
    terms = [dict(type="TaskLoss"), NastyKL(Adversary([detector(family(), seed=1)]), weight=0.06)]
    attack = dict(type="PGD", threat=THREAT, steps=1, objective=dict(type="ImageLoss"))
    method = Adversarial(attack, views=("clean", "adv"), terms=terms)
    method.prepare(task, torch.device("cpu"))
    scalars = method(task, square_batch(), epoch=0)
    losses = [value for name, value in scalars.items() if "loss" in name]
    sum(losses).backward()
    assert scalars["loss_nasty"] < 0 and all(torch.isfinite(value).all() for value in scalars.values())
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in task.parameters())


@FAMILIES
def test_bfloat16_reads_in_full_precision(models: dict, family: Callable) -> None:
    task, batch = models[family], square_batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, found = task(batch), task.predict(batch)
    assert output.logits.dtype == torch.float32 and all(v.dtype == torch.float32 for v in output.losses.values())
    assert all(torch.isfinite(f["boxes"]).all() for f in found)
    full = task(batch).losses["loss_cls"]
    torch.testing.assert_close(output.losses["loss_cls"], full, rtol=0.25, atol=0.1)


# ------------------------------------------------------------------------------------------------ RetinaNet


def test_retina_losses_against_a_short_reference(models: dict) -> None:
    task, batch = models[retina], one(square_batch(), 0)
    raw = task.network(task.pixels(batch), batch)
    output = task.read(raw, batch)
    targets = Targets.of(batch)
    objects, labels = targets.objects[0].bboxes, targets.objects[0].labels
    sizes = [level.shape[-2:] for level in raw["cls"]]
    priors = torch.cat(task.net.bbox_head.prior_generator.grid_priors(sizes, device="cpu"))
    logits, deltas = (
        torch.cat([m.permute(0, 2, 3, 1).reshape(-1, w) for m in raw[key]]) for key, w in (("cls", 3), ("box", 4))
    )
    overlap = box_iou(priors, objects)
    best, which = overlap.max(1)
    positive = best >= 0.5
    for i in range(len(objects)):  # an object's best priors are its own, however little they overlap
        own = overlap[:, i] == overlap[:, i].max()
        positive, which = positive | own, torch.where(own, i, which)
    wanted = F.one_hot(labels[which], CLASSES) * positive[:, None]
    counted = positive | (best < 0.4)
    focal = sigmoid_focal_loss(logits, wanted.float(), alpha=0.25, gamma=2.0)[counted].sum()
    p, g = priors[positive], objects[which[positive]]
    size = p[:, 2:] - p[:, :2]
    centre = ((g[:, 2:] + g[:, :2]) - (p[:, 2:] + p[:, :2])) / 2 / size
    regression = torch.cat([centre, ((g[:, 2:] - g[:, :2]) / size).log()], 1)
    count = int(positive.sum())
    torch.testing.assert_close(output.losses["loss_cls"], focal / count, rtol=1e-5, atol=1e-5)
    distance = (deltas[positive] - regression).abs().sum() / count
    torch.testing.assert_close(output.losses["loss_bbox"], distance, rtol=1e-5, atol=1e-5)
    assert torch.equal(output.rows[1], positive.nonzero().squeeze(1))


def test_retina_rows_are_the_positives_with_their_classes(models: dict) -> None:
    batch = square_batch()
    output = models[retina](batch)
    assert output.link == "sigmoid" and output.logits.shape == (len(output.labels), CLASSES)
    assert set(output.image.tolist()) == {0, 2} and set(output.labels.tolist()) == {0, 1, 2}
    assert set(output.labels[output.image == 2].tolist()) == {1}
    # An image without positives counts as one, as in mmdet.
    torch.testing.assert_close(output.row_weight, torch.full((len(output.labels),), 1 / (len(output.labels) + 1)))
    scores = CrossEntropy()(output, batch, x=models[retina].pixels(batch))
    assert scores.shape == (3,) and scores[1] == 0 and scores[0] > 0 and scores[2] > 0


def test_retina_refuses_other_priors_and_heads(models: dict) -> None:
    config = retina()
    config["bbox_head"]["anchor_generator"]["octave_base_scale"] = 4
    with pytest.raises(ConfigError, match="priors are not the target's"):
        Adversary([detector(config)]).check(models[retina])
    Adversary([detector(retina(), seed=3)]).check(models[retina])
    with pytest.raises(ConfigError, match="a TwoStage detector, the target Retina"):
        Adversary([models[faster]]).check(models[retina])
    other_loss = retina(loss_cls=dict(type="GHMC", bins=30, momentum=0.75, use_sigmoid=True, loss_weight=1.0))
    assert type(DetectionTask(other_loss, CLASSES).reader) is DenseReader


def test_families_get_their_readers(models: dict) -> None:
    assert isinstance(models[retina].reader, RetinaReader) and isinstance(models[faster].reader, TwoStageReader)


# ------------------------------------------------------------------------------------------------ Faster R-CNN


def test_second_stage_losses_against_a_short_reference(models: dict) -> None:
    task, batch = models[faster], square_batch()
    raw = task.network(task.pixels(batch), batch)
    output = task.read(raw, batch)
    image, boxes = output.rows
    assert len(boxes) == 72 and output.logits.shape == (72, CLASSES + 1)  # 24 an image
    targets = Targets.of(batch)
    logits, deltas = _second_stage(task, raw, image, boxes)
    torch.testing.assert_close(output.logits, logits)
    distance = torch.zeros(3)
    for row, (i, box, label) in enumerate(zip(image.tolist(), boxes, output.labels.tolist())):
        objects = targets.objects[i]
        if len(objects.bboxes) == 0:
            assert label == CLASSES
            continue
        overlap, which = box_iou(box[None], objects.bboxes)[0].max(0)
        assert label == (int(objects.labels[which]) if overlap >= 0.5 else CLASSES)
        if label < CLASSES:
            size, goal = box[2:] - box[:2], objects.bboxes[which]
            centre = ((goal[2:] + goal[:2]) - (box[2:] + box[:2])) / 2 / size / 0.1
            scale = ((goal[2:] - goal[:2]) / size).log() / 0.2
            distance[i] += (deltas[row].view(CLASSES, 4)[label] - torch.cat([centre, scale])).abs().sum()
    rows = F.cross_entropy(output.logits, output.labels, reduction="none")
    assert (output.labels < CLASSES).sum() >= 3
    torch.testing.assert_close((rows * output.row_weight).sum(), output.losses["loss_cls"])
    torch.testing.assert_close(output.per_image(rows) / 24, output.image_losses["loss_cls"])
    torch.testing.assert_close(distance / 24, output.image_losses["loss_bbox"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(distance.sum() / 72, output.losses["loss_bbox"], rtol=1e-4, atol=1e-5)


def _second_stage(task: DetectionTask, raw: Any, image: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    roi = task.net.roi_head
    rois = bbox2roi([boxes[image == i] for i in range(3)])
    return roi.bbox_head(roi.bbox_roi_extractor(raw, rois))


def test_an_adversary_scores_the_targets_boxes_on_its_own_features(models: dict) -> None:
    task, batch = models[faster], square_batch()
    config = faster()  # other proposals altogether: only the classes and the boxes of the target matter
    config["rpn_head"]["anchor_generator"]["scales"] = [6]
    adversary = detector(config, seed=2)
    Adversary([adversary]).check(task)
    x, output = task.pixels(batch), task(batch)
    logits = Adversary([adversary]).logits(batch, x, rows=output.rows)
    expected, _ = _second_stage(adversary, adversary.network(x, batch), *output.rows)
    torch.testing.assert_close(logits, expected.detach())
    assert not logits.requires_grad
    grad_x = x.clone().requires_grad_()
    Adversary([adversary]).logits(batch, grad_x, rows=output.rows, differentiable=True).sum().backward()
    assert grad_x.grad.any()


def test_samples_belong_to_the_image_and_leave_the_generator_alone(models: dict) -> None:
    task, batch = models[faster], square_batch()
    torch.manual_seed(7)
    state = torch.get_rng_state()
    first = task(batch)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(123)
    second = task(batch)
    assert torch.equal(first.rows[1], second.rows[1]) and first.losses == second.losses
    turned = task(select(batch, torch.tensor([2, 1, 0])))
    for i in range(3):
        mine, same = first.rows[1][first.image == i], turned.rows[1][turned.image == 2 - i]
        torch.testing.assert_close(mine, same, rtol=1e-4, atol=1e-3)
        for name, loss in first.image_losses.items():
            torch.testing.assert_close(loss[i], turned.image_losses[name][2 - i], rtol=1e-4, atol=1e-5)
    twice = task(join([batch, batch]))
    torch.testing.assert_close(twice.rows[1][:72], twice.rows[1][72:], rtol=1e-4, atol=1e-3)


def test_samples_differ_between_images_and_epochs() -> None:
    batch = square_batch()
    seeds = Targets.of(batch).seeds
    assert len({value for pair in seeds for value in pair}) == 6
    assert Targets.of({**batch, "epoch": torch.zeros(3, dtype=torch.int64)}).seeds == seeds
    later = Targets.of({**batch, "epoch": torch.ones(3, dtype=torch.int64)}).seeds
    assert not set(seeds) & set(later)


def test_anchors_are_sampled_alike_on_a_larger_canvas(models: dict) -> None:
    # Padding that other images of the batch cause brings no anchors, so the draws stay the image's own.
    task, batch = models[faster], one(mixed_batch(), 1)
    inputs = torch.zeros(1, 3, 64, 128, dtype=torch.uint8)
    inputs[:, :, :60, :100] = batch["inputs"][:, :, :60, :100]
    small = {**batch, "inputs": inputs}
    counts = []
    for one_batch in (batch, small):
        targets = Targets.of(one_batch, divisor=32)
        head = task.net.rpn_head
        sizes = [level.shape[-2:] for level in task.network(task.pixels(one_batch), one_batch)]
        priors, valid = head.get_anchors(sizes, targets.metas, device="cpu")
        counts.append(torch.cat(priors[0])[torch.cat(valid[0])])
    assert torch.equal(*counts)


def test_masks_are_left_alone_and_other_samplers_and_cascades_get_the_general_reader() -> None:
    masks = faster()
    masks["type"] = "MaskRCNN"
    masks["roi_head"]["mask_roi_extractor"] = masks["roi_head"]["bbox_roi_extractor"]
    masks["roi_head"]["mask_head"] = dict(type="FCNMaskHead", in_channels=16, num_convs=1, num_classes=CLASSES)
    task = detector(masks)
    assert type(task.reader) is TwoStageReader
    frozen = [name for name, p in task.net.named_parameters() if not p.requires_grad]
    assert frozen and all("mask_head" in name for name in frozen)
    sampled = faster()
    sampled["train_cfg"]["rcnn"]["sampler"]["type"] = "OHEMSampler"
    cascade = faster()
    boxes = cascade["roi_head"]["bbox_head"]
    cascade["type"], cascade["roi_head"]["type"] = "CascadeRCNN", "CascadeRoIHead"
    cascade["roi_head"].update(num_stages=1, stage_loss_weights=[1], bbox_head=[dict(boxes, bbox_coder=coder())])
    cascade["train_cfg"]["rcnn"] = [cascade["train_cfg"]["rcnn"]]
    for config in (sampled, cascade):
        assert type(DetectionTask(config, CLASSES).reader) is GeneralReader


def test_a_detector_whose_losses_need_more_than_features_is_refused() -> None:
    proposals = faster()
    proposals.pop("roi_head")
    proposals["type"] = "RPN"
    proposals["train_cfg"] = {"rpn": proposals["train_cfg"]["rpn"]}
    proposals["test_cfg"] = {"rpn": proposals["test_cfg"]["rpn"]}
    with pytest.raises(ConfigError, match="no reader for RPN with RPNHead") as error:
        DetectionTask(proposals, 1)
    assert "\n" not in str(error.value)


def test_dense_rows_of_retina_are_those_of_its_own_reader(models: dict) -> None:
    task, batch = models[retina], square_batch()
    features, targets = task.net.extract_feat(task.pixels(batch)), Targets.of(batch, divisor=32)
    own = task.reader.read(task.reader.raw(task.pixels(batch)), targets)
    dense = DenseReader(task.net, CLASSES).read(tuple(features), targets)
    for ours, theirs in zip((*dense.rows, dense.labels), (*own.rows, own.labels)):
        assert torch.equal(ours, theirs)
    torch.testing.assert_close(dense.logits, own.logits)
    for name, loss in own.image_losses.items():
        torch.testing.assert_close(dense.image_losses[name], loss, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(dense.losses[name], own.losses[name], rtol=1e-4, atol=1e-5)


def test_no_proposals_and_no_objects_give_no_rows() -> None:
    config = faster()
    config["train_cfg"]["rpn_proposal"] = dict(config["train_cfg"]["rpn_proposal"], min_bbox_size=1000)
    task = detector(config).eval()
    batch = as_batch([annotation([], []), annotation([], [])], (128, 128))
    output = task(batch)
    assert output.logits.shape == (0, CLASSES + 1) and len(output.row_weight) == 0
    assert output.losses["loss_cls"] == output.losses["loss_bbox"] == 0 and output.losses["loss_rpn_cls"] > 0
    sum(output.losses.values()).backward()
    assert task.net.roi_head.bbox_head.fc_cls.weight.grad is not None
    assert isinstance(Targets.of(batch).objects[0], InstanceData)
