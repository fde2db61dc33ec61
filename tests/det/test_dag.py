from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from detectors import annotation, detector, mixed_batch, one, retina, square_batch, ssd
from families import tiny
from fitted_detectors import faint, fitted
from torch import Tensor, nn

from natx.attacks import build_attack
from natx.attacks.remarks import UNDEFINED, UNREADABLE
from natx.attacks.victim import Cost, Victim
from natx.batch import Batch
from natx.errors import ConfigError, UnsupportedError
from natx.evaluation.size import realised
from natx.task import Output, Task
from natx.threat import L2, Linf
from tasks.det import DetectionTask
from tasks.det.attacks import DAG, Dense, dense
from tasks.det.attacks.wrong_class import distinct_classes, other_classes

STEP = 0.5 / 255


class Toy(Task):
    """Two proposals in images of 3 x 2 x 2, whose logits are weighted sums of squared pixels (exact gradients).

    Attributes:
        points: the pixels of every look, in order.
    """

    num_classes = 3

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(2, 4, 12, generator=generator, dtype=torch.float64))
        self.bias = nn.Parameter(torch.tensor([[9.0, 1.0, 1.0, 0.0], [1.0, 1.0, 9.0, 0.0]], dtype=torch.float64))
        self.priors = torch.tensor([[0.0, 0, 1, 2], [1, 0, 2, 2]], dtype=torch.float64)
        self.points: list[Tensor] = []

    @property
    def reader(self) -> Toy:
        return self

    def pixels(self, batch: Batch) -> Tensor:
        return batch["inputs"]

    def network(self, x: Tensor, batch: Batch) -> Tensor:
        self.points.append(x.detach().clone())
        return torch.einsum("pck,nk->npc", self.weight, x.flatten(1).square()) + self.bias

    def read(self, raw: Any, batch: Batch, *, rows: Any = None) -> Output:
        raise AssertionError("DAG needs no losses")

    def dense(self, raw: Tensor) -> Dense:
        logs = raw.log_softmax(2)
        zero = raw.new_zeros(*raw.shape[:2], 4)
        return Dense(raw, logs[..., :-1].exp(), logs[..., -1], self.priors, zero, zero)


def toy_batch() -> Batch:
    found = annotation([[0, 0, 1, 2], [1, 0, 2, 2]], [0, 2], original=(2, 2), shape=(2, 2))
    x = torch.rand(1, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) * 0.5 + 0.25
    return {"inputs": x, "data_samples": [found], "index": torch.tensor([7])}


def test_the_gradient_is_taken_at_everything_added_so_far() -> None:
    """Classes 0 and 2 are there, so both become 1. Three steps by hand, the gradient as a formula."""
    task, batch = Toy(), toy_batch()
    x = batch["inputs"]
    slope = (task.weight[0, 1] - task.weight[0, 0] + task.weight[1, 1] - task.weight[1, 2]).detach().view(1, 3, 2, 2)
    points = [x]
    for _ in range(3):
        r = 2 * points[-1] * slope
        points.append(points[-1] + STEP * r / r.abs().max())
    found = DAG(steps=3)(task, batch)
    assert torch.allclose(found, points[3], atol=1e-12, rtol=0)
    assert len(task.points) == 3
    for seen, expected in zip(task.points, points):
        assert torch.allclose(seen, expected, atol=1e-12, rtol=0)
    last_step_only = x + (points[2] - points[1])  # where a known port takes the third gradient
    r = 2 * last_step_only * slope
    assert not torch.allclose(found, points[2] + STEP * r / r.abs().max(), atol=1e-7, rtol=0)


def test_a_step_changes_the_most_changed_pixel_by_half_a_level() -> None:
    task, batch = Toy(), toy_batch()
    assert float((DAG(steps=1)(task, batch) - batch["inputs"]).abs().max()) == pytest.approx(STEP, abs=1e-12)


def test_background_and_wrong_predictions_are_left_alone_and_images_without_targets_unchanged() -> None:
    task, batch = Toy(), toy_batch()
    task.bias.data[0] = torch.tensor([0.0, 9.0, 0.0, 0.0])  # the first proposal says 1, which DAG wants
    slope = (task.weight[1, 1] - task.weight[1, 2]).detach().view(1, 3, 2, 2)
    r = 2 * batch["inputs"] * slope
    assert torch.allclose(DAG(steps=1)(task, batch), batch["inputs"] + STEP * r / r.abs().max(), atol=1e-12)
    task.bias.data[1] = torch.tensor([0.0, 0.0, 7.0, 9.0])  # the second says background, with 2 likely
    found = DAG().judge(task, batch)
    assert torch.equal(found.x_adv, batch["inputs"]) and found.notes == []
    assert (found.cost.forwards, found.cost.backwards) == (1, 0)


def test_with_a_confidence_targets_are_pushed_until_their_wrong_class_has_it() -> None:
    task, batch = Toy(), toy_batch()
    task.weight.data.mul_(0.01)  # the biases decide what is predicted
    first, second = task.weight[0, 1] - task.weight[0, 0], task.weight[1, 1] - task.weight[1, 2]

    def step(slope: Tensor) -> Tensor:
        r = 2 * batch["inputs"] * slope.detach().view(1, 3, 2, 2)
        return batch["inputs"] + STEP * r / r.abs().max()

    # The first proposal says background and only then class 0, the second says 2; both are to become 1.
    task.bias.data = torch.tensor([[8.0, 0.0, 0.0, 9.0], [0.0, 0.0, 9.0, 7.0]], dtype=torch.float64)
    assert torch.allclose(DAG(steps=1)(task, batch), step(second), atol=1e-12)
    assert torch.allclose(DAG(steps=1, confidence=0.8)(task, batch), step(first + second), atol=1e-12)
    # The first has its wrong class with 0.73, and keeps 0.27 of its own.
    task.bias.data[0] = torch.tensor([8.0, 9.0, 0.0, 0.0])
    assert torch.allclose(DAG(steps=1)(task, batch), step(second), atol=1e-12)
    assert torch.allclose(DAG(steps=1, confidence=0.8)(task, batch), step(first + second), atol=1e-12)
    assert torch.allclose(DAG(steps=1, confidence=0.7)(task, batch), step(second), atol=1e-12)
    with pytest.raises(ConfigError, match="confidence lies between"):
        DAG(confidence=1.0)


@pytest.mark.parametrize(("setting", "targets"), [({}, 2), ({"overlap": 0.4}, 1), ({"probability": 0.9999}, 0)])
def test_targets_overlap_an_object_and_give_its_class_something(setting: dict[str, float], targets: int) -> None:
    task, batch = Toy(), toy_batch()
    # The second proposal is at half the height of its object: an IoU of 1/3 with a taller box.
    task.priors[1] = torch.tensor([1.0, 0, 2, 2 / 3])
    batch["data_samples"] = [annotation([[0, 0, 1, 2], [1, 0, 2, 2]], [0, 2], original=(2, 2), shape=(2, 2))]
    victim = Victim(task, batch, ball=Linf(8 / 255).around(batch["inputs"]), cost=Cost())
    attack = DAG(**setting)
    aims = attack._aims(victim, task.dense(task.network(batch["inputs"], batch)), epoch=0)
    assert int(aims.targets.sum()) == targets
    if targets == 2:
        assert aims.true.tolist() == [[0, 2]] and aims.wrong.tolist() == [[1, 1]]


def test_difficult_objects_are_no_targets_and_their_classes_no_wrong_ones() -> None:
    task, batch = Toy(), toy_batch()
    boxes = [[0, 0, 1, 2], [1, 0, 2, 2]]
    batch["data_samples"] = [annotation(boxes, [0, 2], original=(2, 2), shape=(2, 2), difficult=(1,))]
    victim = Victim(task, batch, ball=Linf(8 / 255).around(batch["inputs"]), cost=Cost())
    aims = DAG()._aims(victim, task.dense(task.network(batch["inputs"], batch)), epoch=0)
    assert aims.targets.tolist() == [[True, False]] and aims.wrong[0, 0] == 1


def test_wrong_classes_are_absent_ones_where_there_are_any() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = set()
    for _ in range(50):
        wrong = other_classes(torch.rand(5, 5, generator=generator), torch.tensor([1, 3, 3]))
        assert not set(wrong.tolist()) & {1, 3} and bool((wrong != torch.arange(5)).all())
        drawn.add(int(wrong[1]))
        wrong = other_classes(torch.rand(2, 2, generator=generator), torch.tensor([0, 1]))
        assert wrong.tolist() == [1, 0]
    assert drawn == {0, 2, 4}


# ------------------------------------------------------------------------------------------------ detectors


@pytest.fixture(scope="module")
def model() -> DetectionTask:
    return fitted(ssd(), faint(mixed_batch()))


def certainty(task: DetectionTask, batch: Batch, x: Tensor) -> list[int]:
    """How many of each clean image's targets still have their object's class at pixels ``x``."""
    victim = Victim(task, batch, ball=Linf(8 / 255).around(task.pixels(batch)), cost=Cost())
    with torch.no_grad():
        aims = DAG()._aims(victim, dense(task, task.network(task.pixels(batch), batch)), epoch=0)
        return aims.state(dense(task, task.network(x, batch)))[1].sum(1).tolist()


def test_targets_lose_their_class_within_the_bound_and_padding_stays(model: DetectionTask) -> None:
    batch = faint(mixed_batch())
    x, mask = model.pixels(batch), model.perturbable(batch)
    before = certainty(model, batch, x)
    assert min(before) >= 2
    found = DAG(steps=80, step_size=1.5 / 255).judge(model, batch)
    after = certainty(model, batch, found.x_adv)
    assert sum(after) < 0.5 * sum(before), (before, after)
    size = realised(x, found.x_adv, mask)
    assert bool((size["linf"] <= 8 / 255 + 1e-9).all() & (size["linf"] > STEP / 2).all())
    assert torch.equal(found.x_adv.where(~mask, x), x) and bool((found.x_adv == x).where(~mask, True).all())
    # An image with nothing left to do has stopped short of all its steps.
    assert found.cost.backwards < 80 * 3 and found.cost.backwards <= found.cost.forwards


def test_other_threats_hold(model: DetectionTask) -> None:
    batch = faint(mixed_batch())
    x = model.pixels(batch)
    small = DAG(Linf(1 / 255), steps=8)(model, batch)
    assert float((small - x).abs().max()) <= 1 / 255 + 1e-9
    euclid = DAG(L2(0.1), steps=8)(model, batch)
    assert float((euclid - x).flatten(1).norm(dim=1).max()) <= 0.1 + 1e-9


def test_an_image_is_attacked_the_same_in_any_batch(model: DetectionTask) -> None:
    batch = faint(mixed_batch())
    together = DAG(steps=10)(model, batch)
    for i in range(3):
        assert torch.allclose(DAG(steps=10)(model, one(batch, i)), together[i : i + 1], atol=1e-9, rtol=0)
    assert torch.equal(DAG(steps=10)(model, batch), together)


def test_the_seed_and_the_epoch_choose_the_wrong_classes(model: DetectionTask) -> None:
    batch = one(faint(mixed_batch()), 1)  # its class can become two others
    first = DAG(steps=1)(model, batch)
    for settings in ([(seed, 0) for seed in range(1, 6)], [(0, epoch) for epoch in range(1, 6)]):
        found = [DAG(steps=1, seed=seed)(model, batch, epoch=epoch) for seed, epoch in settings]
        assert any(not torch.equal(first, other) for other in found)


def test_images_without_objects_stay_as_they_are(model: DetectionTask) -> None:
    batch = faint(mixed_batch())
    batch["data_samples"][1] = annotation([], [], original=(150, 250), shape=(60, 100))
    x, found = model.pixels(batch), DAG(steps=3).judge(model, batch)
    assert [torch.equal(a, b) for a, b in zip(found.x_adv, x)] == [False, True, False]


@pytest.mark.parametrize("name", ["DAG", "RAP"])
def test_a_detector_that_is_cut_off_from_the_pixels_is_refused(
    model: DetectionTask, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    network = DetectionTask.network
    monkeypatch.setattr(DetectionTask, "network", lambda task, x, batch: network(task, x.detach(), batch))
    attack = build_attack(dict(type=name, steps=2), threat=dict(type="Linf", eps=8 / 255))
    with pytest.raises(ConfigError, match="no gradient with respect to the pixels"):
        attack(model, faint(mixed_batch()))


@pytest.mark.parametrize("kind", ["DAG", "RAP"])
def test_an_image_with_one_logit_that_is_no_number_is_told(kind: str) -> None:
    task, batch = detector(ssd()).eval(), square_batch()

    def spoil(head: nn.Module, inputs: Any, output: Any) -> Any:
        first = output[0][0].clone()
        first[1, 0, 0, 0] = torch.nan
        return [first, *output[0][1:]], output[1]

    task.net.bbox_head.register_forward_hook(spoil)
    result = build_attack(dict(type=kind, steps=1), threat=Linf(8 / 255)).judge(task, batch)
    assert f"{UNREADABLE}1" in result.notes and bool(torch.isfinite(result.x_adv).all())


def test_the_model_and_the_generators_are_as_before(model: DetectionTask) -> None:
    task = copy.deepcopy(model).float().train()
    task.net.backbone.layer1.eval()
    modes, state = [m.training for m in task.modules()], torch.get_rng_state()
    weights = {key: value.clone() for key, value in task.state_dict().items()}
    DAG(steps=3)(task, faint(mixed_batch()))
    assert [m.training for m in task.modules()] == modes and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, weights[key]) for key, value in task.state_dict().items())
    assert all(p.requires_grad for p in task.parameters())


def test_dense_probabilities_of_a_softmax_and_of_sigmoids() -> None:
    batch = faint(mixed_batch())
    for config, width in ((ssd(), 4), (retina(), 3)):  # with background, without
        task = detector(config).eval()
        with torch.no_grad():
            raw = task.network(task.pixels(batch), batch)
        seen = dense(task, raw)
        logits = torch.cat([m.permute(0, 2, 3, 1).reshape(3, -1, width) for m in raw["cls"]], 1)
        if width == 4:
            probabilities = logits.softmax(2)
            background = probabilities[..., 3]
        else:
            probabilities = logits.sigmoid()
            background = (1 - probabilities).prod(2)
            assert torch.equal(seen.logits.argmax(2) == 3, (probabilities < 0.5).all(2))
        assert torch.allclose(seen.probabilities, probabilities[..., :3], atol=1e-6)
        assert torch.allclose(seen.log_background.exp(), background, atol=1e-6)
        assert seen.priors.shape == (logits.shape[1], 4) and seen.boxes.shape == (3, logits.shape[1], 4)


def test_boxes_are_those_that_the_detector_predicts(model: DetectionTask) -> None:
    batch = faint(mixed_batch())
    with torch.no_grad():
        boxes = dense(model, model.network(model.pixels(batch), batch)).boxes
    for found, shot, mine in zip(model.predict(batch), batch["data_samples"], boxes):
        height, width = shot.shape
        mine = mine.clamp(min=0).minimum(mine.new_tensor([width, height] * 2))
        scaled = found["boxes"] * found["boxes"].new_tensor(shot.scale * 2)
        assert len(scaled) and float((scaled[:, None] - mine).abs().amax(2).amin(1).max()) < 1e-4


def test_retinanet_is_attacked_and_a_detector_without_priors_or_proposals_is_refused() -> None:
    batch = square_batch()
    task = detector(retina()).eval()
    found = DAG(steps=4, probability=0.02)(task, batch)
    assert not torch.equal(found, task.pixels(batch))
    assert float((found - task.pixels(batch)).abs().max()) <= 8 / 255 + 1e-6
    points = detector(tiny("fcos")).eval()
    for refused in (lambda: DAG()(points, batch), lambda: DAG().check(points)):  # the second before anything
        with pytest.raises(UnsupportedError, match="not FCOS: attack this one with PGD") as caught:
            refused()
        assert "\n" not in str(caught.value)
    DAG().check(task)


def test_with_distinct_no_two_classes_of_an_image_become_the_same() -> None:
    """As the authors' mapping: the absent classes in random order, dealt to the present ones."""
    present, seen = torch.tensor([1, 3, 3, 4]), set()
    for seed in range(60):
        draws = torch.rand(8, 8, generator=torch.Generator().manual_seed(seed))
        wrong = distinct_classes(draws, present)
        dealt = [int(wrong[c]) for c in (1, 3, 4)]
        assert len(set(dealt)) == 3 and set(dealt) <= {0, 2, 5, 6, 7}
        seen.add(tuple(dealt))
    assert len(seen) > 30  # of 60 that there are
    few = distinct_classes(torch.rand(4, 4), torch.tensor([0, 1, 3]))  # one absent class for three
    assert few[[0, 1, 3]].tolist() == [2, 2, 2]
    none = distinct_classes(torch.rand(3, 3), torch.tensor([0, 1, 2]))
    assert (none != torch.arange(3)).all()
    assert DAG(distinct=True).describe()["distinct"] is True and "distinct" not in DAG().describe()


def test_settings() -> None:
    attack = build_attack(dict(type="DAG", threat=dict(type="Linf", eps=4 / 255)))
    assert attack.name == "DAG" and attack.describe()["steps"] == 150 and str(attack.threat) == "Linf 4/255"
    assert str(DAG().threat) == "Linf 8/255"
    for wrong in (dict(steps=0), dict(step_size=0.0), dict(overlap=1.0), dict(probability=-0.1)):
        with pytest.raises(ConfigError, match="DAG needs"):
            DAG(**wrong)


def test_a_detector_of_one_class_is_refused_before_the_first_image() -> None:
    task, batch = Toy(), toy_batch()
    task.num_classes = 1
    with pytest.raises(UnsupportedError, match="only one: use RAP, or PGD on its losses"):
        DAG().check(task)
    with pytest.raises(UnsupportedError, match="only one"):
        DAG()(task, batch)
    assert not task.points


def test_gradients_and_logits_that_are_no_numbers_are_told() -> None:
    """As of a PGD: the targets' gradient is NaN, and the image stays where it is."""

    class Flat(Toy):
        def network(self, x: Tensor, batch: Batch) -> Tensor:
            return super().network(x, batch) + (x.flatten(1).mean(1) * 0).square().sqrt()[:, None, None]

    for task, notes in ((Flat(), [f"{UNDEFINED}1"]), (Toy(), [])):
        victim = Victim(task, toy_batch(), ball=Linf(8 / 255).around(toy_batch()["inputs"]), cost=Cost())
        x_adv = DAG(steps=2).run(victim)
        assert bool(torch.isfinite(x_adv).all()) and victim.tally.notes() == notes
