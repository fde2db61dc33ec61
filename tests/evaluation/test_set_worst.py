"""The worst case of a set whose metric tells how much each image is harmed: taken image by image, measured together."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from natx.attacks import Attack
from natx.evaluation import Metric, SetEvaluation, evaluate_set
from natx.evaluation.statistics import spread, wilson
from natx.report.cells import WORST, outcome
from natx.report.reading import kept
from natx.report.report import make_set_report
from natx.report.set_values import set_values_table
from natx.report.text import explanation, markdown, values_table
from natx.task import Output, Task
from natx.threat import Linf

EPS = 0.5
# What the attacks leave of five images, of which the last may not be attacked.
CLEAN = [0.9, 0.8, 0.7, 0.6, 0.5]
FIRST = [0.6, 0.7, 0.7, 0.9, 0.0]
SECOND = [0.7, 0.4, 0.75, 0.9, 0.0]


class First(Task):
    """Predicts the first pixel, and beside it twice the same."""

    per_image_success = False
    num_classes = 1

    def __init__(self) -> None:
        super().__init__()
        self.anchor_weight = nn.Parameter(torch.zeros(1))

    def pixels(self, batch: dict[str, Any]) -> Tensor:
        return batch["inputs"].double()

    def network(self, x: Tensor, batch: dict[str, Any]) -> Tensor:
        return x.flatten(1)

    def read(self, raw: Tensor, batch: dict[str, Any], *, rows: Any = None) -> Output:
        n = len(raw)
        return Output({}, raw, None, image=torch.arange(n), row_weight=raw.new_ones(n) / n, num_images=n, features=raw)

    def predict(self, batch: dict[str, Any]) -> Tensor:
        first = self.pixels(batch).flatten(1)[:, :1]
        return torch.cat([first, 2 * first], 1)


class Images:
    """The clean images."""

    def __len__(self) -> int:
        return len(CLEAN)

    def __getitems__(self, positions: list[int]) -> dict[str, Tensor]:
        return {"inputs": torch.tensor(CLEAN)[positions].reshape(-1, 1, 1, 1), "index": torch.tensor(positions)}


class Sets(Attack):
    """Sets the pixel of each image."""

    def __init__(self, threat: Any, pixels: list[float], name: str) -> None:
        super().__init__(threat, name=name)
        self.pixels = pixels

    def run(self, victim: Any, *, epoch: int = 0) -> Tensor:
        return torch.tensor(self.pixels, dtype=victim.x.dtype)[victim.batch["index"]].reshape(-1, 1, 1, 1)


class Share(Metric):
    """An image is harmed where little is predicted of it, and found where 0.5 or more is."""

    cell = ("mean",)
    meanings = {"mean": "the mean prediction", "least": "the smallest one"}
    units = {"least": "points"}
    worst_rule = "takes of each image the column that leaves least"

    def __init__(self, *, tells: bool = True) -> None:
        self.tells = tells

    def __call__(self, predictions: Tensor, dataset: Any) -> dict[str, float]:
        assert torch.equal(predictions[:, 1], 2 * predictions[:, 0])  # an image's prediction stays together
        return {"mean": 100 * float(predictions[:, 0].mean()), "least": float(predictions[:, 0].min())}

    def with_intervals(self, predictions: Tensor, dataset: Any) -> tuple[dict[str, float], dict[str, Any]]:
        values = self(predictions, dataset)
        return values, {"mean": (values["mean"] - 5, values["mean"] + 5)}

    def attackable(self, dataset: Any) -> Tensor:
        return torch.tensor([True, True, True, True, False])

    def harm(self, predictions: Tensor, dataset: Any) -> list[float] | None:
        return predictions[:, 0].tolist() if self.tells else None

    def alarms(self, predictions: Tensor, dataset: Any) -> Tensor:
        return (10 * (1 - predictions[:, 0])).round()

    def fooled(self, clean: Tensor, attacked: Tensor, *, dataset: Any) -> tuple[Tensor, Tensor]:
        return clean[:, 0] >= 0.65, attacked[:, 0] < 0.65


def attacks() -> list[Attack]:
    return [Sets(Linf(EPS), FIRST, "first"), Sets(Linf(EPS), SECOND, "second")]


def evaluated(**settings: Any) -> SetEvaluation:
    options = {"metric": Share(), "batch_size": 2, "intervals": True, **settings}
    return evaluate_set(First(), Images(), options.pop("attacks", attacks()), **options)


def report(evaluation: SetEvaluation, name: str = "net") -> dict[str, Any]:
    plain = {"settings": {"seed": 0}, "provenance": {"device": "cpu", "packages": {"torch": "2"}}}
    return make_set_report(evaluation, metric=Share(), name=name, threat="Linf 8/255", **plain)


def test_the_worst_case_takes_each_image_from_the_column_that_leaves_least_of_it() -> None:
    worst = evaluated().worst
    assert worst is not None and worst.rule == Share.worst_rule
    left = [0.6, 0.4, 0.7, 0.6, 0.5]  # the third and fourth are left alone where attacks do not harm them
    assert worst.values["mean"] == pytest.approx(100 * sum(left) / 5)
    assert worst.values["least"] == pytest.approx(0.4)
    assert worst.chosen == {"Clean": 2, "first": 1, "second": 1}
    assert worst.intervals["mean"] == pytest.approx((51, 61))
    # Three have something to lose; the first attack takes one of them, the second another.
    assert (worst.success["fooled"], worst.success["of"]) == (2, 3)
    assert worst.success["interval"] == pytest.approx([100 * end for end in wilson(2, 3)])
    assert worst.alarms["added"] == pytest.approx((3 + 4 + 0 + 0) / 4)
    low, high = worst.alarms["interval"]
    assert 0 <= low < worst.alarms["added"] < high <= 4


def test_false_alarms_are_those_added_to_the_attacked_images() -> None:
    _, first, second = evaluated().attacks
    assert first.alarms["added"] == pytest.approx((3 + 1 + 0 - 3) / 4)
    assert second.alarms["added"] == pytest.approx((2 + 4 - 1 - 3) / 4)
    assert outcome({"alarms": {"added": 0.25, "interval": [-1.5, 2.0]}}) == (
        "false alarms added +0.25 an image (-1.50 to +2.00)"
    )


@pytest.mark.parametrize(
    "settings",
    [{"metric": Share(tells=False)}, {"attacks": attacks()[:1]}],
    ids=["a metric that does not tell", "one attack"],
)
def test_where_there_is_no_worst_case(settings: dict[str, Any]) -> None:
    evaluation = evaluated(**settings)
    assert evaluation.worst is None and "worst_case" not in report(evaluation)


def test_queries_have_no_worst_case_without_an_attack() -> None:
    columns = {"Clean": {"mAP": torch.tensor([50.0, 90.0])}, "first": {"mAP": torch.tensor([60.0, 10.0])}}
    evaluation = SetEvaluation({}, [], 2, 2, [], scores=columns)
    assert evaluation.worst_scores()["mAP"].tolist() == [50.0, 10.0]
    del columns["first"]
    assert evaluation.worst_scores() == {}


def test_intervals_are_measured_only_where_they_are_asked_for() -> None:
    plain = evaluated(intervals=False)
    assert plain.intervals == {"Clean": {}, "first": {}, "second": {}} and plain.worst.intervals == {}
    assert "interval" not in plain.attacks[1].alarms and plain.values == evaluated().values


def test_the_report_says_values_intervals_meanings_and_the_rule() -> None:
    content = report(evaluated())
    assert content["columns"][1]["intervals"] == {"mean": pytest.approx([63.0, 73.0])}
    assert content["meanings"] == Share.meanings and content["units"] == Share.units
    assert content["worst_case"]["mean"] == pytest.approx(56) and content["worst_case_chosen"]["Clean"] == 2
    assert kept(content, WORST) == (1, 3) and kept(content, "first") == (2, 3)
    text = explanation(content)
    assert "The worst case takes of each image the column that leaves least." in text
    assert "Intervals are over the images" in text and "reported by itself" not in text
    head, *rows = values_table(content).markdown()
    assert head == "| | mean | least (points) |"
    assert rows[1] == "| Clean | 70.00 (65.0–75.0) | 0.50 |"
    assert rows[-1] == "| Worst case | 56.00 (51.0–61.0) | 0.40 |"
    page = markdown(content)
    assert "- least: the smallest one." in page and "| 95 % interval | 65.0–75.0 |" in page
    assert "Worst case: success 2 of 3 (66.67 %, 20.8–93.9); false alarms added +1.75 an image" in page
    assert "images by column: Clean 2, first 1, second 1." in page


def test_a_value_that_is_not_defined_is_an_empty_cell_and_a_mean_says_of_how_many_it_is() -> None:
    content = report(evaluated())
    del content["columns"][0]["values"]["least"]
    head, *rows = values_table(content).markdown()
    assert head == "| | mean | least (points) |" and rows[1] == "| Clean | 70.00 (65.0–75.0) | |"
    table = set_values_table({"NAT": [content, report(evaluated())]})
    assert table is not None and table.rows[0].cells[1:3] == ["70.00 ± 0.00", "0.50 (1 of 2 seeds)"]


def test_a_study_shows_all_values_of_its_rows() -> None:
    one = report(evaluated())
    table = set_values_table({"NAT": [one], "other": []})
    assert table is not None and "mean: the mean prediction" in table.caption and "intervals" in table.caption
    assert table.head == ["", "mean", "least (points)", "false alarms added"]
    lines = {row.cells[0]: list(row.cells[1:]) for row in table.rows}
    assert list(lines) == ["NAT: Clean", "NAT: first", "NAT: second", "NAT: Worst case"]
    assert lines["NAT: Clean"] == ["70.00 (65.0–75.0)", "0.50", ""]
    assert lines["NAT: Worst case"] == ["56.00 (51.0–61.0)", "0.40", "1.75"]
    other = {key: value for key, value in one.items() if not key.startswith("worst_case")}
    other["columns"] = [{"name": "Clean", "values": {"mean": 50.0, "least": 0.5}}]
    several = set_values_table({"NAT": [one, other]})
    assert several is not None and "over the seeds" in several.caption
    assert several.rows[0].cells[1] == "60.00 ± 14.14"
    assert several.rows[-1].cells[1:] == ["56.00 (1 of 2 seeds)", "0.40 (1 of 2 seeds)", "1.75 (1 of 2 seeds)"]
    parts = set_values_table({"NAT": [one, one], "other": [one]})
    assert (
        parts is not None and "over the seeds, in brackets 95 % intervals over the images where there" in parts.caption
    )
    assert set_values_table({"NAT": [{key: value for key, value in one.items() if key != "meanings"}]}) is None


def test_a_spread_is_centred_on_the_value_and_leaves_out_what_is_not_defined() -> None:
    samples = [float("nan"), *range(101)]
    assert spread(samples, 50.0) == pytest.approx((2.5, 97.5))
    assert spread(samples, 20.0) == pytest.approx((-27.5, 67.5))
    assert spread([3.0, 3.0], 3.0) == (3.0, 3.0) and spread([float("nan")], 1.0) is None
