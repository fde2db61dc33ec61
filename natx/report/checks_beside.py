"""The checks of several reports side by side, for pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from natx.checks.text import level_line, tolerance_text, verdict_numbers


@dataclass(frozen=True)
class VerdictRow:
    """A check and each report's verdict on it with figure, limit and p; empty where the report does not have it."""

    title: str
    verdicts: list[tuple[str, str]]


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
        first = {key: check for checks in reversed(by_report) for key, check in checks.items()}
        keys = dict.fromkeys(key for checks in by_report for key in checks)
        return [
            VerdictRow(
                f"{key}: {first[key]['title']}{tolerance_text(first[key])}",
                [_verdict(checks[key]) if key in checks else ("", "") for checks in by_report],
            )
            for key in keys
        ]

    @property
    def level(self) -> str:
        """When a check is red, in words."""
        return level_line(self.reports.values())


def _verdict(check: dict[str, Any]) -> tuple[str, str]:
    return check["verdict"], verdict_numbers(check)
