"""Evaluation of whole sets: what is attacked, what the metric and the objectives see, and how it is reported."""

from __future__ import annotations

import copy
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from natx.attacks import PGD, Attack, AutoAttack, Cost
from natx.attacks.base import Attacked
from natx.attacks.remarks import UNDEFINED, UNREADABLE, WORST
from natx.data import hold_out, subset
from natx.errors import ConfigError, DataError, UnsupportedError
from natx.evaluation import (
    AttackResult,
    Evaluation,
    Metric,
    SetAttackResult,
    SetEvaluation,
    evaluate_set,
)
from natx.evaluation.statistics import wilson
from natx.objectives import Objective
from natx.report.cells import outcome
from natx.report.pictures import draw_pictures, file_names
from natx.report.report import make_report, make_set_report, write_report
from natx.report.summary import summary_table
from natx.report.text import console_table, markdown, markdown_table
from natx.task import Output, Task
from natx.testing import TinyCNNTask, TinyDataset
from natx.threat import Linf
from natx.training.selection import Selection

COUNT, ATTACKED = 12, [7, 2, 5, 11, 0, 3]
EPS, STEP, STEPS = 0.1, 0.04, 4  # the steps add up to more than eps


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class Embedding(Task):
    """``e = W x`` of the flattened pixels, in float64; counts the images it embeds."""

    per_image_success = False
    num_classes = 3

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(drawn(3, 6, seed=0))
        self.seen = 0

    def pixels(self, batch: dict[str, Any]) -> Tensor:
        return batch["inputs"].double()

    def network(self, x: Tensor, batch: dict[str, Any]) -> Tensor:
        self.seen += len(x)
        return x.flatten(1) @ self.weight.T

    def read(self, raw: Tensor, batch: dict[str, Any], *, rows: Any = None) -> Output:
        n = len(raw)
        weight = raw.new_full((n,), 1 / n)
        return Output({}, raw, None, image=torch.arange(n), row_weight=weight, num_images=n, features=raw)

    @torch.no_grad()
    def predict(self, batch: dict[str, Any]) -> Any:
        return self.network(self.pixels(batch), batch)


class Lists(Embedding):
    """A prediction is what a detector's is: an object an image, with tensors of differing length."""

    def predict(self, batch: dict[str, Any]) -> list[dict[str, Tensor]]:
        return [{"embedding": e, "positive": e[e > 0]} for e in super().predict(batch)]


class Shots:
    """Images of which some may be attacked, named in no particular order."""

    attacked = torch.tensor(ATTACKED)

    def __init__(self, count: int = COUNT) -> None:
        self.images = torch.rand(count, 1, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, positions: list[int]) -> dict[str, Tensor]:
        return {"inputs": self.images[positions], "index": torch.as_tensor(positions) + 50}


class Mean(Objective):
    """Climbs along the mean of the set's clean embeddings, which :meth:`observe` is given."""

    def __init__(self, name: str = "mean") -> None:
        self.name, self.observed = name, []

    def observe(self, dataset: Any, predictions: Any) -> list[str]:
        self.observed.append((dataset, predictions))
        self.direction = predictions.mean(0)
        return [f"a remark of {self.name}"]

    def __call__(self, output: Output, batch: dict[str, Any], *, x: Tensor) -> Tensor:
        return output.features.double() @ self.direction.double()


class Recorder(Metric):
    cell = ("mean", "top")

    def __init__(self) -> None:
        self.given: list[Any] = []

    def __call__(self, predictions: Any, dataset: Any) -> dict[str, float]:
        self.given.append(predictions)
        values = predictions if isinstance(predictions, Tensor) else torch.stack([p["embedding"] for p in predictions])
        return {"top": 100 * float(values.max()), "mean": 100 * float(values.mean()), "least": float(values.min())}

    def notes(self, dataset: Any, predictions: Any) -> list[str]:
        assert len(predictions) == len(dataset) and predictions is self.given[0]
        return [f"{len(dataset)} images were looked at"]


def climb(objective: Objective | None = None, **settings: Any) -> PGD:
    settings = {"step_size": STEP, "random_start": False, **settings}
    return PGD(Linf(EPS), STEPS, objective=objective or Mean(), **settings)


def embedded(images: Tensor) -> Tensor:
    """The embeddings, image by image."""
    weight = drawn(3, 6, seed=0)
    return torch.stack([weight @ image.flatten() for image in images])


def climbed(images: Tensor) -> Tensor:
    """The gradient is the same everywhere: every pixel walks to the end of its box."""
    gradient = drawn(3, 6, seed=0).T @ embedded(images).mean(0)
    return (images + EPS * gradient.sign().view(1, 2, 3)).clamp(0, 1)


# --- what is predicted, attacked and measured ------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_clean_predictions_equal_a_plain_loop(batch_size: int) -> None:
    metric, dataset = Recorder(), Shots()
    evaluation = evaluate_set(Embedding(), dataset, [], metric=metric, batch_size=batch_size)
    expected = embedded(dataset.images)
    (given,) = metric.given
    torch.testing.assert_close(given, expected, rtol=0, atol=1e-12)
    assert (evaluation.count, evaluation.attacked) == (COUNT, len(ATTACKED))
    assert evaluation.values["Clean"]["mean"] == pytest.approx(100 * float(expected.mean()))
    assert evaluation.notes == ["12 images were looked at"]


def test_remarks_of_the_set_and_of_the_metric_are_reported() -> None:
    dataset = Shots()
    dataset.notes = ["2 images were left out"]
    evaluation = evaluate_set(Embedding(), dataset, [], metric=Recorder())
    assert evaluation.notes == ["2 images were left out", "12 images were looked at"]


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_only_attacked_images_change_and_the_metric_gets_the_whole_set_in_order(batch_size: int) -> None:
    metric, dataset = Recorder(), Shots()
    evaluation = evaluate_set(Embedding(), dataset, [climb()], metric=metric, batch_size=batch_size)
    clean, changed = metric.given
    rest = [i for i in range(COUNT) if i not in ATTACKED]
    assert torch.equal(changed[rest], clean[rest])
    adversarial = climbed(dataset.images)
    torch.testing.assert_close(changed[ATTACKED], embedded(adversarial)[ATTACKED], rtol=0, atol=1e-12)
    assert ((changed - clean)[ATTACKED].abs().amax(1) > 0.01).all()
    assert list(evaluation.values) == ["Clean", "PGD-4"]
    assert evaluation.values["PGD-4"]["least"] == pytest.approx(float(changed.min()))


def test_all_images_are_attacked_where_the_set_does_not_say_which() -> None:
    metric, dataset = Recorder(), Shots()
    dataset.attacked = None
    evaluation = evaluate_set(Embedding(), dataset, [climb()], metric=metric, batch_size=5)
    assert evaluation.attacked == COUNT
    torch.testing.assert_close(metric.given[1], embedded(climbed(dataset.images)), rtol=0, atol=1e-12)


def test_predictions_may_be_a_list_of_objects() -> None:
    metric, dataset = Recorder(), Shots()

    class Fixed(Mean):
        """Guides that do not come from the predictions."""

        def observe(self, dataset: Any, predictions: Any) -> list[str]:
            return super().observe(dataset, torch.stack([p["embedding"] for p in predictions]))

    evaluate_set(Lists(), dataset, [climb(Fixed())], metric=metric, batch_size=5)
    clean, changed = metric.given
    expected = embedded(climbed(dataset.images))
    for i in range(COUNT):
        torch.testing.assert_close(clean[i]["embedding"], embedded(dataset.images)[i], rtol=0, atol=1e-12)
        if i in ATTACKED:
            torch.testing.assert_close(changed[i]["embedding"], expected[i], rtol=0, atol=1e-12)
        else:
            assert changed[i] is clean[i]
    assert len({len(p["positive"]) for p in changed}) > 1


def test_clean_images_are_predicted_once_and_the_cost_is_what_was_run() -> None:
    task = Embedding()
    attacks = [climb(), climb(name="again")]
    evaluation = evaluate_set(task, Shots(), attacks, metric=Recorder(), batch_size=5)
    costs = [(result.cost.forwards, result.cost.backwards) for result in evaluation.attacks]
    queries = len(ATTACKED)
    assert costs == [(COUNT, 0), (queries * (STEPS + 1), queries * STEPS), (queries * (STEPS + 1), queries * STEPS)]
    assert task.seen == sum(forwards for forwards, _ in costs)
    assert [result.columns for result in evaluation.attacks] == [["Clean"], ["PGD-4"], ["again"]]
    assert evaluation.attacks[1].settings["threat"] == "Linf 25.5/255"


def test_batch_size_makes_no_difference() -> None:
    """Random starts included: they are keyed by the images' index."""
    found, sizes = {}, None
    for batch_size in (1, 4, 5, 100):
        metric = Recorder()
        evaluation = evaluate_set(
            Embedding(), Shots(), [climb(random_start=True, step_size=0.01)], metric=metric, batch_size=batch_size
        )
        found[batch_size] = (metric.given[1], evaluation.examples.columns["PGD-4"][1])
        sizes = sizes or evaluation.attacks[1].perturbation
        assert evaluation.attacks[1].perturbation == pytest.approx(sizes, abs=1e-12)
    for predictions, pixels in found.values():
        torch.testing.assert_close(predictions, found[1][0], rtol=0, atol=1e-12)
        torch.testing.assert_close(pixels, found[1][1], rtol=0, atol=1e-12)


def test_guides_come_from_the_clean_predictions_before_each_attack_and_remarks_are_reported() -> None:
    task, dataset, metric = Embedding(), Shots(), Recorder()
    seen: list[int] = []

    class Watched(Mean):
        def observe(self, dataset: Any, predictions: Any) -> list[str]:
            seen.append(task.seen)
            return super().observe(dataset, predictions)

    first, second = Watched("the first"), Watched("the second")
    evaluation = evaluate_set(task, dataset, [climb(first), climb(second, name="second")], metric=metric, batch_size=2)
    clean = metric.given[0]
    for objective in (first, second):
        ((given, predictions),) = objective.observed
        assert given is dataset and torch.equal(predictions, clean)
    assert seen == [COUNT, COUNT + len(ATTACKED) * (STEPS + 1)]
    assert [result.notes for result in evaluation.attacks] == [
        [],
        ["a remark of the first"],
        ["a remark of the second"],
    ]


class Noting(Attack):
    """Leaves the images as they are and remarks on every batch."""

    def run_judged(self, victim: Any, *, success: str) -> Attacked:
        return Attacked(victim.x.clone(), notes=["every batch says this", f"{len(victim)} images"])


def test_remarks_on_batches_are_told_once() -> None:
    evaluation = evaluate_set(Embedding(), Shots(), [Noting(Linf(EPS))], metric=Recorder(), batch_size=4)
    assert evaluation.attacks[1].notes == ["every batch says this", "4 images", "2 images"]
    # The attacked images are predicted in batches of other sizes, which may round differently.
    assert evaluation.values["Noting"] == pytest.approx(evaluation.values["Clean"], rel=1e-12)


def test_examples_are_the_first_attacked_images_clean_and_under_every_attack() -> None:
    """Only the examples are kept of an attack; pictures are given the other images as they are predicted clean."""
    dataset, metric = Shots(), Recorder()
    attacks = [climb(), climb(name="second", step_size=0.01)]
    examples = evaluate_set(Embedding(), dataset, attacks, metric=metric, batch_size=3).examples
    first, rest = ATTACKED[:4], [i for i in range(COUNT) if i not in ATTACKED[:4]]
    assert examples.positions == first and list(examples.columns) == ["Clean", "PGD-4", "second"]
    clean = metric.given[0]
    for row, name in ((1, "PGD-4"), (2, "second")):
        assert len(examples.columns[name][0]) == len(examples.columns[name][1]) == 4
        columns = examples.before_and_after(name)
        assert list(columns) == ["Clean", name]
        assert torch.equal(columns["Clean"][0], clean) and torch.equal(columns[name][0][rest], clean[rest])
        assert torch.equal(columns[name][0][first], metric.given[row][first])
        assert torch.equal(torch.stack(columns["Clean"][1]), dataset.images[first])
    pixels = torch.stack(examples.columns["PGD-4"][1])
    torch.testing.assert_close(pixels, climbed(dataset.images)[first], rtol=0, atol=1e-12)
    assert not torch.equal(pixels, torch.stack(examples.columns["second"][1]))
    assert all(image.untyped_storage().nbytes() == 6 * 8 for image in examples.columns["PGD-4"][1])  # not the batch's


def test_examples_of_a_set_with_few_attacked_images() -> None:
    dataset = Shots()
    dataset.attacked = [9, 1]
    columns = evaluate_set(Embedding(), dataset, [climb()], metric=Recorder(), batch_size=1).examples.columns
    assert torch.equal(torch.stack(columns["Clean"][1]), dataset.images[[9, 1]])
    pixels = torch.stack(columns["PGD-4"][1])
    torch.testing.assert_close(pixels, climbed(dataset.images)[[9, 1]], rtol=0, atol=1e-12)


class Canvases(Shots):
    """Batches are padded to the next multiple of their largest image, as detection's are."""

    def __getitems__(self, positions: list[int]) -> dict[str, Tensor]:
        batch = super().__getitems__(positions)
        wider = max(positions) % 3  # columns of padding
        return {**batch, "inputs": torch.cat([batch["inputs"], torch.zeros(len(positions), 1, 2, wider)], 3)}


class Cropped(Embedding):
    """Looks at the images without their padding, which no attack may change."""

    def network(self, x: Tensor, batch: dict[str, Any]) -> Tensor:
        return super().network(x[..., :3], batch)

    def perturbable(self, batch: dict[str, Any]) -> Tensor | None:
        inputs = batch["inputs"]
        return (torch.arange(inputs.shape[3]) < 3).expand(len(inputs), 1, 2, -1)


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_examples_may_come_from_batches_of_different_sizes(batch_size: int) -> None:
    """And padding counts in no perturbation's size: the numbers are those of the unpadded images."""
    dataset = Canvases()
    found = evaluate_set(Cropped(), dataset, [climb()], metric=Recorder(), batch_size=batch_size)
    for position, image in zip(ATTACKED, found.examples.columns["PGD-4"][1]):
        expected = climbed(dataset.images)[position]
        torch.testing.assert_close(image[..., :3], expected, rtol=0, atol=1e-12)
        assert float(image[..., 3:].abs().sum()) == 0
    plain = evaluate_set(Embedding(), Shots(), [climb()], metric=Recorder()).attacks[1].perturbation
    assert found.attacks[1].perturbation == pytest.approx(plain, abs=1e-12)


# --- how large perturbations became, and which images attacks fooled --------------------------------------------------


class Brightens(Attack):
    """Adds its amounts to the images, by index; 0 leaves an image as it is."""

    def __init__(self, amounts: dict[int, float], name: str = "Brightens") -> None:
        super().__init__(Linf(0.3), name=name)
        self.amounts = amounts

    def run(self, victim: Any, *, epoch: int = 0) -> Tensor:
        amount = torch.tensor([self.amounts.get(i - 50, 0.0) for i in victim.batch["index"].tolist()])
        return victim.x + amount.double().view(-1, 1, 1, 1)


def dark(count: int = COUNT) -> Shots:
    dataset = Shots(count)
    dataset.images = dataset.images / 2
    return dataset


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_the_size_of_every_attacks_perturbation_is_measured_over_the_images_that_changed(batch_size: int) -> None:
    attacks = [Brightens({7: 0.1, 11: 0.2, 4: 0.3}), Noting(Linf(EPS))]  # 4 is not attacked
    found = evaluate_set(Embedding(), dark(), attacks, metric=Recorder(), batch_size=batch_size).attacks
    assert found[0].perturbation is None
    decibel = (-20 * math.log10(0.1) - 20 * math.log10(0.2)) / 2
    expected = {"linf": 0.2, "l2": 6**0.5 * 0.15, "psnr": decibel, "changed": 2, "images": 6}
    assert found[1].perturbation == pytest.approx(expected)
    assert found[2].perturbation == {"linf": 0.0, "l2": None, "psnr": None, "changed": 0, "images": 6}


class Signs(Recorder):
    """An image has something to lose where its first value is positive, and loses it where that is no longer so."""

    hopeless = (7, 0, 4)

    def attackable(self, dataset: Any) -> Tensor:
        return torch.tensor([i not in self.hopeless for i in range(len(dataset))])

    def fooled(self, clean: Tensor, attacked: Tensor, *, dataset: Any) -> tuple[Tensor, Tensor]:
        positive = clean[:, 0] > 0
        return positive, positive & (attacked[:, 0] <= 0)


class Given(Shots):
    """Images that are their own predictions; the first values of the attacked ones are set."""

    def __init__(self) -> None:
        super().__init__()
        self.images[:, 0, 0, 0] = 0.5
        self.images[[3, 11], 0, 0, 0] = 0.0


class Itself(Embedding):
    """Predicts what an image's first pixels exceed 0.3 by."""

    def predict(self, batch: dict[str, Any]) -> Tensor:
        return self.pixels(batch).flatten(1)[:, :3] - 0.3


def test_pictures_are_of_images_with_something_to_lose_before_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("natx.evaluation.sets.EXAMPLES", 3)
    dataset = Given()
    dataset.images[2, 0, 0, 0] = 0.0  # of 2, 5, 11 and 3, which are attacked, 5 alone has something to lose
    found = evaluate_set(Itself(), dataset, [Noting(Linf(EPS))], metric=Signs(), batch_size=3)
    assert found.examples.positions == [2, 5, 11]
    monkeypatch.setattr("natx.evaluation.sets.EXAMPLES", 1)
    assert evaluate_set(Itself(), dataset, [], metric=Signs()).examples.positions == [5]


class Darkens(Brightens):
    def run(self, victim: Any, *, epoch: int = 0) -> Tensor:
        return (2 * victim.x - super().run(victim)).clamp(min=0)


def test_images_without_anything_to_lose_are_not_attacked_and_success_counts_those_that_had_something() -> None:
    """Of the six images two are not attackable, and two have nothing to lose; one of the other two (2, 5) loses it."""
    metric, dataset = Signs(), Given()
    attacks = [Darkens({5: 0.25, 3: 0.25, 7: 0.3, 9: 0.3}, name="dark"), Noting(Linf(EPS))]
    found = evaluate_set(Itself(), dataset, attacks, metric=metric, batch_size=3)
    assert found.attacked == 4 and found.examples.positions == [2, 5, 11, 3]
    clean_column, *successes = [result.success for result in found.attacks]
    assert clean_column is None
    assert [(one["fooled"], one["of"], one["rate"]) for one in successes] == [(1, 2, 50.0), (0, 2, 0.0)]
    assert successes[0]["interval"] == [100 * end for end in wilson(1, 2)]
    clean, changed, _ = metric.given
    assert torch.equal(changed[[7, 0]], clean[[7, 0]]) and not torch.equal(changed[5], clean[5])
    assert found.attacks[1].perturbation["images"] == 4 and found.attacks[1].cost.forwards == 4


def test_a_rate_of_no_images_is_none_and_a_set_without_attackable_images_is_refused() -> None:
    dataset = Given()
    dataset.attacked = [3, 11]
    found = evaluate_set(Itself(), dataset, [Noting(Linf(EPS))], metric=Signs())
    assert found.attacks[1].success == {"fooled": 0, "of": 0, "rate": None}
    dataset.attacked = [0, 7]
    assert evaluate_set(Itself(), dataset, [], metric=Signs()).examples is None
    with pytest.raises(DataError, match="none of the set's 12 images has something that an attack could") as error:
        evaluate_set(Itself(), dataset, [Noting(Linf(EPS))], metric=Signs())
    assert "\n" not in str(error.value)


class Draws(Recorder):
    """Writes what it is given; of some attacks it has no picture."""

    def __init__(self, without: str = "") -> None:
        super().__init__()
        self.without = without

    def draw(self, path: Path, dataset: Any, *, positions: Any, columns: dict[str, Any]) -> bool:
        _, attack = columns
        if attack == self.without:
            return False
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps([attack, list(positions), torch.stack(columns[attack][1]).amax().item()]))
        return True


def test_a_picture_is_drawn_for_each_attack(tmp_path: Path) -> None:
    attacks = [Brightens({7: 0.2}, name="SMA 8/255"), Brightens({}, name="none"), Brightens({7: 0.3}, name="sma 8-255")]
    metric, dataset = Draws(without="none"), dark()
    dataset.images[:] = 0.25
    examples = evaluate_set(Embedding(), dataset, attacks, metric=metric).examples
    files = draw_pictures(tmp_path / "out", dataset, metric, examples=examples)
    assert files == {"SMA 8/255": "examples-SMA-8-255.png", "sma 8-255": "examples-sma-8-255-2.png"}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(files.values())
    for name, amount in (("SMA 8/255", 0.2), ("sma 8-255", 0.3)):
        drawn = json.loads((tmp_path / "out" / files[name]).read_text())
        assert drawn == [name, ATTACKED[:4], pytest.approx(0.25 + amount)]


def test_files_of_pictures_have_plain_names_of_their_own() -> None:
    names = ["PGD-20", "C&W", "C/W", "../up", "  ", "?", "a" * 300, "schön", "Eq. 14, -10w", "Eq. 14, +10w"]
    files = file_names(names)
    assert list(files) == names
    assert list(files.values()) == [
        "examples-PGD-20.png",
        "examples-C-W.png",
        "examples-C-W-2.png",
        "examples-up.png",
        "examples-attack.png",
        "examples-attack-2.png",
        f"examples-{'a' * 80}.png",
        "examples-schön.png",
        "examples-Eq.-14-minus-10w.png",
        "examples-Eq.-14-plus-10w.png",
    ]


def test_progress_is_told() -> None:
    told: list[tuple] = []

    class Meter:
        def begin(self, name: str, total: int, **_: Any) -> None:
            told.append((name, total))

        def advance(self, count: int) -> None:
            told.append((count,))

        def end(self) -> None:
            told.append(())

    evaluate_set(Embedding(), Shots(), [climb()], metric=Recorder(), batch_size=8, meter=Meter())
    assert told == [("Clean", 12), (8,), (4,), (), ("PGD-4", 6), (6,), ()]


# --- what is refused, and what is put back ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attacks", "line"),
    [
        (lambda: [climb(), climb()], "two attacks fill the column PGD-4: give one of them name='...'"),
        (lambda: [climb(name="Clean")], "two attacks fill the column Clean: "),
        (lambda: [climb(milestones=(2, 4))], "PGD has milestones, which need per-image success: list one attack a"),
    ],
)
def test_attacks_that_cannot_be_reported_are_refused_before_any_work(attacks: Any, line: str) -> None:
    task = Embedding()
    with pytest.raises(ConfigError) as error:
        evaluate_set(task, Shots(), attacks(), metric=Recorder())
    assert str(error.value).startswith(line) and "\n" not in str(error.value)
    assert task.seen == 0


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_predictions_that_are_not_finite_are_refused(value: float) -> None:
    task, metric = Embedding(), Recorder()
    with torch.no_grad():
        task.weight[1, 2] = value
    with pytest.raises(DataError, match="predicts NaN or infinite values") as error:
        evaluate_set(task, Shots(), [climb()], metric=metric)
    assert "\n" not in str(error.value) and metric.given == []


class Features(TinyCNNTask):
    """A network with batch norm and dropout whose predictions are its last layer's values."""

    per_image_success = False

    def read(self, raw: Tensor, batch: dict[str, Any], *, rows: Any = None) -> Output:
        output = super().read(raw, batch)
        output.features = output.logits
        return output

    def predict(self, batch: dict[str, Any]) -> Tensor:
        return self.logits(self.pixels(batch))  # without no_grad: that is the evaluation's work


def features_under(task: Features, attacks: list[PGD]) -> list[Tensor]:
    metric = Recorder()
    evaluate_set(task, TinyDataset(9), attacks, metric=metric, batch_size=4)
    return metric.given


def test_modes_flags_buffers_and_generators_are_restored_and_judging_is_in_eval_mode() -> None:
    task = Features(dropout=0.5).train()
    task.net[1].eval()
    task.net[0].bias.requires_grad_(False)
    modes, flags = [m.training for m in task.modules()], [p.requires_grad for p in task.parameters()]
    tensors, state = copy.deepcopy(task.state_dict()), torch.get_rng_state()
    given = features_under(task, [climb(random_start=True)])
    assert [m.training for m in task.modules()] == modes
    assert [p.requires_grad for p in task.parameters()] == flags
    assert all(torch.equal(value, tensors[key]) for key, value in task.state_dict().items())
    assert all(p.grad is None for p in task.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    expected = features_under(Features(dropout=0.5).eval(), [climb(random_start=True)])
    assert all(torch.equal(one, other) for one, other in zip(given, expected))
    assert not any(predictions.requires_grad for predictions in given)
    assert not torch.equal(given[0], given[1])


def test_modes_are_restored_when_the_metric_or_the_network_fails() -> None:
    class Breaks(Recorder):
        def __call__(self, predictions: Any, dataset: Any) -> dict[str, float]:
            raise RuntimeError("broken metric")

    task = Features().train()
    with pytest.raises(RuntimeError, match="broken metric"):
        evaluate_set(task, TinyDataset(5), [], metric=Breaks())
    task.net.append(nn.Linear(7, 7))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        evaluate_set(task, TinyDataset(5), [], metric=Recorder())
    assert all(m.training for m in task.modules()) and all(p.requires_grad for p in task.parameters())


def test_judged_in_full_precision_under_autocast() -> None:
    expected = features_under(Features(), [climb()])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        given = features_under(Features(), [climb()])
    assert all(torch.equal(one, other) for one, other in zip(given, expected))


# --- choosing a checkpoint -------------------------------------------------------------------------------------------


def test_selection_scores_by_the_first_value_of_a_cell() -> None:
    dataset = Shots()
    clean, changed = embedded(dataset.images), embedded(dataset.images)
    changed[ATTACKED] = embedded(climbed(dataset.images))[ATTACKED]
    selection = Selection(dataset, "some images", attack=climb(), metric=Recorder(), batch_size=5)
    assert selection.metric == "robust"
    expected = {"clean": 100 * float(clean.mean()), "robust": 100 * float(changed.mean())}
    assert selection(Embedding()) == pytest.approx(expected)
    selection = Selection(dataset, "some images", metric=Recorder())
    assert selection.metric == "clean"
    assert selection(Embedding()) == pytest.approx({"clean": expected["clean"]})


def test_selection_of_a_set_level_task_needs_a_metric() -> None:
    task = Embedding()
    with pytest.raises(ConfigError, match="Embedding needs a metric to choose a checkpoint") as error:
        Selection(Shots(), "some images")(task)
    assert "\n" not in str(error.value) and task.seen == 0


def test_selection_of_a_classifier_goes_by_accuracy_whatever_the_metric() -> None:
    task, dataset, metric = TinyCNNTask(), TinyDataset(20), Recorder()
    scores = Selection(dataset, "some images", attack=PGD(Linf(EPS), 2), metric=metric)(task)
    right = task.eval().net((dataset.images - 0.5) / 0.25).argmax(1) == dataset.labels
    assert scores["clean"] == 100 * float(right.double().mean())
    assert scores.keys() == {"clean", "robust"} and metric.given == []


# --- parts of a data set ---------------------------------------------------------------------------------------------


class OwnParts(Shots):
    """A set that says itself what its parts are."""

    def subset(self, count: int) -> tuple[str, int]:
        return ("subset", count)

    def hold_out(self, count: int, seed: int) -> tuple[str, int, int]:
        return ("hold_out", count, seed)


def test_a_set_may_say_itself_what_its_parts_are() -> None:
    dataset = OwnParts()
    assert subset(dataset, 3) == ("subset", 3)
    assert subset(dataset, None) is dataset
    assert hold_out(dataset, 4, seed=9) == ("hold_out", 4, 9)
    assert len(subset(Shots(), 3)) == 3  # and otherwise its parts are images
    assert [len(part) for part in hold_out(Shots(), 3)] == [9, 3]


# --- reports ---------------------------------------------------------------------------------------------------------

PROVENANCE = {"device": "cpu", "packages": {"torch": "2.9"}}
SETTINGS = {"config": "configs/some.py", "seed": 0}


def set_report(
    name: str = "NAT",
    *,
    paper: bool = False,
    seed: float = 0,
    columns: tuple[str, ...] = (),
    measured: dict[str, Any] | None = None,
) -> dict:
    values = {"Clean": {"top": 60.0, "mean": 50.126 + seed, "least": 1.0}}
    for i, column in enumerate(columns or ("FNA", "SMA")):
        values[column] = {"top": 20.0 + i, "mean": 10.0 + i + 2 * seed, "least": 0.5}
    attacks = [SetAttackResult({"type": "Clean"}, ["Clean"], Cost(12, 0), 1.0)]
    for column in list(values)[1:]:
        settings = {"type": "PGD", "threat": "Linf 8/255", "steps": 4, "step_size": 1 / 255}
        notes = ["one was left alone", "another too"]
        attacks.append(SetAttackResult(settings, [column], Cost(30, 24), 61.0, notes, **(measured or {})))
    cells = {"Clean": "78.49/92.01", "FNA": "12.64/25.42"}
    return make_set_report(
        SetEvaluation(values, attacks, 12, 6, ["2 of 6 queries have no match"]),
        metric=Recorder(),
        name=name,
        threat="Linf 8/255",
        settings=SETTINGS,
        provenance=PROVENANCE,
        paper={"name": "paper: AMD&NAT", "cells": cells} if paper else None,
    )


def classification_report(name: str = "vanilla", right: tuple[int, ...] = (1, 0, 0, 0)) -> dict:
    correct = {"Clean": torch.tensor([1, 1, 1, 0]).bool(), "PGD-10": torch.tensor(right).bool()}
    attacks = [
        AttackResult({"type": "Clean"}, ["Clean"], Cost(4, 0), 0.1),
        AttackResult({"type": "PGD", "step_size": 2 / 255}, ["PGD-10"], Cost(30, 20), 100.0),
    ]
    evaluation = Evaluation(correct, attacks, "any")
    return make_report(evaluation, name=name, threat="Linf 8/255", settings=SETTINGS, provenance=PROVENANCE)


def rendered(reports: list[dict]) -> list[str]:
    """The console table as lines of cells; a title wraps at the table's width."""
    console = Console(width=160, file=io.StringIO())
    console.print(console_table(reports))
    text = console.file.getvalue().replace("│", " ").replace("┃", " ")
    return [" ".join(line.split()) for line in text.splitlines()]


def test_a_set_report_is_plain_and_has_the_values_of_each_column() -> None:
    report = set_report()
    assert json.loads(json.dumps(report)) == report
    assert report["cell"] == ["mean", "top"] and (report["images"], report["attacked"]) == (12, 6)
    assert [column["name"] for column in report["columns"]] == ["Clean", "FNA", "SMA"]
    assert report["columns"][1]["values"] == {"top": 20.0, "mean": 10.0, "least": 0.5}
    assert "worst_case" not in report and "paper" not in report
    assert report["attacks"][1]["notes"] == ["one was left alone", "another too"]
    assert (report["attacks"][1]["forwards"], report["attacks"][1]["backwards"]) == (30, 24)


def test_a_set_report_as_markdown() -> None:
    report = {**set_report(paper=True), "pictures": {"FNA": "examples-FNA.png", "SMA": "examples-SMA.png"}}
    assert markdown(report).splitlines() == [
        "# NAT",
        "",
        "mean/top in percent on 12 test images; the attacks may change 6 of them, under **Linf 8/255**. Each attack is "
        "reported by itself.",
        "",
        "| | Clean | FNA | SMA |",
        "|---|---:|---:|---:|",
        "| NAT | 50.13/60.00 | 10.00/20.00 | 11.00/21.00 |",
        "| paper: AMD&NAT | 78.49/92.01 | 12.64/25.42 | |",
        "",
        "Note: 2 of 6 queries have no match.",
        "",
        "## All values (%)",
        "",
        "| | top | mean | least |",
        "|---|---:|---:|---:|",
        "| Clean | 60.00 | 50.13 | 1.00 |",
        "| FNA | 20.00 | 10.00 | 0.50 |",
        "| SMA | 21.00 | 11.00 | 0.50 |",
        "",
        "## Attacks",
        "",
        "| columns | settings | forwards | backwards | time | notes |",
        "|---|---|---:|---:|---:|---|",
        "| Clean | type=Clean | 12 | 0 | 1 s | |",
        "| FNA | type=PGD, threat=Linf 8/255, steps=4, step_size=1/255 | 30 | 24 | 61 s | one was left alone; another "
        "too |",
        "| SMA | type=PGD, threat=Linf 8/255, steps=4, step_size=1/255 | 30 | 24 | 61 s | one was left alone; another "
        "too |",
        "",
        "## Examples",
        "",
        "![FNA: examples clean and attacked](examples-FNA.png)",
        "",
        "![SMA: examples clean and attacked](examples-SMA.png)",
        "",
        "## Settings",
        "",
        "- config: configs/some.py",
        "- seed: 0",
        "",
        "## Provenance",
        "",
        "- device: cpu",
        "- packages: torch 2.9",
    ]


SIZE = {"linf": 8 / 255, "l2": 1.2345, "psnr": 33.07, "changed": 5, "images": 6}
UNCHANGED = {"linf": 0.0, "l2": None, "psnr": None, "changed": 0, "images": 6}


def test_a_set_report_with_what_was_measured_of_its_attacks() -> None:
    report = set_report(
        columns=("FNA",), measured={"perturbation": SIZE, "success": {"fooled": 2, "of": 3, "rate": 200 / 3}}
    )
    assert report["attacks"][1]["perturbation"] == SIZE and "perturbation" not in report["attacks"][0]
    assert report["attacks"][1]["success"] == {"fooled": 2, "of": 3, "rate": 200 / 3}
    said = "at most 8/255, mean L2 1.23, mean PSNR 33.1 dB, 5 of 6 images changed"
    lines = markdown(report).splitlines()
    at = lines.index("| columns | settings | perturbation | success | forwards | backwards | time | notes |")
    assert lines[at + 1 : at + 4] == [
        "|---|---|---|---|---:|---:|---:|---|",
        "| Clean | type=Clean | | | 12 | 0 | 1 s | |",
        f"| FNA | type=PGD, threat=Linf 8/255, steps=4, step_size=1/255 | {said} | 2 of 3 (66.67 %) | 30 | 24 | 61 s | "
        "one was left alone; another too |",
    ]
    assert outcome(report["attacks"][1]) == f"perturbation {said}; success 2 of 3 (66.67 %)"
    assert outcome(report["attacks"][0]) == ""


def test_an_attack_that_changed_nothing_leaves_the_report_valid_json(tmp_path: Path) -> None:
    measured = {"perturbation": UNCHANGED, "success": {"fooled": 0, "of": 0, "rate": None}}
    report = set_report(columns=("FNA",), measured=measured)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    write_report(tmp_path, report)
    read = json.loads((tmp_path / "report.json").read_text(), parse_constant=refuse)
    assert read["attacks"][1]["perturbation"] == UNCHANGED
    assert outcome(read["attacks"][1]) == "perturbation none of 6 images changed; success 0 of 0"
    assert "| none of 6 images changed | 0 of 0 |" in (tmp_path / "report.md").read_text()


def test_a_set_report_on_the_console() -> None:
    lines = rendered([set_report(paper=True)])
    assert " ".join(lines).startswith("mean/top (%), 12 test images, 6 of them attacked")
    assert "Clean FNA SMA" in lines
    assert "NAT 50.13/60.00 10.00/20.00 11.00/21.00" in lines
    assert "paper: AMD&NAT 78.49/92.01 12.64/25.42" in lines
    assert "Worst case" not in " ".join(lines)


def test_reports_with_different_columns_say_what_was_not_run() -> None:
    reports = [set_report(paper=True), set_report("online", columns=("IFGSM", "FNA"))]
    assert markdown_table(reports).splitlines() == [
        "| | Clean | FNA | SMA | IFGSM |",
        "|---|---:|---:|---:|---:|",
        "| NAT | 50.13/60.00 | 10.00/20.00 | 11.00/21.00 | not run |",
        "| paper: AMD&NAT | 78.49/92.01 | 12.64/25.42 | | |",
        "| online | 50.13/60.00 | 11.00/21.00 | not run | 10.00/20.00 |",
    ]
    assert "online 50.13/60.00 11.00/21.00 not run 10.00/20.00" in rendered(reports)


def test_reports_are_written_and_read_back(tmp_path: Path) -> None:
    report = set_report(paper=True)
    write_report(tmp_path / "test", report)
    assert json.loads((tmp_path / "test" / "report.json").read_text()) == report
    assert (tmp_path / "test" / "report.md").read_text() == markdown(report)


def test_a_summary_gives_mean_and_deviation_for_each_value_of_a_cell() -> None:
    rows = {
        "NAT": [set_report(seed=seed) for seed in (-1.0, 0.0, 1.0)],
        "online": [set_report("online", columns=("FNA",)), None],
        "later": [None, None],
    }
    paper = {"NAT": {"name": "paper: AMD&NAT", "cells": {"Clean": "78.49/92.01", "FNA": "12.64/25.42"}}}
    assert summary_table(rows, paper=paper).markdown() == [
        "| | seeds | Clean | FNA | SMA |",
        "|---|---:|---:|---:|---:|",
        "| NAT | 3 | 50.13 ± 1.00/60.00 ± 0.00 | 10.00 ± 2.00/20.00 ± 0.00 | 11.00 ± 2.00/21.00 ± 0.00 |",
        "| paper: AMD&NAT | | 78.49/92.01 | 12.64/25.42 | |",
        "| online | 1 | 50.13/60.00 | 10.00/20.00 | not run |",
        "| later | 0 | not run | not run | not run |",
    ]


def test_a_summary_has_the_columns_that_were_asked_for_even_where_nothing_was_run() -> None:
    rows, paper = {"NAT": [None]}, {"NAT": {"name": "paper: NAT", "cells": {"FNA": "12.64/25.42"}}}
    assert summary_table(rows, names=("Clean", "FNA"), paper=paper).markdown() == [
        "| | seeds | Clean | FNA |",
        "|---|---:|---:|---:|",
        "| NAT | 0 | not run | not run |",
        "| paper: NAT | | | 12.64/25.42 |",
    ]


def test_a_cell_that_one_seed_lacks_says_of_how_many_it_is() -> None:
    """It was "not run", whatever the others had: a column judged on one training alone could not be shown."""
    reports = [set_report(seed=-1.0), set_report(seed=1.0), set_report(columns=("FNA",))]
    assert summary_table({"NAT": reports}).markdown()[2] == (
        "| NAT | 3 | 50.13 ± 1.00/60.00 ± 0.00 | 10.00 ± 2.00/20.00 ± 0.00 | 11.00 ± 2.83/21.00 ± 0.00 (2 of 3 seeds) |"
    )
    assert summary_table({"NAT": reports[1:]}).markdown()[2].endswith("| 13.00/21.00 (1 of 2 seeds) |")


# --- reports of classifiers keep their form ---------------------------------------------------------------------------


def test_a_classification_report_keeps_its_form() -> None:
    report = classification_report()
    assert report["worst_case"] == 25 and report["success"] == "any"
    assert markdown(report).splitlines()[:17] == [
        "# vanilla",
        "",
        "Accuracy in percent under **Linf 8/255** on 4 test images. An image counts as broken if any step of an attack "
        "broke it. The worst case counts an image only if it is right in every column.",
        "",
        "| | Clean | PGD-10 | Worst case |",
        "|---|---:|---:|---:|",
        "| vanilla | 75.00 | 25.00 | 25.00 |",
        "| 95 % interval | 30.1–95.4 | 4.6–69.9 | 4.6–69.9 |",
        "",
        "## Attacks",
        "",
        "| columns | settings | forwards | backwards | time | notes |",
        "|---|---|---:|---:|---:|---|",
        "| Clean | type=Clean | 4 | 0 | 0 s | |",
        "| PGD-10 | type=PGD, step_size=2/255 | 30 | 20 | 2 min | |",
        "",
        "## Settings",
    ]
    lines = rendered([report])
    assert " ".join(lines).startswith("Accuracy (%) under Linf 8/255, 4 test images")
    assert "Clean PGD-10 Worst case" in lines and "vanilla 75.00 25.00 25.00" in lines


def test_a_classification_summary_keeps_its_form() -> None:
    rows = {"vanilla": [classification_report(), classification_report(right=(1, 1, 0, 0))], "later": [None]}
    assert summary_table(rows).markdown() == [
        "| | seeds | Clean | PGD-10 | Worst case |",
        "|---|---:|---:|---:|---:|",
        "| vanilla | 2 | 75.00 ± 0.00 | 37.50 ± 17.68 | 37.50 ± 17.68 |",
        "| later | 0 | not run | not run | not run |",
    ]
    assert summary_table({"later": [None]}).markdown()[0] == "| | seeds | Worst case |"


class Brittle(Embedding):
    """Images that an attack has changed have no embedding (``"output"``), or none that has a gradient (``"slope"``)."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    def network(self, x: Tensor, batch: dict[str, Any]) -> Tensor:
        raw = super().network(x, batch)
        if self.where == "slope":
            return raw + (x.flatten(1).mean(1) * 0).square().sqrt()[:, None]
        changed = (x != Shots().images[batch["index"] - 50]).flatten(1).any(1)
        return torch.where(changed[:, None], torch.nan, raw)


class Worst(Recorder):
    """Counts the images without a number."""

    def __call__(self, predictions: Any, dataset: Any) -> dict[str, float]:
        self.given.append(predictions)
        lost = (~torch.isfinite(predictions)).any(1).double()
        return {"mean": 100 * float(1 - lost.mean()), "top": 0.0}


def test_predictions_under_attack_that_are_no_numbers_are_judged_and_told() -> None:
    evaluation = evaluate_set(Brittle("output"), Shots(), [climb()], metric=Worst(), batch_size=4)
    notes = [note for note in evaluation.attacks[1].notes if "mean" not in note]
    assert [int(note.rsplit(" ", 1)[1]) for note in notes if "NaN or infinite" in note] == [len(ATTACKED)] * len(notes)
    assert any(note.startswith(WORST) for note in notes) and any(note.startswith(UNREADABLE) for note in notes)
    assert evaluation.values["PGD-4"]["mean"] == pytest.approx(100 * (COUNT - len(ATTACKED)) / COUNT)


def test_gradients_that_are_no_numbers_are_told_of_sets_too() -> None:
    notes = evaluate_set(Brittle("slope"), Shots(), [climb()], metric=Worst(), batch_size=4).attacks[1].notes
    assert f"{UNDEFINED}{len(ATTACKED)}" in notes
    sound = evaluate_set(Embedding(), Shots(), [climb()], metric=Worst(), batch_size=4).attacks[1].notes
    assert sound == ["a remark of mean"]


def test_attacks_that_a_set_does_not_support_are_refused_or_skipped() -> None:
    attacks = [climb(), AutoAttack(Linf(EPS))]
    with pytest.raises(UnsupportedError, match="PGD on an objective of its own"):
        evaluate_set(Embedding(), Shots(), attacks, metric=Recorder())
    evaluation = evaluate_set(Embedding(), Shots(), attacks, metric=Recorder(), on_unsupported="skip")
    assert list(evaluation.values) == ["Clean", "PGD-4"] and list(evaluation.not_applicable) == ["AA"]
