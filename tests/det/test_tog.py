"""TOG: what each of its attacks does to a detector's losses, in closed form, and what it leaves of detections."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from detectors import annotation, as_batch, detector, faster, mixed_batch, retina, square_batch, ssd
from families import tiny
from fitted_detectors import faint, fitted
from torch import Tensor
from torch.nn import functional as F

from natx.attacks import PGD
from natx.batch import Batch, select
from natx.errors import ConfigError, UnsupportedError
from natx.evaluation.sets import evaluate_set
from natx.objectives import Objective, build_objective
from natx.testing import TinyCNNTask
from natx.threat import Linf
from tasks.det import DetectionTask
from tasks.det.attacks import DAG
from tasks.det.metrics import DetectionMAP

EPS = 8 / 255


def score(task: DetectionTask, batch: Batch, objective: Objective) -> Tensor:
    """An objective's score of the clean images."""
    x = task.pixels(batch)
    batch = {**batch, **objective.prepare(task, batch, x=x)}
    with torch.no_grad():
        return objective(task.read(task.network(x, batch), batch), batch, x=x)


def maps(task: DetectionTask, batch: Batch, head: Any) -> list[Tensor]:
    """Class maps and features of the images, by mmdet's own modules."""
    x = task.pixels(batch)
    x = ((x.flip(1) if task.swap else x) * 255 - task.mean) / task.std
    with torch.no_grad():
        features = task.net.extract_feat(x)
        return [*head(features)[0]], features


def flat(levels: list[Tensor], width: int) -> Tensor:
    return torch.cat([level.permute(0, 2, 3, 1).reshape(len(level), -1, width) for level in levels], 1)


def test_vanishing_and_fabrication_are_the_two_ways_along_the_loss_of_no_objects() -> None:
    """SSD: the cross-entropy of all priors with background. RetinaNet: the focal loss of no class anywhere."""
    batch = square_batch()
    task = detector(ssd()).eval()
    logits = flat(maps(task, batch, task.net.bbox_head)[0], 4)
    expected = -logits.log_softmax(2)[..., 3].sum(1)
    torch.testing.assert_close(score(task, batch, build_objective(dict(type="TOGVanishing"))), -expected)
    torch.testing.assert_close(score(task, batch, build_objective(dict(type="TOGFabrication"))), expected)
    task = detector(retina()).eval()
    p = flat(maps(task, batch, task.net.bbox_head)[0], 3).sigmoid()
    expected = (0.75 * p**2 * -(1 - p).log()).sum((1, 2))
    torch.testing.assert_close(
        score(task, batch, build_objective(dict(type="TOGVanishing"))), -expected, rtol=1e-4, atol=1e-4
    )


def test_of_two_stages_all_anchors_and_all_proposals_are_to_be_background() -> None:
    batch = square_batch()
    task = detector(faster()).eval()
    levels, features = maps(task, batch, task.net.rpn_head)
    anchors = F.softplus(flat(levels, 1).squeeze(2)).mean(1)  # -log(1 - p), over all of them
    metas = [{"img_shape": (128, 128), "scale_factor": (0.5, 0.5)}] * 3
    with torch.no_grad():
        found = task.net.rpn_head.predict_by_feat(*task.net.rpn_head(features), batch_img_metas=metas)
        expected = []
        for i, one in enumerate(found):
            rois = torch.cat([torch.full((len(one), 1), float(i)), one.bboxes], 1)
            logits = task.net.roi_head._bbox_forward(features, rois)["cls_score"]
            expected.append(anchors[i] - logits.log_softmax(1)[:, 3].mean())
    vanishing = score(task, batch, build_objective(dict(type="TOGVanishing")))
    torch.testing.assert_close(vanishing, -torch.stack(expected), rtol=5e-4, atol=0)


OWN = {"ssd": ssd, "retina": retina, "faster": faster}


def build(family: str) -> DetectionTask:
    if family in OWN:
        return detector(OWN[family]()).eval()
    config = tiny(family)
    if "score_thr" in config["test_cfg"]:
        config["test_cfg"]["score_thr"] = 0.0  # untrained heads give all classes low scores
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return DetectionTask(config, 3).eval()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", [*OWN, "cascade_rcnn", "detr", "fcos", "yolox"])
@pytest.mark.parametrize("kind", ["TOGVanishing", "TOGFabrication", "TOGMislabelling"])
def test_images_stay_in_the_ball_and_the_objective_rises(family: str, kind: str) -> None:
    task, batch = build(family), mixed_batch()
    settings = dict(type=kind, score=0.0) if kind == "TOGMislabelling" else dict(type=kind)
    attack = PGD(Linf(EPS), 3, step_size=2 / 255, random_start=False, objective=settings)
    x, x_adv = task.pixels(batch), attack.judge(task, batch).x_adv
    assert float((x_adv - x).abs().max()) <= EPS + 1e-6 and not torch.equal(x_adv, x)
    if kind == "TOGMislabelling" and family not in ("ssd", "retina", "detr"):
        # No rise is certain: samples and assignments of proposals move with the pixels, and a detection that is its own
        # target begins where its box loss is least (FCOS's is 0 there).
        return
    objective = attack.objective
    exchanged = {**batch, **objective.prepare(task, batch, x=x)}
    with torch.no_grad():
        outputs = [task.read(task.network(pixels, exchanged), exchanged) for pixels in (x, x_adv)]
        before, after = (objective(output, exchanged, x=x) for output in outputs)
    assert (after > before).all()


@pytest.fixture(scope="module")
def learnt() -> tuple[DetectionTask, Batch]:
    batch = faint(square_batch())
    return fitted(ssd(), batch), batch


def detections(task: DetectionTask, batch: Batch, pixels: Tensor | None = None) -> list[list[int]]:
    batch = batch if pixels is None else {**batch, "inputs": pixels}
    return [p["labels"][p["scores"] > 0.5].tolist() for p in task.predict(batch)]


def attacked(task: DetectionTask, batch: Batch, **objective: Any) -> Tensor:
    return PGD(Linf(EPS), 5, step_size=2 / 255, objective=objective).judge(task, batch).x_adv


def class_maps(task: DetectionTask, batch: Batch, pixels: Tensor) -> Tensor:
    """Log-probabilities of every prior."""
    return flat(maps(task, {**batch, "inputs": pixels}, task.net.bbox_head)[0], 4).log_softmax(2)


def test_what_each_does_to_the_probabilities(learnt: tuple[DetectionTask, Batch]) -> None:
    """Background rises everywhere or falls everywhere; what was detected becomes likelier to be of another class."""
    task, batch = learnt
    x = task.pixels(batch)
    clean = class_maps(task, batch, x)
    vanished = class_maps(task, batch, attacked(task, batch, type="TOGVanishing"))
    assert (vanished[..., 3].mean(1) > clean[..., 3].mean(1)).all()
    fabricated = class_maps(task, batch, attacked(task, batch, type="TOGFabrication"))
    assert (fabricated[..., 3].mean(1) < clean[..., 3].mean(1)).all()
    settings = dict(type="TOGMislabelling", target="likely")
    renamed = class_maps(task, batch, attacked(task, batch, **settings))
    samples = build_objective(settings).prepare(task, batch, x=x)["data_samples"]
    for i, prediction in enumerate(task.predict(batch)):
        for wrong, score, right in zip(samples[i].labels, prediction["scores"], prediction["labels"]):
            prior = int((clean[i, :, right].exp() - score).abs().argmin())
            gap = (logs[i, prior, wrong] - logs[i, prior, right] for logs in (clean, renamed))
            assert next(gap) < next(gap)


def test_mislabelling_exchanges_the_clean_detections_classes(learnt: tuple[DetectionTask, Batch]) -> None:
    """The likely and the unlikely class by the logits of the prior that is the detection; the random one is absent."""
    task, batch = learnt
    x = task.pixels(batch)
    logits = flat(maps(task, batch, task.net.bbox_head)[0], 4)
    seen: dict[str, list[Tensor]] = {}
    for target in ("likely", "unlikely", "random"):
        objective = build_objective(dict(type="TOGMislabelling", target=target))
        samples = objective.prepare(task, batch, x=x)["data_samples"]
        seen[target] = [sample.labels for sample in samples]
        for sample, prediction in zip(samples, task.predict(batch)):
            confident = prediction["scores"] >= 0.5
            torch.testing.assert_close(sample.boxes, prediction["boxes"][confident].to(sample.boxes.dtype))
            assert not (sample.labels == prediction["labels"][confident]).any() and not sample.difficult.any()
    for i, prediction in enumerate(task.predict(batch)):
        for k, (value, own) in enumerate(zip(prediction["scores"].tolist(), prediction["labels"].tolist())):
            if value < 0.5:
                break  # best first
            prior = int((logits[i].softmax(1)[:, own] - value).abs().argmin())
            others = {c: float(logits[i, prior, c]) for c in range(3) if c != own}
            assert int(seen["likely"][i][k]) == max(others, key=others.__getitem__)
            assert int(seen["unlikely"][i][k]) == min(others, key=others.__getitem__)
    assert set(seen["random"][2].tolist()) <= {0, 2}


def test_an_image_in_which_nothing_is_detected_has_no_mislabelling(learnt: tuple[DetectionTask, Batch]) -> None:
    task, batch = learnt
    empty = select(batch, torch.tensor([1]))
    assert detections(task, empty) == [[]]
    assert float(score(task, empty, build_objective(dict(type="TOGMislabelling")))) == 0.0


def test_nothing_detected_counts_nothing_where_background_has_a_loss() -> None:
    """RetinaNet's loss of an image without objects is that of its background, which is not to be climbed here."""
    task, batch = detector(retina()).eval(), square_batch()
    with torch.no_grad():  # about 0.27 for every class everywhere
        task.net.bbox_head.retina_cls.weight.zero_()
        task.net.bbox_head.retina_cls.bias.fill_(-1.0)
    assert detections(task, batch) == [[], [], []]
    assert (score(task, batch, build_objective(dict(type="TOGVanishing"))) < -1).all()
    assert float(score(task, batch, build_objective(dict(type="TOGMislabelling"))).abs().max()) == 0.0


def test_random_classes_are_those_of_the_seed(learnt: tuple[DetectionTask, Batch]) -> None:
    task, batch = learnt

    def classes(seed: int) -> list[int]:
        objective = build_objective(dict(type="TOGMislabelling", seed=seed))
        samples = objective.prepare(task, batch, x=task.pixels(batch))["data_samples"]
        return [label for sample in samples for label in sample.labels.tolist()]

    assert classes(3) == classes(3)
    assert len({tuple(classes(seed)) for seed in range(8)}) > 1


def test_costs_are_announced(learnt: tuple[DetectionTask, Batch]) -> None:
    task, batch = learnt
    for settings, forwards in (
        (dict(type="TOGVanishing"), 4),
        (dict(type="TOGMislabelling"), 5),
        (dict(type="TOGMislabelling", target="likely"), 6),
    ):
        attack = PGD(Linf(EPS), 4, objective=settings)
        assert attack.cost_per_image() == (forwards, 4)
        cost = attack.judge(task, batch).cost
        assert (cost.forwards, cost.backwards) == (3 * forwards, 3 * 4)


def test_what_cannot_be_attacked_is_refused_before_anything_runs() -> None:
    with pytest.raises(ConfigError, match="target is 'likely', 'unlikely' or 'random'"):
        build_objective(dict(type="TOGMislabelling", target="other"))
    with pytest.raises(ConfigError, match=r"score lies in \[0,1\)"):
        build_objective(dict(type="TOGMislabelling", score=1.0))  # nothing would be a detection
    for kind in ("TOGVanishing", "TOGFabrication", "TOGMislabelling"):
        with pytest.raises(UnsupportedError, match="a TinyCNNTask has none"):
            PGD(Linf(EPS), objective=dict(type=kind)).check(TinyCNNTask())
    task = detector(tiny("fcos")).eval()
    with pytest.raises(UnsupportedError, match="SSD, RetinaNet and Faster R-CNN alone: use target='random'"):
        PGD(Linf(EPS), objective=dict(type="TOGMislabelling", target="likely")).check(task)


class Street:
    """Two images of one class."""

    classes = ("thing",)

    def __len__(self) -> int:
        return 2

    def __getitems__(self, positions: list[int]) -> Batch:
        objects = [annotation([[20, 30, 150, 200]], [0]), annotation([[40, 40, 230, 220]], [0])]
        return select({**as_batch(objects, (128, 128)), "index": torch.arange(2)}, torch.tensor(positions))

    @property
    def annotations(self) -> list[Any]:
        return self.__getitems__([0, 1])["data_samples"]


def test_a_detector_of_one_class_gets_what_there_is_and_not_applicable_for_the_rest() -> None:
    task = detector(ssd(1), 1).eval()
    threat = Linf(EPS)
    attacks = [
        PGD(threat, 1, name="loss_cls", objective=dict(type="ImageLoss", name="loss_cls")),
        DAG(),
        PGD(threat, 1, name="vanishing", objective=dict(type="TOGVanishing")),
        PGD(threat, 1, name="mislabelling", objective=dict(type="TOGMislabelling")),
    ]
    for attack in (attacks[1], attacks[3]):
        with pytest.raises(UnsupportedError, match="the detector has only one") as error:
            attack.check(task)
        assert "\n" not in str(error.value)
    seen = evaluate_set(task, Street(), attacks, metric=DetectionMAP(), batch_size=2, on_unsupported="skip")
    assert list(seen.values) == ["Clean", "loss_cls", "vanishing"]
    assert list(seen.not_applicable) == ["DAG", "mislabelling"]
    assert "use RAP, or PGD on its losses" in seen.not_applicable["DAG"]
