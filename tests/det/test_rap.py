from __future__ import annotations

import copy
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from detectors import annotation, detector, mixed_batch, one, retina, ssd
from families import tiny
from fitted_detectors import faint, fitted
from PIL import Image
from torch import Tensor, nn

from natx.attacks import build_attack
from natx.attacks.victim import Cost, Victim
from natx.batch import Batch, select
from natx.errors import ConfigError, UnsupportedError
from natx.evaluation.sets import evaluate_set
from natx.evaluation.size import realised
from natx.report.pictures import draw_pictures
from natx.task import Output, Task
from natx.threat import L2, Linf
from tasks.det import DetectionTask
from tasks.det.attacks import DAG, RAP, Dense, dense
from tasks.det.attacks.rap import rap_loss
from tasks.det.metrics import DetectionMAP

BOX, AWAY = [0.0, 0.0, 4.0, 4.0], [10.0, 10.0, 14.0, 14.0]


class Toy(Task):
    """Three proposals: two near the one detection, the last of them hardly an object's, and one far from it."""

    num_classes = 1

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3, 12, generator=generator, dtype=torch.float64))
        self.mover = nn.Parameter(torch.randn(3, 4, 12, generator=generator, dtype=torch.float64))
        self.bias = torch.tensor([1.0, 1.0, -6.0], dtype=torch.float64)
        self.boxes = torch.tensor([BOX, AWAY, BOX], dtype=torch.float64)
        self.score = 0.9

    @property
    def reader(self) -> Toy:
        return self

    def pixels(self, batch: Batch) -> Tensor:
        return batch["inputs"]

    def network(self, x: Tensor, batch: Batch) -> Any:
        flat = x.flatten(1)
        return (flat - 0.5) @ self.weight.T + self.bias, torch.einsum("pck,nk->npc", self.mover, flat.square())

    def read(self, raw: Any, batch: Batch, *, rows: Any = None) -> Output:
        raise AssertionError("RAP needs no losses")

    def dense(self, raw: Any) -> Dense:
        odds, offsets = raw
        boxes = self.boxes.expand(len(odds), 3, 4)
        return Dense(odds[..., None], odds.sigmoid()[..., None], nn.functional.logsigmoid(-odds), BOX, offsets, boxes)

    def predict(self, batch: Batch) -> list[dict[str, Tensor]]:
        # In pixels of the original image, which is half as large.
        found = {"boxes": torch.tensor([BOX]) / 2, "scores": torch.tensor([self.score]), "labels": torch.tensor([0])}
        return [found] * len(batch["index"])


def toy_batch() -> Batch:
    found = annotation([BOX], [0], original=(1, 1), shape=(2, 2))
    x = torch.rand(1, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) * 0.5 + 0.25
    return {"inputs": x, "data_samples": [found], "index": torch.tensor([7])}


def test_two_steps_as_calculated_by_hand() -> None:
    """Only the first proposal counts; the gradient of its loss as a formula, normalised in each channel."""
    task, batch = Toy(), toy_batch()
    x, weight, mover = batch["inputs"], task.weight[0].detach(), task.mover[0].detach()
    clean = mover @ x.flatten().square()
    point = x
    for _ in range(2):
        flat = point.flatten()
        odds = (flat - 0.5) @ weight + 1
        change = mover @ flat.square() - clean
        label = odds.sigmoid() * weight  # of -log(1 - sigmoid(odds))
        shape = -math.exp(-float(change.abs().mean())) * (change.sign()[:, None] * mover * 2 * flat).mean(0)
        grad = (0.5 * label + 0.5 * shape).view(3, 4)
        length = torch.tensor([math.sqrt(float((channel**2).sum())) for channel in grad])
        point = (flat.view(3, 4) - 0.01 * grad / length[:, None]).view(1, 3, 2, 2)
    found = RAP(Linf(1.0), steps=2, step_size=0.01, distortion=1.0)(task, batch)
    assert torch.allclose(found, point, atol=1e-7, rtol=0)


def test_the_loss_is_a_mean_over_the_chosen_proposals() -> None:
    offsets = torch.zeros(2, 3, 4)
    offsets[0, 0, 0], offsets[0, 1, 1], offsets[0, 2] = 2.0, -6.0, 100.0
    log_background = torch.log(torch.tensor([[0.5, 0.25, 0.1], [0.5, 0.5, 0.5]])).requires_grad_()
    seen: Any = SimpleNamespace(log_background=log_background, offsets=offsets)
    near = torch.tensor([[True, True, False], [False, False, False]])
    loss = rap_loss(seen, torch.zeros(2, 3, 4), near)
    expected = 0.5 * (math.log(2) + math.log(4)) / 2 + 0.5 * math.exp(-(2 + 6) / 8)
    assert loss.tolist() == pytest.approx([expected, 0])
    loss.sum().backward()
    assert log_background.grad is not None and bool(torch.isfinite(log_background.grad).all())


@pytest.mark.parametrize(
    ("setting", "chosen"),
    [({}, [True, False, False]), ({"objectness": 1e-3}, [True, False, True]), ({"objectness": 0.99}, [False] * 3)],
)
def test_proposals_are_object_like_and_near_a_detection(setting: dict[str, float], chosen: list[bool]) -> None:
    task, batch = Toy(), toy_batch()
    victim = Victim(task, batch, ball=Linf(8 / 255).around(batch["inputs"]), cost=Cost())
    attack = RAP(**setting)
    seen = task.dense(task.network(batch["inputs"], batch))
    assert attack._near(seen, attack._detections(victim)).tolist() == [chosen]
    task.score = 0.05
    assert attack._near(seen, attack._detections(victim)).tolist() == [[False] * 3]


def test_an_image_without_detections_stays_as_it_is() -> None:
    task, batch = Toy(), toy_batch()
    task.score = 0.05
    found = RAP().judge(task, batch)
    assert torch.equal(found.x_adv, batch["inputs"]) and found.notes == []
    assert (found.cost.forwards, found.cost.backwards) == (2, 0)


def test_an_image_is_done_when_its_mean_squared_change_is_more_than_asked_for() -> None:
    task, batch = Toy(), toy_batch()
    # A step changes each channel by a length of 0.004; a second one, in nearly the same direction, doubles that.
    for most, steps in ((0.001**2, 1), (0.003**2, 2), (0.005**2, 3)):
        found = RAP(Linf(1.0), step_size=0.004, distortion=most).judge(task, batch)
        assert found.cost.backwards == steps + 1  # the look that finds it done
        mean = float((found.x_adv - batch["inputs"]).square().mean())
        assert most < mean < 1.01 * (steps * 0.002) ** 2


# ------------------------------------------------------------------------------------------------ detectors


@pytest.fixture(scope="module")
def model() -> DetectionTask:
    return fitted(ssd(), faint(mixed_batch()))


def test_objectness_falls_and_boxes_move_within_the_bound_and_padding_stays(model: DetectionTask) -> None:
    batch = faint(mixed_batch())
    x, mask = model.pixels(batch), model.perturbable(batch)
    attack = RAP()
    found = attack.judge(model, batch)
    victim = Victim(model, batch, ball=Linf(8 / 255).around(x, mask), cost=Cost())
    with torch.no_grad():
        clean, after = (dense(model, model.network(at, batch)) for at in (x, found.x_adv))
    near = attack._near(clean, attack._detections(victim))
    assert bool(near.any(1).all())
    background = [(seen.log_background.exp() * near).sum(1) / near.sum(1) for seen in (clean, after)]
    moved = ((after.offsets - clean.offsets).abs().mean(2) * near).sum(1) / near.sum(1)
    assert bool((background[1] > background[0] + 0.2).all()) and bool((moved > 0.3).all())
    best = [[float(one["scores"].max()) for one in model.predict(b)] for b in (batch, {**batch, "inputs": found.x_adv})]
    assert min(best[0]) > 0.9 and max(best[1]) < 0.6
    size = realised(x, found.x_adv, mask)
    assert bool((size["linf"] <= 8 / 255 + 1e-9).all())
    assert bool((size["psnr"] > 39).all()), size["psnr"]  # one step beyond 40 dB
    assert bool((found.x_adv == x).where(~mask, True).all())


def test_other_threats_hold(model: DetectionTask) -> None:
    batch = faint(mixed_batch())
    x = model.pixels(batch)
    assert float((RAP(Linf(1 / 255), steps=6)(model, batch) - x).abs().max()) <= 1 / 255 + 1e-9
    euclid = RAP(L2(0.1), steps=6)(model, batch)
    assert float((euclid - x).flatten(1).norm(dim=1).max()) <= 0.1 + 1e-9


def test_an_image_is_attacked_the_same_in_any_batch(model: DetectionTask) -> None:
    batch = faint(mixed_batch())
    together = RAP(steps=8)(model, batch)
    for i in range(3):
        assert torch.allclose(RAP(steps=8)(model, one(batch, i)), together[i : i + 1], atol=1e-8, rtol=0)
    assert torch.equal(RAP(steps=8)(model, batch), together)


class Three:
    """The three faint images as a test set."""

    classes = ("red", "green", "blue")

    def __init__(self) -> None:
        self.batch = faint(mixed_batch())
        self.annotations = self.batch["data_samples"]

    def __len__(self) -> int:
        return 3

    def __getitems__(self, positions: list[int]) -> Batch:
        return select(self.batch, torch.tensor(positions))


def test_an_evaluation_reports_map_sizes_success_and_a_picture_of_each_attack(
    model: DetectionTask, tmp_path: Path
) -> None:
    metric, data, attacks = DetectionMAP(), Three(), [RAP(steps=30), DAG(steps=3)]
    found = evaluate_set(model, data, attacks, metric=metric, batch_size=2)
    assert found.values["Clean"]["mAP"] == pytest.approx(100)
    assert found.values["RAP"]["mAP"] < 50 and found.values["RAP"]["AP"] < 0.5 * found.values["Clean"]["AP"]
    assert [attack.notes for attack in found.attacks[:2]] == [[], []]
    assert "do not add up to" in found.attacks[2].notes[0]  # three steps of DAG's
    x, mask = model.pixels(data.batch), model.perturbable(data.batch)
    for attack, result in zip(attacks, found.attacks[1:]):
        size = realised(x, attack(model, data.batch), mask)
        measured = {"linf": float(size["linf"].max()), "l2": float(size["l2"].mean()), "changed": 3, "images": 3}
        assert result.perturbation == pytest.approx({**measured, "psnr": float(size["psnr"].mean())}, rel=1e-6)
    success = found.attacks[1].success
    assert (success["fooled"], success["of"], success["rate"]) == (3, 3, 100.0)
    files = draw_pictures(tmp_path, data, metric, examples=found.examples)
    assert files == {"RAP": "examples-RAP.png", "DAG": "examples-DAG.png"}
    contents = {(tmp_path / file).read_bytes() for file in files.values()}
    assert len(contents) == 2 and all(Image.open(tmp_path / file).width > 900 for file in files.values())


def test_images_without_an_object_to_find_are_not_attacked(model: DetectionTask) -> None:
    metric, data = DetectionMAP(), Three()
    data.annotations[1] = annotation([[30, 20, 190, 140]], [1], original=(150, 250), shape=(60, 100), difficult=(0,))
    seen: list[int] = []

    class Watched(RAP):
        def run(self, victim: Victim, *, epoch: int = 0) -> Tensor:
            seen.extend(victim.batch["index"].tolist())
            return super().run(victim, epoch=epoch)

    found = evaluate_set(model, data, [Watched(steps=2)], metric=metric, batch_size=2)
    assert seen == [40, 42] and found.attacked == 2 and found.examples.positions == [0, 2]
    assert found.attacks[1].perturbation["images"] == found.attacks[1].success["of"] == 2
    assert found.notes[0].startswith("1 of 3 images has no object to find: not attackable, ")


def test_the_model_and_the_generators_are_as_before(model: DetectionTask) -> None:
    task = copy.deepcopy(model).float().train()
    task.net.backbone.layer1.eval()
    modes, state = [m.training for m in task.modules()], torch.get_rng_state()
    weights = {key: value.clone() for key, value in task.state_dict().items()}
    RAP(steps=3)(task, faint(mixed_batch()))
    assert [m.training for m in task.modules()] == modes and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, weights[key]) for key, value in task.state_dict().items())
    assert all(p.requires_grad for p in task.parameters())


def test_retinanet_is_attacked_and_a_detector_without_priors_or_proposals_is_refused() -> None:
    batch = mixed_batch()
    task = detector(retina()).eval()
    x, found = task.pixels(batch), RAP(steps=3)(task, batch)
    assert not torch.equal(found, x) and float((found - x).abs().max()) <= 8 / 255 + 1e-6
    with pytest.raises(UnsupportedError, match="not FCOS: attack this one with PGD") as caught:
        RAP()(detector(tiny("fcos")).eval(), batch)
    assert "\n" not in str(caught.value)


def test_settings() -> None:
    attack = build_attack(dict(type="RAP", threat=dict(type="Linf", eps=4 / 255)))
    assert attack.name == "RAP" and attack.describe()["steps"] == 200 and str(attack.threat) == "Linf 4/255"
    assert str(RAP().threat) == "Linf 8/255"
    for wrong in (dict(steps=0), dict(step_size=0.0), dict(distortion=0.0), dict(overlap=1.0), dict(score=-0.1)):
        with pytest.raises(ConfigError):
            RAP(**wrong)
