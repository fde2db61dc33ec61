"""The audit of a ranking: each check on a model or an evaluation that it is for, and all of them on an honest one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from crowd import Crowd, LinearEmbedding
from torch import Tensor

from natx.attacks import PGD
from natx.checks import Verdict, audit_queries, audited
from natx.checks.applicable import NotApplicableError
from natx.checks.queries import Searches
from natx.checks.text import wording
from natx.evaluation import evaluate_set
from natx.threat import Linf
from tasks.reid.metrics import Retrieval
from tasks.reid.objectives import FNA, IFGSM, SMA

EPS = 0.05


class Growing(LinearEmbedding):
    """Brighter images have much longer embeddings of the same direction: distances grow and the ranking stays."""

    def network(self, x: Tensor, batch: dict[str, Any]) -> Tensor:
        brightness = x.flatten(1).mean(1, keepdim=True)
        return self.net(x - brightness[..., None, None]) * torch.exp(240 * (brightness - 0.5))


class Flat(LinearEmbedding):
    """Autograd sees next to nothing of what the pixels do."""

    def network(self, x: Tensor, batch: dict[str, Any]) -> Tensor:
        return self.net(x.detach()) + 0 * x.flatten(1).sum(1, keepdim=True)


def attacks(*, steps: int = 8, step_size: float = EPS / 4) -> list[PGD]:
    shared: dict[str, Any] = dict(step_size=step_size)
    return [
        PGD(Linf(EPS), steps, name="FNA", objective=FNA(), random_start=False, **shared),
        PGD(Linf(EPS), steps, name="SMA", objective=SMA(), random_start=True, **shared),
    ]


def thorough() -> list[PGD]:
    """The same in every form that the audit tries."""
    forms = [(attack, form) for attack in attacks() for form in attack.objective.forms()]
    return attacks() + [
        PGD(Linf(EPS), 8, step_size=EPS / 4, name=f"form {i}", objective=form, random_start=attack.random_start)
        for i, (attack, form) in enumerate(forms)
    ]


def audited_model(task: LinearEmbedding, data: Crowd, built: list[PGD], **options: Any) -> dict[str, Verdict]:
    metric = Retrieval()
    evaluation = evaluate_set(task, data, built, metric=metric)
    verdicts = audit_queries(task, data, metric=metric, evaluation=evaluation, attacks=built, **options)
    return {verdict.id: verdict for verdict in verdicts}


@pytest.fixture(scope="module")
def crowd() -> Crowd:
    return Crowd(12, 4)


def test_an_honest_evaluation_has_no_red_check(crowd: Crowd) -> None:
    task = LinearEmbedding()
    before = {name: value.clone() for name, value in task.state_dict().items()}
    verdicts = audited_model(task, crowd, thorough(), vanilla=LinearEmbedding())
    assert [verdict.verdict for verdict in verdicts.values()] == ["green"] * 5
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())
    report = audited(list(verdicts.values()))
    assert (
        report["robust_wording"] is False and "5 green" in wording(report) and "no standard attack" in wording(report)
    )


def test_an_attack_that_stops_too_soon_is_told(crowd: Crowd) -> None:
    verdict = audited_model(LinearEmbedding(), crowd, attacks(steps=1, step_size=EPS / 5))["Q1"]
    assert verdict.verdict == "red" and verdict.figure is not None and verdict.figure > 2
    assert verdict.reason.startswith("worst case ") and verdict.p_value is not None


def test_attacks_on_the_gallery_have_no_worst_case_and_are_not_looked_at(crowd: Crowd) -> None:
    """What changes the gallery changes what every query finds: no query is harmed by itself."""
    (fna, _), by_gallery = attacks(), PGD(Linf(EPS), 4, name="AMA", objective=IFGSM(side="gallery"), random_start=False)
    verdicts = [audited_model(LinearEmbedding(), crowd, built) for built in ([fna], [fna, by_gallery])]
    assert verdicts[0] == verdicts[1]
    alone = audited_model(LinearEmbedding(), crowd, [by_gallery])
    assert {key: verdict.verdict for key, verdict in alone.items()} == {
        **dict.fromkeys(("Q1", "Q2", "Q3", "Q4"), "not applicable"),
        "Q5": "green",
    }
    assert alone["Q1"].reason == "the evaluation has no PGD on the queries within the threat model that is claimed"


def test_distances_that_the_ranking_does_not_measure_are_told(crowd: Crowd) -> None:
    assert audited_model(Growing(), crowd, attacks())["Q3"].verdict == "red"


def test_a_model_without_gradients_breaks_by_transfer(crowd: Crowd) -> None:
    verdicts = audited_model(Flat(), crowd, attacks(), vanilla=LinearEmbedding())
    assert verdicts["Q4"].verdict == "red" and "by transfer" in verdicts["Q4"].reason
    assert audited_model(Flat(), crowd, attacks())["Q4"].reason.startswith("no undefended model was given")


def test_people_are_what_the_checks_count() -> None:
    """Two people of four queries each, all alike: as certain as two numbers, not as eight."""
    alike = torch.tensor([30.0, 30.0, 30.0, 30.0, 10.0, 10.0, 10.0, 10.0], dtype=torch.float64)
    groups = [4, 4, 4, 4, 1, 1, 1, 1]
    searches, single = (Searches([], None, "mAP", {"Clean": alike}, 12.0, of) for of in (groups, None))
    assert searches.by_person(alike).tolist() == [10.0, 30.0] and torch.equal(single.by_person(alike), alike)
    assert searches.clean_low() == 10.0 < 12.0 < single.clean_low()
    with pytest.raises(NotApplicableError):
        searches.require_something_to_lose()
    single.require_something_to_lose()


def test_a_ranking_at_random_has_nothing_to_lose() -> None:
    verdicts = audited_model(LinearEmbedding(), Crowd(12, 4, noise=5.0), attacks())
    assert verdicts["Q5"].verdict == "red"
    assert {verdicts[key].verdict for key in ("Q1", "Q2", "Q3")} == {"not applicable"}
    assert verdicts["Q1"].reason.startswith("the ranking without attack is no better than chance")
