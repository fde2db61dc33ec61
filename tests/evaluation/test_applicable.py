"""Attacks that cannot attack a task: refused before the first image, or left out where that is asked for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import natx
from natx.attacks import APGD, PGD, Attack, AutoAttack, FriendlyPGD, Square, Targeted, Transfer, WorstOf
from natx.errors import ConfigError, UnsupportedError
from natx.evaluation import evaluate
from natx.methods import AWP, Adversarial
from natx.report.report import make_report
from natx.report.text import markdown_table
from natx.task import Task
from natx.testing import LinearTask, TinyCNNTask, TinyDataset
from natx.threat import L2, Linf, NormBall

LINF = Linf(0.1)
DLR = dict(type="PGD", steps=4, objective=dict(type="TargetedDLR"))


class Untouched(LinearTask):
    """A task that fails where an image is looked at."""

    def network(self, x: Tensor, batch: Any) -> Tensor:
        raise AssertionError("an image was looked at")


class Padded(Untouched):
    """A classifier of images with padding."""

    def perturbable(self, batch: Any) -> Tensor:
        return torch.ones(len(batch["index"]), 1, 1, 1)


class Ranked(Untouched):
    """No image is right or wrong by itself."""

    per_image_success = False


class Lone(NormBall):
    """A norm of its own."""

    norm = "L1"


def weights(classes: int) -> list[list[float]]:
    return torch.randn(classes, 9, generator=torch.Generator().manual_seed(3)).tolist()


def source(classes: int) -> dict[str, Any]:
    return dict(task=dict(type="LinearTask", weight=weights(classes)), state="random")


REFUSED: dict[str, tuple[Attack, Task, str]] = {
    "AutoAttack, 3 classes": (AutoAttack(LINF), Untouched(weights(3)), "at least 4 classes; got 3: use APGD .*Square"),
    "APGD-T, 2 classes": (APGD(LINF, loss="targeted"), Untouched(weights(2)), "at least 4 classes; got 2: use APGD"),
    "APGD-DLR, 2 classes": (APGD(LINF, loss="dlr"), Untouched(weights(2)), "at least 3 classes; got 2: use AutoPGD"),
    "DLR, 2 classes": (PGD(LINF, objective=dict(type="DLR")), Untouched(weights(2)), "at least 3 .*: use Margin"),
    "TargetedDLR, 3 classes": (Targeted(LINF, DLR), Untouched(weights(3)), "at least 4 .*: use TargetedMargin"),
    "inside WorstOf": (
        WorstOf(LINF, [dict(type="PGD"), dict(type="AutoAttack")], objective=dict(type="Margin")),
        Untouched(weights(3)),
        "at least 4 classes",
    ),
    "the choice of WorstOf": (
        WorstOf(LINF, [dict(type="PGD")], objective=dict(type="DLR")),
        Untouched(weights(2)),
        "DLR needs at least 3",
    ),
    "inside Transfer": (
        Transfer(LINF, source(3), dict(type="AutoAttack")),
        Untouched(weights(3)),
        "at least 4 classes",
    ),
    "AutoAttack, padding": (AutoAttack(L2(0.5)), Padded(weights(5)), "must not change: use AutoPGD"),
    "Square, padding": (Square(LINF), Padded(weights(5)), "must not change: use AutoPGD"),
    "AutoAttack, a norm": (AutoAttack(Lone(0.1)), Untouched(weights(5)), "under Linf and L2; got L1 .*: use PGD"),
    "AutoAttack, no class": (AutoAttack(LINF), Ranked(weights(5)), "which a Ranked does not give: .*PGD"),
    "FriendlyPGD, no class": (FriendlyPGD(LINF), Ranked(weights(5)), "by themselves: use PGD"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line_before_the_first_image(name: str) -> None:
    attack, task, message = REFUSED[name]
    data = TinyDataset(4, num_classes=2, shape=(1, 3, 3))
    with pytest.raises(UnsupportedError, match=message) as error:
        attack.check(task)
    assert "\n" not in str(error.value)
    for run in (attack, attack.judge):
        with pytest.raises(UnsupportedError, match=message):
            run(task, data.__getitems__(range(4)))
    if task.per_image_success:
        with pytest.raises(UnsupportedError, match=message):  # the attack before it has not run either
            evaluate(task, data, [PGD(LINF, 4, name="before"), attack])
        method = Adversarial(attack)
        for outer in (method, AWP(method)):
            with pytest.raises(UnsupportedError, match=message):
                outer.prepare(task, torch.device("cpu"))


def three_classes() -> tuple[LinearTask, TinyDataset]:
    task, data = LinearTask(weights(3)), TinyDataset(20, num_classes=3, shape=(1, 3, 3))
    data.labels = task.logits(data.images).argmax(1)
    return task, data


def test_skipped_the_rest_is_judged_and_the_column_says_so() -> None:
    task, data = three_classes()
    attacks = [PGD(LINF, 10), AutoAttack(LINF), APGD(LINF, steps=10)]
    evaluation = evaluate(task, data, attacks, on_unsupported="skip")
    assert list(evaluation.correct) == ["Clean", "PGD-10", "APGD-CE"]
    assert list(evaluation.not_applicable) == ["AA"] and "at least 4 classes" in evaluation.not_applicable["AA"]
    alone = evaluate(task, data, [attacks[0], attacks[2]])
    assert all(torch.equal(evaluation.correct[name], right) for name, right in alone.correct.items())
    assert evaluation.worst_case() == alone.worst_case()
    report = make_report(evaluation, name="three", threat=str(LINF), settings={}, provenance={})
    head, _, row = markdown_table([report]).splitlines()[:3]
    cells = dict(zip(map(str.strip, head.split("|")), map(str.strip, row.split("|"))))
    assert cells["AA"] == "not applicable" and float(cells["Worst case"]) == pytest.approx(alone.worst_case(), abs=0.01)


def test_a_worst_case_without_any_attack_is_refused() -> None:
    """It would be the clean accuracy under the name of the headline."""
    task, attacks = Untouched(weights(2)), [AutoAttack(LINF), APGD(LINF, loss="dlr")]
    with pytest.raises(UnsupportedError, match="none of the attacks is applicable.*AA: .*APGD-DLR: .*at least 3"):
        evaluate(task, TinyDataset(4, num_classes=2, shape=(1, 3, 3)), attacks, on_unsupported="skip")


def test_an_attack_on_batch_statistics_says_that_it_judges_another_model() -> None:
    data, statistics = (
        TinyDataset(6),
        "T: with bn_mode='train' an image is judged with the batch statistics of the images",
    )
    attacks = [PGD(LINF, 4), PGD(LINF, 4, name="T", bn_mode="train")]
    _, eval_mode, train_mode = evaluate(TinyCNNTask().eval(), data, attacks).attacks
    assert "bn_mode" not in " ".join(eval_mode.notes) and train_mode.notes[0].startswith(statistics)


def test_a_notebook_skips_where_it_is_asked_to() -> None:
    task, data = three_classes()
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9, 3, bias=False))
    model[1].weight.data = torch.tensor(weights(3))
    with pytest.raises(UnsupportedError, match="at least 4 classes"):
        natx.evaluate(model, data.images, data.labels, eps=0.1)
    result = natx.evaluate(model, data.images, data.labels, eps=0.1, on_unsupported="skip")
    assert list(result.correct) == ["Clean", "PGD-20", "C&W"] and "not applicable" in str(result)
    assert any(note.startswith("AA is not applicable: ") for note in result.notes)
    with pytest.raises(ConfigError, match="'refuse' or 'skip'"):
        natx.evaluate(model, data.images, data.labels, eps=0.1, on_unsupported="no")  # type: ignore[arg-type]
