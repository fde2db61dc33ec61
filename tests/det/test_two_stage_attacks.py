"""DAG and RAP on Faster R-CNN against short references on mmdet's own modules, as their papers attack it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from detectors import annotation, as_batch, detector, faster
from torch import Tensor

from natx.batch import Batch
from tasks.det import DetectionTask
from tasks.det.attacks import DAG, RAP, dense

STEP = 0.5 / 255


@pytest.fixture(scope="module")
def scene() -> tuple[DetectionTask, Batch]:
    """Two images; of three classes 0 and 2 are there, so that DAG has only 1 to give."""
    objects = [([[20, 30, 150, 200], [130, 120, 250, 250]], [0, 2]), ([[40, 40, 230, 220], [0, 0, 90, 100]], [2, 0])]
    batch = as_batch([annotation(boxes, labels) for boxes, labels in objects], (128, 128))
    return detector(faster()).double().eval(), batch


def features(task: DetectionTask, x: Tensor) -> Any:
    normalised = (x * 255 - task.mean) / task.std
    return task.net.extract_feat(normalised if not task.swap else normalised.flip(1))


def iou(a: Tensor, b: Tensor) -> float:
    width = (torch.minimum(a[2], b[2]) - torch.maximum(a[0], b[0])).clamp_min(0)
    height = (torch.minimum(a[3], b[3]) - torch.maximum(a[1], b[1])).clamp_min(0)
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return float(width * height / (area - width * height))


def proposals(task: DetectionTask, x: Tensor, meta: dict[str, Any]) -> Tensor:
    cfg = copy.deepcopy(task.net.test_cfg.rpn)
    cfg.nms["iou_threshold"], cfg["max_per_img"] = 0.9, 3000
    with torch.no_grad():
        maps = task.net.rpn_head(features(task, x))
        return task.net.rpn_head.predict_by_feat(*maps, batch_img_metas=[meta], cfg=cfg)[0].bboxes


def second_stage(task: DetectionTask, x: Tensor, boxes: Tensor) -> Tensor:
    rois = torch.cat([torch.zeros(len(boxes), 1, dtype=boxes.dtype), boxes], 1)
    return task.net.roi_head._bbox_forward(features(task, x), rois)["cls_score"]


def test_dag_moves_the_second_stages_logits_of_the_clean_proposals(scene: tuple[DetectionTask, Batch]) -> None:
    task, batch = scene
    x, expected = task.pixels(batch), []
    for i, shot in enumerate(batch["data_samples"]):
        meta = {"img_shape": (128, 128), "scale_factor": shot.scale}
        clean = x[i : i + 1]
        boxes, truth = proposals(task, clean, meta), shot.resized_boxes.double()
        probabilities = second_stage(task, clean, boxes).softmax(1).detach()
        targets: list[tuple[int, int]] = []
        for p, box in enumerate(boxes):
            fits = [
                (iou(box, gt), int(label))
                for gt, label in zip(truth, shot.labels)
                if iou(box, gt) > 0.1 and probabilities[p, label] > 0.1
            ]
            targets += [(p, max(fits)[1])] if fits else []
        assert len(targets) > 3
        current = clean.clone()
        for _ in range(3):
            current.requires_grad_()
            logits = second_stage(task, current, boxes)
            pushed = [(p, label) for p, label in targets if int(logits[p].argmax()) not in (1, 3)]
            r = torch.autograd.grad(sum(logits[p, 1] - logits[p, label] for p, label in pushed), current)[0]
            current = (current.detach() + STEP * r / r.abs().max()).clamp(0, 1)
        expected.append(current)
    x_adv = DAG(steps=3, step_size=STEP)(task, batch)
    torch.testing.assert_close(x_adv, torch.cat(expected), rtol=0, atol=1e-9)


def test_rap_attacks_the_anchors_of_the_proposal_network(scene: tuple[DetectionTask, Batch]) -> None:
    task, batch = scene
    x, expected, size = task.pixels(batch), [], 0.02
    head = task.net.rpn_head
    for i, shot in enumerate(batch["data_samples"]):
        one = {key: value[i : i + 1] for key, value in batch.items()}
        found = task.predict(one)[0]
        found = [box * torch.tensor(shot.scale * 2) for box in found["boxes"][found["scores"] >= 0.1]]
        assert found

        def anchors(pixels: Tensor) -> tuple[Tensor, Tensor]:
            cls, box = head(features(task, pixels))
            odds = torch.cat([level[0].permute(1, 2, 0).reshape(-1) for level in cls])
            return odds, torch.cat([level[0].permute(1, 2, 0).reshape(-1, 4) for level in box])

        with torch.no_grad():
            cls, _ = head(features(task, x[i : i + 1]))
            priors = torch.cat(
                head.prior_generator.grid_priors([m.shape[-2:] for m in cls], dtype=x.dtype, device="cpu")
            )
            clean = anchors(x[i : i + 1])[1]
        current = x[i : i + 1].clone()
        for _ in range(2):
            current.requires_grad_()
            odds, offsets = anchors(current)
            boxes = head.bbox_coder.decode(priors, offsets.detach())
            likely = (odds.sigmoid() > 0.01).nonzero().squeeze(1).tolist()
            near = [p for p in likely if any(iou(boxes[p], box) > 0.3 for box in found)]
            assert near
            label = -(-odds[near]).sigmoid().log().mean()
            shift = (-(offsets[near] - clean[near]).abs().mean()).exp()
            grad = torch.autograd.grad(0.5 * label + 0.5 * shift, current)[0]
            length = grad.pow(2).sum((2, 3), keepdim=True).sqrt()
            moved = current.detach() - size * grad / length
            current = moved.clamp(x[i : i + 1] - 8 / 255, x[i : i + 1] + 8 / 255).clamp(0, 1)
        expected.append(current)
    x_adv = RAP(steps=2, step_size=size)(task, batch)
    torch.testing.assert_close(x_adv, torch.cat(expected), rtol=0, atol=1e-9)


def test_both_stay_in_the_ball_and_count_their_forwards(scene: tuple[DetectionTask, Batch]) -> None:
    task, batch = scene
    for attack, before in ((DAG(steps=4, step_size=8 / 255), 1), (RAP(steps=4, step_size=3.0, distortion=1.0), 1)):
        seen = attack.judge(task, batch)
        assert float((seen.x_adv - task.pixels(batch)).abs().max()) <= 8 / 255 + 1e-6
        assert (seen.x_adv != task.pixels(batch)).flatten(1).any(1).all()
        assert (seen.cost.forwards, seen.cost.backwards) == (2 * (before + 4), 2 * 4)


def test_the_detectors_own_proposals_are_as_before(scene: tuple[DetectionTask, Batch]) -> None:
    """DAG asks for more and denser proposals than the detector judges with."""
    task, batch = scene
    before = [copy.deepcopy(task.net.test_cfg), copy.deepcopy(task.net.rpn_head.test_cfg)]
    DAG(steps=1).judge(task, batch)
    assert [task.net.test_cfg, task.net.rpn_head.test_cfg] == before


def test_proposals_of_padded_rows_are_no_targets(scene: tuple[DetectionTask, Batch]) -> None:
    """The image with fewer proposals has rows of zeros; their logits are 0, and no object overlaps them."""
    task, batch = scene
    boxes = torch.tensor([[[10.0, 10, 60, 70], [20, 20, 100, 90]], [[5.0, 5, 90, 90], [0, 0, 0, 0]]]).double()
    with torch.no_grad():
        raw = task.network(task.pixels(batch), batch)
        seen = dense(task, raw, proposals=boxes)
        alone = second_stage(task, task.pixels(batch)[1:], boxes[1, :1])
    assert torch.equal(seen.logits[1, 1], torch.zeros(4, dtype=torch.float64))
    torch.testing.assert_close(seen.logits[1, :1], alone, rtol=0, atol=1e-9)
    torch.testing.assert_close(seen.probabilities.sum(2) + seen.log_background.exp(), torch.ones(2, 2).double())
