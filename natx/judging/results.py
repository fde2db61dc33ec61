"""What judging in a notebook returns: tables that are shown, with their numbers at hand."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from natx.checks import Verdict, audited
from natx.checks.text import console_checks, markdown_checks, markdown_checks_beside
from natx.evaluation import Evaluation
from natx.report.curve import curve_table
from natx.report.intervals import counts, interval
from natx.report.report import make_report
from natx.report.text import console_table, markdown_table


@dataclass
class Result:
    """Outcomes of :func:`natx.judging.notebook.evaluate`; ``str()`` of it is the table.

    Attributes:
        evaluation: what every attack did: settings, forwards and backwards, seconds.
        threat: the threat model as text.
        name: the row's name.
        notes: what to know before believing the numbers.
        audit: the verdicts of the reliability checks by their ids; empty without an audit.
    """

    evaluation: Evaluation
    threat: str
    name: str = "model"
    notes: list[str] = field(default_factory=list)
    audit: dict[str, Verdict] = field(default_factory=dict)

    @property
    def correct(self) -> dict[str, Tensor]:
        """Per column, which images are classified right, bool ``[N]``; the first column is 'Clean'."""
        return self.evaluation.correct

    @property
    def accuracies(self) -> dict[str, float]:
        """Accuracy of every column in percent."""
        return {column: self.evaluation.accuracy(column) for column in self.correct}

    @property
    def survivors(self) -> Tensor:
        """Which images are right in every column, bool ``[N]``."""
        return torch.stack(list(self.correct.values())).all(0)

    @property
    def worst_case(self) -> float:
        """Accuracy (%) where an image counts only if it is right in every column: the headline."""
        return self.evaluation.worst_case()

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % intervals (Wilson) of every column's accuracy and of the worst case ('Worst case'), in percent."""
        return {column: interval(*share) for column, share in counts(self.report()).items()}

    def report(self) -> dict[str, Any]:
        """The table's numbers as plain values, in the form of a report.json without settings and provenance."""
        report = make_report(self.evaluation, name=self.name, threat=self.threat, settings={}, provenance={})
        checks = audited(list(self.audit.values())) if self.audit else {}
        return {**report, **checks, **({"notes": self.notes} if self.notes else {})}

    def __str__(self) -> str:
        text = io.StringIO()
        console = Console(file=text, width=160)
        report = self.report()
        console.print(console_table([report]))
        if self.audit:
            console.print(console_checks(report))
        for note in self.notes:
            console.print(f"note: {note}", soft_wrap=True, markup=False)
        return text.getvalue().rstrip("\n")

    def _repr_markdown_(self) -> str:
        """What a notebook shows."""
        report = self.report()
        checks = "\n".join(markdown_checks(report)).strip()
        notes = (f"Note: {note}." for note in self.notes)
        return "\n\n".join([markdown_table([report]), *([checks] if checks else []), *notes])


@dataclass
class Curve:
    """Outcomes of :func:`natx.judging.notebook.evaluate` at several radii, smallest first.

    ``str()`` of it is all tables.

    Attributes:
        results: by radius, as it was given.
    """

    results: dict[float, Result]

    @property
    def worst_case(self) -> dict[float, float]:
        """The headline (%) by radius."""
        return {eps: result.worst_case for eps, result in self.results.items()}

    @property
    def accuracies(self) -> dict[float, dict[str, float]]:
        """Accuracy (%) of every column by radius."""
        return {eps: result.accuracies for eps, result in self.results.items()}

    @property
    def intervals(self) -> dict[float, dict[str, tuple[float, float]]]:
        """95 % intervals of these by radius."""
        return {eps: result.intervals for eps, result in self.results.items()}

    def __getitem__(self, eps: float) -> Result:
        return self.results[eps]

    def __str__(self) -> str:
        return "\n\n".join(str(result) for result in self.results.values())

    def _repr_markdown_(self) -> str:
        """What a notebook shows."""
        reports = [result.report() for result in self.results.values()]
        lines = curve_table(reports).markdown()
        checked = {report["threat"]: report for report in reports if "checks" in report}
        return "\n".join([*lines, *(["", *markdown_checks_beside(checked)] if checked else [])])
