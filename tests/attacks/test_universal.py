from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from natx.attacks import Patch, Universal
from natx.data.base import InMemory
from natx.errors import ConfigError, DataError
from natx.evaluation import evaluate
from natx.methods import Adversarial
from natx.objectives import Objective
from natx.registry import DATASETS
from natx.testing import LinearTask, TinyCNNTask, TinyDataset, fit
from natx.threat import L2, Linf, ThreatModel


@DATASETS.register_module()
class Greys(TinyDataset):
    """Images of class 0 whose pixels lie far from black and white; some may be larger."""

    def __init__(self, count: int = 12, *, sides: tuple[int, ...] = (4,)) -> None:
        super().__init__(count, num_classes=2, shape=(3, 4, 4))
        self.sides = sides

    def __getitems__(self, positions: Any) -> dict[str, Tensor]:
        index = torch.as_tensor(positions)
        side = self.sides[int(index[0]) % len(self.sides)]
        generator = torch.Generator().manual_seed(int(index.sum()))
        pixels = 0.4 + 0.2 * torch.rand(len(index), 3, side, side, generator=generator, dtype=torch.float64)
        return {"inputs": pixels, "data_samples": torch.zeros_like(index), "index": index}


@DATASETS.register_module()
class Sided(Greys):
    """The same images, of the class on whose side of a plane they lie."""

    def __init__(self, weight: list[float]) -> None:
        super().__init__()
        self.weight = torch.tensor(weight, dtype=torch.float64)

    def __getitems__(self, positions: Any) -> dict[str, Tensor]:
        batch = super().__getitems__(positions)
        return {**batch, "data_samples": (batch["inputs"].flatten(1) @ self.weight > 0).long()}


WEIGHT = torch.randn(2, 48, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
UP = (WEIGHT[1] - WEIGHT[0]).view(1, 3, 4, 4)
JUDGED = Greys(20).__getitems__(range(12, 17))
DATA = dict(type="Greys")


def fitted(threat: ThreatModel, **settings: Any) -> Universal:
    return Universal(threat, DATA, epochs=4, batch_size=5, objective=dict(type="Margin"), **settings)


def test_on_a_linear_model_it_is_the_best_of_all_perturbations() -> None:
    """The margin's gradient is the same for all images: the corner of the box, eps along it, or black and white."""
    task, x = LinearTask(WEIGHT), JUDGED["inputs"]
    linf = fitted(Linf(0.1))(task, JUDGED)
    torch.testing.assert_close(linf, x + 0.1 * UP.sign(), rtol=0, atol=1e-12)
    l2 = fitted(L2(0.3))(task, JUDGED)
    torch.testing.assert_close(l2, x + 0.3 * UP / UP.norm(), rtol=0, atol=1e-9)
    patch = fitted(Patch(2, 3, corner=(1, 0)))(task, JUDGED)
    expected = x.clone()
    expected[:, :, 1:3, 0:3] = (UP[:, :, 1:3, 0:3] > 0).double()
    torch.testing.assert_close(patch, expected, rtol=0, atol=1e-12)


def test_a_fit_that_stands_still_is_told() -> None:
    """Logits so far apart that cross-entropy has no gradient: the perturbation never moves, and nothing breaks."""
    task = LinearTask(1e6 * torch.cat([-UP.view(1, 48), UP.view(1, 48)]))
    labels = task.logits(JUDGED["inputs"]).argmax(1)
    attack = Universal(Linf(0.001), dict(type="Sided", weight=UP.flatten().tolist()), epochs=2)
    attacked = attack.judge(task, {**JUDGED, "data_samples": labels})
    assert torch.equal(attacked.x_adv, JUDGED["inputs"]) and not attacked.broken["Universal"].any()
    assert attacked.notes[0].endswith(
        "in 2 passes; of these, images whose gradient was zero at some step before they were broken, where steps lead "
        "nowhere: 12"
    )


def test_the_settings_of_its_images_are_told() -> None:
    settings = Universal(Linf(0.1), dict(type="Greys", root="somewhere", sides=(4,))).describe()
    assert settings["data"] == "Greys (sides=(4,))"  # not where they lie


def test_one_step_equals_a_plain_loop() -> None:
    """Sign of the summed gradients of a network's cross-entropy, batch by batch, clipped to eps."""
    data = TinyDataset(9, seed=4)
    task = TinyCNNTask(seed=1).double().eval()
    attack = Universal(Linf(0.06), data, epochs=2, batch_size=4, step_size=0.04, seed=3)
    generator, delta = torch.Generator().manual_seed(3), torch.zeros(1, 3, 8, 8, dtype=torch.float64)
    for _ in range(2):
        for part in torch.randperm(9, generator=generator).split(4):
            batch = data.__getitems__(part.tolist())
            x = (batch["inputs"].double() + delta).clamp(0, 1).requires_grad_()
            loss = torch.nn.functional.cross_entropy(task.logits(x), batch["data_samples"], reduction="sum")
            (grad,) = torch.autograd.grad(loss, x)
            delta = (delta + 0.04 * grad.sum(0, keepdim=True).sign()).clamp(-0.06, 0.06)
    judged = TinyDataset(20, seed=5).__getitems__(range(6))
    expected = (judged["inputs"].double() + delta).clamp(0, 1)
    torch.testing.assert_close(attack(task, judged), expected, rtol=0, atol=1e-6)


def test_a_patch_step_equals_a_plain_loop() -> None:
    """Sign of the gradients summed over a batch, inside the rectangle, from grey on."""
    data, task = TinyDataset(9, seed=4), TinyCNNTask(seed=1).double().eval()
    attack = Universal(Patch(3, corner=(2, 4)), data, epochs=2, batch_size=4, step_size=0.3, seed=3)
    generator, content = torch.Generator().manual_seed(3), torch.full((1, 3, 3, 3), 0.5, dtype=torch.float64)

    def pasted(inputs: Tensor) -> Tensor:
        x = inputs.double().clone()
        x[:, :, 2:5, 4:7] = content
        return x

    for _ in range(2):
        for part in torch.randperm(9, generator=generator).split(4):
            batch = data.__getitems__(part.tolist())
            x = pasted(batch["inputs"]).requires_grad_()
            loss = torch.nn.functional.cross_entropy(task.logits(x), batch["data_samples"], reduction="sum")
            (grad,) = torch.autograd.grad(loss, x)
            content = (content + 0.3 * grad[:, :, 2:5, 4:7].sum(0, keepdim=True).sign()).clamp(0, 1)
    judged = TinyDataset(20, seed=5).__getitems__(range(6))
    torch.testing.assert_close(attack(task, judged), pasted(judged["inputs"]), rtol=0, atol=1e-6)


@DATASETS.register_module()
class Augmented(Greys):
    """For a training; judged are its first three images."""

    def for_evaluation(self) -> Greys:
        return Greys(3)


def test_it_is_fitted_on_images_as_they_are_judged() -> None:
    attacked = Universal(Linf(0.1), dict(type="Augmented"), epochs=1).judge(LinearTask(WEIGHT), JUDGED)
    assert attacked.notes[0].endswith("fitted on 3 of Augmented in 1 pass")


def test_a_patch_without_a_corner_is_the_same_at_places_that_differ() -> None:
    x = JUDGED["inputs"]
    x_adv = fitted(Patch(2))(LinearTask(WEIGHT), JUDGED)
    contents, places = [], set()
    for one, before in zip(x_adv, x):
        rows, columns = (((one != before).any(0).any(axis)).nonzero().squeeze(1) for axis in (1, 0))
        places.add((int(rows[0]), int(columns[0])))
        contents.append(one[:, rows[0] : rows[0] + 2, columns[0] : columns[0] + 2])
    assert len(places) > 1
    assert all(torch.equal(content, contents[0]) for content in contents)


def test_it_is_fitted_once_for_a_model_and_its_cost_and_images_are_told() -> None:
    attack, task = fitted(Linf(0.1), name="UAP"), LinearTask(WEIGHT)
    first, second = attack.judge(task, JUDGED), attack.judge(task, JUDGED)
    assert (first.cost.forwards, first.cost.backwards) == (4 * 12 + 5, 4 * 12)
    assert (second.cost.forwards, second.cost.backwards) == (5, 0)
    assert first.notes == ["UAP is one perturbation for all images, fitted on 12 of Greys in 4 passes"]
    assert torch.equal(first.x_adv, second.x_adv)
    opposite = attack.judge(LinearTask(-WEIGHT), JUDGED)
    torch.testing.assert_close(opposite.x_adv, JUDGED["inputs"] - 0.1 * UP.sign(), rtol=0, atol=1e-12)
    settings = attack.describe()
    assert settings["data"] == "Greys" and attack.cost_per_image() is None
    assert all(isinstance(value, (str, int, float)) for value in settings.values())
    few = Universal(Linf(0.1), DATA, images=3, epochs=1, batch_size=2).judge(task, JUDGED)
    assert few.cost.backwards == 3 and few.notes[0].endswith("fitted on 3 of Greys in 1 pass")


def test_it_is_fitted_for_the_classes_of_the_model() -> None:
    names, tiny = ("ant", "bee", "cat", "dog", "eel"), TinyDataset(30)
    task = fit(TinyCNNTask(), tiny)
    task.classes, order = names, [3, 0, 4, 1, 2]
    other = InMemory(
        tiny.images, torch.tensor([order.index(y) for y in tiny.labels.tolist()]), classes="dog ant eel bee cat".split()
    )
    batch = TinyDataset(10, seed=1).__getitems__(range(10))
    ways = [InMemory(tiny.images, tiny.labels, classes=names), other]
    attacked = [Universal(Linf(0.1), data, epochs=2).judge(task, batch) for data in ways]
    assert torch.equal(attacked[0].x_adv, attacked[1].x_adv)
    assert "labels were matched by name" in attacked[1].notes[0] and "by name" not in attacked[0].notes[0]
    with pytest.raises(DataError, match="the model has no class 'fox'"):
        Universal(Linf(0.1), InMemory(tiny.images, tiny.labels, classes=(*names[:4], "fox"))).judge(task, batch)


def test_it_judges_images_that_it_was_not_fitted_on() -> None:
    task = fit(TinyCNNTask(seed=1), TinyDataset(40))
    attack = Universal(Linf(0.15), TinyDataset(40), epochs=4, batch_size=10)
    judged = TinyDataset(20, seed=5)
    batch = judged.__getitems__(range(20))
    with torch.no_grad():
        losses = [
            torch.nn.functional.cross_entropy(task.eval().logits(x), batch["data_samples"])
            for x in (batch["inputs"], attack.judge(task, batch).x_adv)
        ]
    assert losses[1] > losses[0]
    evaluation = evaluate(task, judged, [attack], batch_size=6)
    assert len(evaluation.attacks[1].notes) == 1  # the blocks' remarks as one


class Guided(Objective):
    """Looks at a set's predictions; climbs the logit of class 1."""

    def __init__(self) -> None:
        self.observed: list[tuple[Any, Tensor]] = []

    def observe(self, dataset: Any, predictions: Any) -> list[str]:
        self.observed.append((dataset, predictions))
        return []

    def __call__(self, output: Any, batch: dict[str, Any], *, x: Tensor) -> Tensor:
        return output.logits[:, 1]


def test_an_objective_sees_the_images_of_the_fit_and_not_the_judged_ones() -> None:
    data, task, objective = Greys(12), LinearTask(WEIGHT), Guided()
    attack = Universal(Linf(0.1), data, images=7, epochs=2, batch_size=5, objective=objective)
    assert attack.observe(JUDGED, None) == []
    attacked = attack.judge(task, JUDGED)
    ((dataset, predictions),) = objective.observed
    assert dataset.index.tolist() == list(range(7))
    batches = [data.__getitems__(block) for block in (range(5), range(5, 7))]
    torch.testing.assert_close(predictions, torch.cat([task.predict(batch) for batch in batches]))
    assert (attacked.cost.forwards, attacked.cost.backwards) == (7 + 2 * 7 + 5, 2 * 7)


def test_what_it_cannot_do_is_refused_in_one_line() -> None:
    for wrong in (dict(epochs=0), dict(batch_size=0), dict(step_size=0.0)):
        with pytest.raises(ConfigError, match="Universal needs epochs >= 1") as error:
            Universal(Linf(0.1), DATA, **wrong)
        assert "\n" not in str(error.value)
    sides = Universal(Linf(0.1), dict(type="Greys", sides=(4, 6)), batch_size=1)
    pooled = LinearTask(torch.ones(2, 3, dtype=torch.float64))
    pooled.logits = lambda x: x.mean((2, 3)) @ torch.ones(3, 2, dtype=x.dtype)  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match=r"images of one size; got \dx\d after \dx\d: use a patch"):
        sides(pooled, JUDGED)


@pytest.mark.parametrize("inside", [False, True])
def test_it_is_refused_in_training_which_it_would_not_follow(inside: bool) -> None:
    attack: dict[str, Any] = {"type": "Universal", "data": DATA}
    if inside:
        attack = {"type": "OneOf", "attacks": [{"type": "PGD"}, attack]}
    with pytest.raises(ConfigError, match="fits its perturbation once"):
        Adversarial({**attack, "threat": Linf(0.1)})
