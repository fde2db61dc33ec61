"""The worst case over a pool of attacks, cheapest first and each on what is still right."""

from __future__ import annotations

import copy
import functools
from typing import Any

import pytest
import torch
from mmengine.config import Config

from natx.attacks import APGD, FGSM, PGD, Attack, Attacked, AutoAttack, Square
from natx.errors import ConfigError
from natx.evaluation import evaluate
from natx.evaluation.pool import cheapest_first
from natx.judging.judge import judge
from natx.models.checkpoint import save_weights
from natx.report.cells import cells, column_names
from natx.report.report import make_report
from natx.report.text import markdown
from natx.testing import TinyCNNTask, TinyDataset, fit
from natx.threat import Linf

EPS, STEP = 20 / 255, 4 / 255
LINF = Linf(EPS)


@functools.cache
def _trained() -> TinyCNNTask:
    return fit(TinyCNNTask(batch_norm=False, double=True, seed=1), TinyDataset(40))


def trained() -> TinyCNNTask:
    return copy.deepcopy(_trained())


def data(count: int = 30) -> TinyDataset:
    """Every seventh label is wrong."""
    dataset = TinyDataset(count, seed=5, noise=0.2)
    dataset.labels[::7] = (dataset.labels[::7] + 1) % 5
    return dataset


def attacks() -> list[PGD]:
    return [
        PGD(LINF, 6, step_size=STEP, milestones=(2, 6)),
        FGSM(LINF),
        PGD(LINF, 4, step_size=STEP, objective=dict(type="Margin"), name="C&W", seed=2),
    ]


def alone(attack: Attack, success: str) -> torch.Tensor:
    """Which images an attack by itself leaves right in all its columns, each image in a batch of its own."""
    dataset, task, left = data(), trained(), []
    for i in range(len(dataset)):
        broken = attack.judge(task, dataset.__getitems__([i]), success=success).broken
        left.append(not any(bool(outcome) for outcome in broken.values()))
    return torch.tensor(left)


@pytest.mark.parametrize("success", ["any", "last"])
def test_the_worst_case_is_that_of_each_attack_on_every_image(success: str) -> None:
    dataset = data()
    clean = trained().logits(dataset.images.double()).argmax(1) == dataset.labels
    outcomes = [alone(attack, success) for attack in attacks()]
    expected = torch.stack([clean, *outcomes]).all(0)
    found = evaluate(trained(), dataset, attacks(), batch_size=7, success=success, pool=True)
    assert torch.equal(found.survivors, expected)
    assert list(found.correct) == ["Clean"] and torch.equal(found.correct["Clean"], clean)
    assert found.worst_case() == pytest.approx(100 * float(expected.double().mean()))
    assert 0 < int(expected.sum()) <= min(int((clean & outcome).sum()) for outcome in outcomes) < int(clean.sum())
    whole = evaluate(trained(), dataset, attacks(), batch_size=7, success=success)
    assert whole.survivors is None and whole.worst_case() == found.worst_case()


class Breaks(Attack):
    """Breaks the images whose position a number divides, at a cost that is given."""

    def __init__(self, divisor: int, *, cost: tuple[float, float] | None) -> None:
        super().__init__(LINF, name=f"every {divisor}")
        self.divisor, self.cost, self.seen = divisor, cost, []

    def cost_per_image(self) -> tuple[float, float] | None:
        return self.cost

    def run_judged(self, victim: Any, *, success: Any) -> Attacked:
        index = victim.batch["index"]
        self.seen += index.tolist()
        return Attacked(victim.x.clone(), {self.name: index % self.divisor == 0})


def test_what_no_attack_breaks_alone() -> None:
    """Every image is right without attack; the attacks break different ones."""
    dataset = TinyDataset(60, noise=0.0)
    pool = [Breaks(5, cost=None), Breaks(2, cost=(9, 9)), Breaks(3, cost=(10, 0))]
    found = evaluate(trained(), dataset, pool, batch_size=7, pool=True)
    rest = [i for i in range(60) if i % 2 and i % 3 and i % 5]
    assert found.correct["Clean"].all()
    assert found.survivors.nonzero().squeeze(1).tolist() == rest
    assert found.worst_case() == pytest.approx(100 * len(rest) / 60)
    assert pool[2].seen == list(range(60))  # 10 passes are cheaper than 18, and an unknown cost comes last
    assert pool[1].seen == [i for i in range(60) if i % 3]
    assert pool[0].seen == [i for i in range(60) if i % 2 and i % 3]


def test_each_attack_runs_on_what_the_cheaper_ones_left() -> None:
    found = evaluate(trained(), data(), attacks(), batch_size=7, success="last", pool=True)
    assert [attack.columns[0] for attack in found.attacks] == ["Clean", "FGSM", "C&W", "PGD-2"]
    left = found.correct["Clean"]
    for attack, result in zip(sorted(attacks(), key=lambda attack: attack.steps), found.attacks[1:]):
        count = int(left.sum())
        assert (result.cost.forwards, result.cost.backwards) == ((attack.steps + 1) * count, attack.steps * count)
        left = left & alone(attack, "last")
        assert result.notes[-1] == f"ran on the {count} images still right then, left {int(left.sum())} right"


def test_attacks_are_sorted_by_forwards_and_backwards() -> None:
    given = [
        AutoAttack(LINF),
        Square(LINF),
        PGD(LINF, 10, restarts=3, name="restarts"),
        PGD(LINF, 20, objective=dict(type="KL"), name="KL"),
        APGD(LINF),
        PGD(LINF, 20),
        FGSM(LINF),
    ]
    names = [attack.name for attack in cheapest_first(given)]
    assert names == ["FGSM", "PGD-20", "KL", "restarts", "Square", "APGD-CE", "AA"]
    assert [attack.name for attack in given][0] == "AA"  # the list itself stays


class Blocks(AutoAttack):
    """Says which images share a call, and breaks none."""

    def __init__(self) -> None:
        super().__init__(LINF, block_size=4)
        self.calls: list[list[int]] = []

    def run_judged(self, victim: Any, *, success: Any) -> Attacked:
        self.calls.append(victim.batch["index"].tolist())
        return Attacked(victim.x.clone(), {self.name: torch.zeros(len(victim), dtype=torch.bool)})


def test_autoattack_gets_blocks_of_what_is_left() -> None:
    pooled, own = Blocks(), Blocks()
    found = evaluate(trained(), data(), [pooled, *attacks()], batch_size=7, pool=True)
    right = found.survivors.nonzero().squeeze(1).tolist()
    assert 4 < len(right) < 20
    assert pooled.calls == [right[i : i + 4] for i in range(0, len(right), 4)]
    evaluate(trained(), data(), [own, *attacks()], batch_size=7)
    assert own.calls == [list(range(30))[i : i + 4] for i in range(0, 30, 4)]  # its own number: on everything


def test_nothing_is_left_to_attack() -> None:
    dataset = TinyDataset(6, seed=5)
    dataset.labels = (dataset.labels + 1) % 5
    found = evaluate(trained(), dataset, attacks(), pool=True)
    assert found.worst_case() == 0 and all(attack.cost.forwards == 0 for attack in found.attacks[1:])


def test_the_report_shows_no_numbers_that_are_none() -> None:
    found = evaluate(trained(), data(), attacks(), pool=True)
    provenance = {"packages": {}}
    report = make_report(found, name="tiny", threat=str(LINF), settings={}, provenance=provenance)
    assert report["pool"] is True
    assert column_names([report]) == ["Clean", "Worst case"]
    assert cells(report, ["Clean", "Worst case", "PGD-6"])[2] == "not run"
    text = markdown(report)
    assert "Only the worst case was asked for" in text and "none of them has a number of its own" in text
    assert "right in every column" not in text
    usual = evaluate(trained(), data(), attacks())
    report = make_report(usual, name="tiny", threat=str(LINF), settings={}, provenance=provenance)
    assert "pool" not in report and "right in every column" in markdown(report)


def test_pool_is_an_option_of_the_attack_config(tmp_path: Any) -> None:
    path, dataset = tmp_path / "tiny.safetensors", {"type": "TinyDataset", "count": 12, "seed": 5}
    task = {"type": "TinyCNNTask", "batch_norm": False, "double": True}
    save_weights(path, trained(), meta={})
    config = Config({"task": task, "data": {"test": dataset}})
    table = {"threat": {"type": "Linf", "eps": EPS}, "attacks": [{"type": "PGD", "steps": 2}, {"type": "FGSM"}]}
    settings = dict(device=torch.device("cpu"))
    pooled = judge(config, path, Config({**table, "pool": True}), **settings)
    assert [attack["columns"] for attack in pooled["attacks"]] == [["Clean"], ["FGSM"], ["PGD-2"]]
    assert pooled["worst_case"] == judge(config, path, Config(table), **settings)["worst_case"]
    with pytest.raises(ConfigError, match="pool should be a valid boolean; got 'yes'") as error:
        judge(config, path, Config({**table, "pool": "yes"}), **settings)
    assert "\n" not in str(error.value)
