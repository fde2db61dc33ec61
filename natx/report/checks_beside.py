"""The checks of several reports side by side, for pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class VerdictRow:
    """A check and each report's verdict on it, empty where the report does not have it."""

    title: str
    verdicts: list[str]


@dataclass(frozen=True)
class ChecksBeside:
    """Audited reports by the names of their columns."""

    reports: Mapping[str, dict[str, Any]]

    @property
    def names(self) -> list[str]:
        """The columns."""
        return list(self.reports)

    @property
    def rows(self) -> list[VerdictRow]:
        """A row a check, in the order of first appearance."""
        by_report = [{check["id"]: check for check in report["checks"]} for report in self.reports.values()]
        titles = {key: check["title"] for checks in by_report for key, check in checks.items()}
        return [
            VerdictRow(f"{key}: {title}", [c[key]["verdict"] if key in c else "" for c in by_report])
            for key, title in titles.items()
        ]
