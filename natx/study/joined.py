"""Several judgings of the same weights, each on test images of its own number, as one report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from natx.evaluation.outcomes import packed
from natx.evaluation.robust import CLEAN
from natx.judging.identity import are_first
from natx.report.cells import WORST
from natx.report.intervals import interval
from natx.report.paired import outcomes_of

Report = dict[str, Any]
OF_ONE = ("worst_case", "not_applicable", "query_groups")  # beginnings of keys that are about one judging's images


def column_name(column: str, images: int, threat: str = "") -> str:
    """A column's name with the number of its images, and its threat model where there are several: ``AA (500)``."""
    return f"{column} ({images:,}{threat and f', {threat}'})"


def joined(reports: Sequence[Report], *, of: int) -> Report | None:
    """One report whose columns say on how many images each was judged; None without reports.

    What several judgings measured, such as the clean accuracy, is the one with the most images; attacks under other
    threat models are others, whatever they are called, and their columns name them. The worst case counts
    the images that all judgings had, the first of the test set, and is there once all judgings are, if they are under
    the same threat model: over several it would be a figure of neither.

    Args:
        reports: of the same weights.
        of: number of judgings that there are to be.
    """
    if not reports:
        return None
    alike = len({report.get("threat") for report in reports}) == 1
    columns: dict[tuple[str, str], dict[str, Any]] = {}
    attacks: list[dict[str, Any]] = []
    for report in reports:
        names = {}
        for column in report["columns"]:
            threat = "" if alike or column["name"] == CLEAN else report["threat"]
            name = names[column["name"]] = column_name(column["name"], _images(report, column), threat)
            before = columns.get((column["name"], threat))
            if before is None or before["images"] < _images(report, column):
                columns[column["name"], threat] = {**column, **_of_images(report, column), "name": name}
        for attack in report["attacks"]:
            if attack["columns"] != [CLEAN] or not attacks:  # the clean images count once
                attacks.append({**attack, "columns": [names.get(column, column) for column in attack["columns"]]})
    settings = reports[0]["settings"]
    smallest = min(reports, key=lambda report: report["images"])
    notes = list(dict.fromkeys(note for report in reports for note in report.get("notes", ())))
    absent = {
        column_name(column, report["images"]): why
        for report in reports
        for column, why in report.get("not_applicable", {}).items()
    }
    whole: Report = {
        **{key: value for key, value in reports[0].items() if not key.startswith(OF_ONE)},
        **{key: text for key in ("threat", "success") if (text := _every(reports, key))},
        **({"notes": notes} if notes else {}),
        **({"not_applicable": absent} if absent else {}),
        "images": smallest["images"],
        "columns": list(columns.values()),
        "attacks": attacks,
        "settings": {
            **settings,
            "data": "; ".join(dict.fromkeys(report["settings"]["data"] for report in reports)),
            "images_fingerprint": _fingerprint(smallest),
        },
    }
    if len(reports) == of and alike and all(are_first(report["settings"]["data"]) for report in reports):
        whole |= _worst_case(reports, smallest["images"])
    return whole


def with_worst_case_of_all(rows: Sequence[Sequence[Report | None]]) -> list[list[Report | None]]:
    """Rows' joined reports without the worst case where one of them has none: some headlines compare nothing.

    Args:
        rows: the reports of each row, one a seed; None for what has not been judged.
    """
    if all("worst_case" in report for reports in rows for report in reports if report):
        return [list(reports) for reports in rows]
    return [[report and _without_worst_case(report) for report in reports] for reports in rows]


def _without_worst_case(report: Report) -> Report:
    return {key: value for key, value in report.items() if not key.startswith("worst_case")}


def _every(reports: Sequence[Report], key: str) -> str:
    """What all reports say under a key, each text once; empty where none says anything."""
    return ", ".join(dict.fromkeys(report[key] for report in reports if key in report))


def _images(report: Report, column: dict[str, Any]) -> int:
    """On how many images a column was measured; a set's attacks change those that are ``attacked``."""
    count: Any = {"images": report.get("attacked", report["images"]), **column}["images"]
    return int(count)


def _of_images(report: Report, column: dict[str, Any]) -> dict[str, Any]:
    """How many images a column was measured on, which, and which of them belong together."""
    groups = {key: report[key] for key in ("query_groups",) if key in report and "scores" in column}
    return {"images": _images(report, column), "fingerprint": _fingerprint(report), **groups}


def _fingerprint(report: Report) -> str | None:
    return report["settings"].get("images_fingerprint")


def _worst_case(reports: Sequence[Report], images: int) -> Report:
    """The worst case over all columns of all reports on the first images; nothing where one has no outcomes."""
    outcomes = [outcomes_of(report, column["name"]) for report in reports for column in report["columns"]]
    # A judging of the worst case alone has no columns for its attacks.
    outcomes += [outcomes_of(report, WORST) for report in reports if report.get("pool")]
    if any(right is None for right in outcomes):
        return {}
    unbroken = torch.stack([right[:images] for right in outcomes if right is not None]).all(0)
    return {
        "worst_case": 100 * float(unbroken.double().mean()),
        "worst_case_interval": list(interval(int(unbroken.sum()), images)),
        "worst_case_outcomes": packed(unbroken),
    }
