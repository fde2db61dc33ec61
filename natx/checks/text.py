"""The checks of a report as text: a line that says whether "robust" may be said, and a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from natx.checks.base import DECISIVE, GREEN, NOT_APPLICABLE, RED

ROOM = 120  # letters of a line that the table takes at least
LEGEND = (
    "Of each check the figure / the figure from which on it is red on these images; in brackets what a model may show "
    "over all images. A dash: the setting does not support the check."
)
STYLES = {GREEN: "green", RED: "bold red", NOT_APPLICABLE: "dim"}


def wording(report: dict[str, Any]) -> str:
    """One line: may these numbers be called robust, and if not, why."""
    checks = report["checks"]
    red = [check for check in checks if check["verdict"] == RED]
    green = sum(check["verdict"] == GREEN for check in checks)
    if red:
        why = "; ".join(f"{check['id']} ({check['title']}): {check['reason']}" for check in red)
        return f'The word "robust" is withheld from this model: {why}.'
    if not green:
        return f'The word "robust" is withheld from this model: none of the {len(checks)} checks applies to it.'
    if checks[0]["id"].startswith("Q"):
        return (
            f"No check speaks against these numbers: {green} green, {len(checks) - green} not applicable. The word "
            '"robust" is withheld all the same: there is no standard attack on rankings to hold them against.'
        )
    decisive = next((check for check in checks if check["id"] == DECISIVE), None)
    if decisive is None or decisive["verdict"] != GREEN:
        why = "it was not asked" if decisive is None else decisive["reason"]
        why = f"PGD was not held against AutoAttack ({DECISIVE}: {why})"
        return f'The word "robust" is withheld from this model: {why}.'
    idle = len(checks) - green
    return f"No check speaks against these numbers: {green} green, {idle} not applicable."


def markdown_checks(report: dict[str, Any]) -> list[str]:
    """The section of report.md; empty where there was no audit."""
    if "checks" not in report:
        return []
    lines = ["## Checks", "", wording(report), "", "| id | check | verdict | figure | red where | reason |"]
    lines.append("|---|---|---|---:|---|---|")
    for check in report["checks"]:
        verdict = f"**{RED}**" if check["verdict"] == RED else check["verdict"]
        cells = [check["id"], check["title"], verdict, *_numbers(check), check["reason"].replace("|", "\\|")]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, "", "docs/checks.md says what each check tests and what to do about a red one.", ""]


def markdown_checks_beside(reports: dict[str, dict[str, Any]]) -> list[str]:
    """The checks of several audited reports: a row a check, a column a model, and what may be said of each.

    Args:
        reports: by the model's name.
    """
    lines = ["## Checks", "", *(f"- {name}: {wording(report)}" for name, report in reports.items())]
    first = next(iter(reports.values()))
    titles = {check["id"]: f"{check['title']}{_tolerance(check)}" for check in first["checks"]}
    lines += ["", "| | check | " + " | ".join(reports) + " |", "|---|---|" + "---:|" * len(reports)]
    for number, title in titles.items():
        checks = [next(c for c in report["checks"] if c["id"] == number) for report in reports.values()]
        lines.append(f"| {number} | {title} | " + " | ".join(map(_verdict_cell, checks)) + " |")
    lines += ["", f"{LEGEND} docs/checks.md says what each one tests.", ""]
    return lines


def _tolerance(check: dict[str, Any]) -> str:
    """What an honest model may show over all images, where a check tests that."""
    return f" ({check['tolerance']})" if check.get("tolerance") else ""


def _verdict_cell(check: dict[str, Any]) -> str:
    """A verdict in a narrow column."""
    if check["figure"] is None:
        return "–"
    figure = number_text(check["figure"])
    limit = "" if check.get("threshold") is None else f" / {number_text(check['threshold'])}"
    return f"**red {figure}**{limit}" if check["verdict"] == RED else f"{figure}{limit}"


def console_checks(report: dict[str, Any]) -> CheckTable:
    """The verdicts for a terminal."""
    return CheckTable(report)


@dataclass(frozen=True)
class CheckTable:
    """The verdicts for a terminal: a table, or a few lines a check where that has no room; figures stay whole.

    Attributes:
        report: the content of report.json, with checks.
    """

    report: dict[str, Any]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """See rich's console protocol."""
        if options.max_width >= ROOM:
            yield self._table()
            return
        yield Text(wording(self.report), end="\n\n")
        for check in self.report["checks"]:
            figure, limit = _numbers(check)
            numbers = f" ({figure}{limit and f', red {limit}'})" if figure else ""
            yield Text.assemble(check["id"], " ", _coloured(check), f": {check['title']}{numbers}")
            yield Padding(Text(check["reason"]), (0, 0, 0, 4), expand=False)

    def _table(self) -> Table:
        table = Table(title=Text(wording(self.report), "table.title"))
        table.add_column("", no_wrap=True)
        table.add_column("check", overflow="fold")
        table.add_column("verdict", no_wrap=True)
        table.add_column("figure", justify="right", no_wrap=True)
        table.add_column("red where", max_width=18, overflow="fold")
        table.add_column("reason", overflow="fold")
        for check in self.report["checks"]:
            table.add_row(check["id"], check["title"], _coloured(check), *_numbers(check), Text(check["reason"]))
        return table


def _coloured(check: dict[str, Any]) -> Text:
    """A verdict in its colour."""
    return Text(check["verdict"], STYLES[check["verdict"]])


def _numbers(check: dict[str, Any]) -> tuple[str, str]:
    """The figure with its unit, and where it is red; empty where there is none."""
    if check["figure"] is None:
        return "", ""
    chance = "" if check.get("p_value") is None else f" (p {check['p_value']:.1g})"
    return f"{number_text(check['figure'])} {check['unit']}{chance}", check["limit"]


def number_text(value: float) -> str:
    """Four digits, as many as tell outcomes of 10,000 images apart; no zero is negative."""
    return f"{value:z.4g}"
