"""Reports: what was measured, how, on what, at which cost, as plain values; everything is rendered from report.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from natx.evaluation.metric import Metric
from natx.evaluation.outcomes import packed
from natx.evaluation.robust import AttackResult, Evaluation
from natx.evaluation.sets import SetAttackResult, SetEvaluation
from natx.evaluation.statistics import Interval, wilson
from natx.report.intervals import score_interval
from natx.report.report_page import report_page
from natx.report.text import markdown
from natx.runtime.files import write_json, write_text


def make_report(
    evaluation: Evaluation,
    *,
    name: str,
    threat: str,
    settings: dict[str, Any],
    provenance: dict[str, Any],
    paper: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of report.json: plain values only.

    Accuracies have their 95 % interval beside them and the outcome of every image (:func:`packed`), so that reports on
    the same images can be compared by a paired test.

    Args:
        evaluation: outcomes.
        name: what was evaluated, the row's name in tables.
        threat: the threat model as text with eps as a fraction.
        settings: config, checkpoint (path and hash), data set, subset, seed, batch size, ...
        provenance: see :func:`natx.runtime.provenance.provenance`.
        paper: the paper's row to print beside ours: ``name`` and ``cells`` (text by column).
    """
    columns = [
        {
            "name": column,
            "accuracy": evaluation.accuracy(column),
            "interval": _interval(right),
            "correct": int(right.sum()),
            "images": len(right),
            "outcomes": packed(right),
        }
        for column, right in evaluation.correct.items()
    ]
    return {
        "name": name,
        "threat": threat,
        "success": evaluation.success,
        **({} if evaluation.survivors is None else {"pool": True}),
        **({"not_applicable": evaluation.not_applicable} if evaluation.not_applicable else {}),
        "images": evaluation.count,
        "columns": columns,
        "worst_case": evaluation.worst_case(),
        "worst_case_interval": _interval(evaluation.unbroken()),
        "worst_case_outcomes": packed(evaluation.unbroken()),
        "attacks": [_attack(result) for result in evaluation.attacks],
        "settings": settings,
        "provenance": provenance,
        **({"paper": paper} if paper else {}),
    }


def make_set_report(
    evaluation: SetEvaluation,
    *,
    metric: Metric,
    name: str,
    threat: str,
    settings: dict[str, Any],
    provenance: dict[str, Any],
    paper: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of report.json for a set-level task: plain values only; arguments as in :func:`make_report`.

    Args:
        evaluation: outcomes.
        metric: names the values of a cell.
        name: what was evaluated.
        threat: the threat models as text.
        settings: how it was evaluated.
        provenance: what it ran on.
        paper: see :func:`make_report`.
    """
    return {
        "name": name,
        "threat": threat,
        "images": evaluation.count,
        "attacked": evaluation.attacked,
        "cell": list(metric.cell),
        "columns": [
            {
                "name": column,
                "values": values,
                **_plain_intervals(evaluation.intervals.get(column, {})),
                **_of_queries(evaluation.scores.get(column, {}), evaluation.groups),
            }
            for column, values in evaluation.values.items()
        ],
        **({"meanings": dict(metric.meanings)} if metric.meanings else {}),
        **({"units": dict(metric.units)} if metric.units else {}),
        **_worst_queries(evaluation),
        **_worst_images(evaluation),
        **({"not_applicable": evaluation.not_applicable} if evaluation.not_applicable else {}),
        "notes": evaluation.notes,
        "attacks": [{**_attack(result), **_measured(result)} for result in evaluation.attacks],
        "settings": settings,
        "provenance": provenance,
        **({"paper": paper} if paper else {}),
    }


def _worst_queries(evaluation: SetEvaluation) -> dict[str, Any]:
    """The worst case per query: its values in percent, their intervals and scores; nothing without queries."""
    worst = evaluation.worst_scores()
    if not worst:
        return {}
    columns = _of_queries(worst, evaluation.groups)
    values = {name: float(scores.mean()) for name, scores in worst.items()}
    return {
        "worst_case": values,
        "worst_case_intervals": columns["intervals"],
        "worst_case_scores": columns["scores"],
        **({} if evaluation.groups is None else {"query_groups": evaluation.groups.tolist()}),
    }


def _worst_images(evaluation: SetEvaluation) -> dict[str, Any]:
    """The worst case over what is left of each image; nothing where a metric does not tell."""
    worst = evaluation.worst
    if worst is None:
        return {}
    measured = {"worst_case_success": worst.success, "worst_case_alarms": worst.alarms}
    return {
        "worst_case": worst.values,
        **{f"worst_case_{key}": ends for key, ends in _plain_intervals(worst.intervals).items()},
        "worst_case_rule": worst.rule,
        "worst_case_chosen": worst.chosen,
        **{key: value for key, value in measured.items() if value is not None},
    }


def _plain_intervals(intervals: Mapping[str, Interval]) -> dict[str, Any]:
    """Intervals of values over the images; nothing without any."""
    return {"intervals": {name: list(ends) for name, ends in intervals.items()}} if intervals else {}


def _of_queries(scores: dict[str, Tensor], groups: Tensor | None) -> dict[str, Any]:
    """The scores of queries by value, rounded to the hundredth of a percent, and the intervals of their means."""
    if not scores:
        return {}
    together = None if groups is None else groups.tolist()
    return {
        "intervals": {name: score_interval(values.tolist(), together) for name, values in scores.items()},
        "scores": {name: [round(value, 2) for value in values.tolist()] for name, values in scores.items()},
    }


def _interval(right: Tensor) -> list[float]:
    """Wilson's 95 % interval of an accuracy, in percent."""
    return [100 * end for end in wilson(int(right.sum()), len(right))]


def _attack(result: AttackResult) -> dict[str, Any]:
    return {
        "columns": result.columns,
        "settings": result.settings,
        "forwards": result.cost.forwards,
        "backwards": result.cost.backwards,
        "seconds": round(result.seconds, 2),
        "notes": result.notes,
    }


def _measured(result: SetAttackResult) -> dict[str, Any]:
    """What was measured of an attack on a set, as far as there is such a thing."""
    values = {"perturbation": result.perturbation, "success": result.success, "alarms": result.alarms}
    return {key: value for key, value in values.items() if value is not None}


def write_report(folder: Path, report: dict[str, Any]) -> None:
    """Write report.json, report.md and report.html atomically; the last has the pictures in ``folder`` in it."""
    write_json(folder / "report.json", report)
    write_text(folder / "report.md", markdown(report))
    write_text(folder / "report.html", report_page(report, folder=folder))
