"""The worst case per query: what each query keeps under every attack, its values, intervals and place in a report."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from crowd import LinearEmbedding
from torch import Tensor, nn

from natx.attacks import PGD
from natx.evaluation import evaluate_set
from natx.report.cells import WORST, cells, column_names
from natx.report.intervals import interval_cells
from natx.report.report import make_set_report
from natx.report.text import markdown
from natx.threat import Linf
from tasks.reid.metrics import Retrieval
from tasks.reid.objectives import FNA, IFGSM, SMA

# Five queries, the last one without a right image, and six gallery images of cameras other than theirs.
LABELS = torch.tensor([1, 1, 2, 3, 9, 1, 2, 3, 2, 1, 0])
CAMERAS = torch.tensor([1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2])
QUERIES, GALLERY = torch.arange(5), torch.arange(5, 11)


class People:
    labels, cameras, queries, probes, gallery, attacked = LABELS, CAMERAS, QUERIES, QUERIES, GALLERY, QUERIES

    def __init__(self) -> None:
        self.images = torch.rand(11, 2, 3, 4, generator=torch.Generator().manual_seed(4))

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, positions: Any) -> dict[str, Tensor]:
        index = torch.as_tensor(positions)
        return {"inputs": self.images[index], "index": index}


def precision(query: int, features: Tensor) -> tuple[float, float]:
    """Average precision of a query and whether its first image is right, by the definition (%)."""
    similarity = nn.functional.cosine_similarity(features[query][None], features[GALLERY])
    right = (LABELS[GALLERY] == LABELS[query])[similarity.argsort(descending=True)].tolist()
    hits = [i for i, one in enumerate(right) if one]
    return 100 * sum((n + 1) / (i + 1) for n, i in enumerate(hits)) / len(hits), 100.0 * right[0]


@pytest.fixture(scope="module")
def attacks() -> list[PGD]:
    kinds = {"FNA": (FNA(), False), "SMA": (SMA(), True)}
    return [
        PGD(Linf(0.2), 3, step_size=0.1, name=name, objective=objective, random_start=start)
        for name, (objective, start) in kinds.items()
    ]


def test_a_query_keeps_the_lowest_that_any_column_leaves_it(attacks: list[PGD]) -> None:
    task, data = LinearEmbedding(), People()
    evaluation = evaluate_set(task, data, attacks, metric=Retrieval())
    columns = {"Clean": task.predict({"inputs": data.images})}
    for attack in attacks:
        attack.observe(data, columns["Clean"])
        x_adv = data.images.clone()
        x_adv[QUERIES] = attack(task, data.__getitems__(QUERIES))
        columns[attack.name] = task.predict({"inputs": x_adv})
    table = {
        name: torch.tensor([precision(q, f) for q in range(4)], dtype=torch.float64) for name, f in columns.items()
    }
    for name, expected in table.items():
        scores = torch.stack([evaluation.scores[name]["mAP"], evaluation.scores[name]["Rank-1"]], 1)
        torch.testing.assert_close(scores, expected)
        assert scores.mean(0).tolist() == pytest.approx([evaluation.values[name][key] for key in ("mAP", "Rank-1")])
    worst = torch.stack(list(table.values())).amin(0)
    assert evaluation.worst_scores()["mAP"].tolist() == pytest.approx(worst[:, 0].tolist())
    assert evaluation.worst_scores()["Rank-1"].tolist() == worst[:, 1].tolist()

    assert evaluation.groups is not None and evaluation.groups.tolist() == [1, 1, 2, 3]  # the last query finds nobody
    report = make_set_report(
        evaluation, metric=Retrieval(), name="toy", threat="Linf", settings={}, provenance={"packages": {}}
    )
    assert column_names([report]) == ["Clean", "FNA", "SMA", WORST]
    assert cells(report, [WORST]) == ["{:.2f}/{:.2f}".format(*worst.mean(0))]
    (text,) = interval_cells(report, [WORST])
    ends = [float(end) for pair in text.split("/") for end in pair.split("–")]
    assert ends[0] <= worst[:, 0].mean() <= ends[1] and ends[2] <= worst[:, 1].mean() <= ends[3]
    assert report["query_groups"] == [1, 1, 2, 3]
    assert "the lowest that any column leaves each query" in (text := markdown(report))
    assert "over the 3 people, whose queries are drawn together" in text and "on the queries alone" not in text


def test_attacks_on_the_gallery_are_in_no_worst_case_and_the_report_says_so(attacks: list[PGD]) -> None:
    """They change what every query finds; the clean column alone would be a worst case without an attack."""
    gallery = PGD(Linf(0.2), 3, name="AMA", objective=IFGSM(side="gallery"), random_start=False)
    facts: dict[str, Any] = {"name": "toy", "threat": "Linf", "settings": {}, "provenance": {"packages": {}}}
    alone, both = (
        make_set_report(
            evaluate_set(LinearEmbedding(), People(), [*others, gallery], metric=Retrieval()),
            metric=Retrieval(),
            **facts,
        )
        for others in ([], attacks[:1])
    )
    assert column_names([alone]) == ["Clean", "AMA"] and "Worst case" not in markdown(alone)
    assert "Each attack is reported by itself." in markdown(alone)
    assert column_names([both]) == ["Clean", "FNA", "AMA", WORST]
    assert "over the attacks on the queries alone: under AMA what others find changes too." in markdown(both)
