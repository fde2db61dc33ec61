"""The checks of a report as text: a line that says whether "robust" may be said, and a table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from natx.checks.base import DECISIVE, GREEN, NOT_APPLICABLE, RED

ROOM = 120  # letters of a line that the table takes at least
LEGEND = (
    "Of each check the figure / the figure from which on it is red on these images, and p; in brackets what a model "
    "may show over all images. A dash: the setting does not support the check."
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


def level_line(reports: Iterable[dict[str, Any]]) -> str:
    """When a check that tests is red, as a sentence or two; empty where no report says at which level.

    Args:
        reports: audited ones.
    """
    levels = {check["level"] for report in reports for check in report["checks"] if check.get("level") is not None}
    if not levels:
        return ""
    level = " or ".join(f"{level:.2g}" for level in sorted(levels))
    return (
        "p is the probability that a model which keeps a check's tolerance over all images shows as much on so few; "
        f"the check is red where it is at most {level}: where the figure reaches its limit on these images, and not "
        "where it passes the tolerance. Of a check that asks several questions p is that of the worst answer, and its "
        "reason has them all. What has no p is a fact."
    )


def earlier_verdicts(reports: Iterable[dict[str, Any]]) -> str:
    """A remark where verdicts were made before checks had p-values; empty where none was.

    Args:
        reports: audited ones.
    """
    earlier = [report for report in reports if not any("p_value" in check for check in report["checks"])]
    versions = {str(report.get("provenance", {}).get("packages", {}).get("natx", "unknown")) for report in earlier}
    if not earlier:
        return ""
    return (
        f"the verdicts below were made by natx {' and '.join(sorted(versions))}, before a check was red by its "
        "p-value, so that a figure beyond its limit may be green. Today's checks may judge otherwise, and need the "
        "weights for it"
    )


def markdown_checks(report: dict[str, Any]) -> list[str]:
    """The section of report.md; empty where there was no audit."""
    if "checks" not in report:
        return []
    lines = ["## Checks", "", wording(report), "", *_paragraph(level_line([report]))]
    lines.append("| id | check | verdict | figure | red where | reason |")
    lines.append("|---|---|---|---:|---|---|")
    for check in report["checks"]:
        verdict = f"**{RED}**" if check["verdict"] == RED else check["verdict"]
        cells = [
            check["id"],
            f"{check['title']}{tolerance_text(check)}",
            verdict,
            *_numbers(check),
            check["reason"].replace("|", "\\|"),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, "", "docs/checks.md says what each check tests and what to do about a red one.", ""]


def markdown_checks_beside(reports: dict[str, dict[str, Any]]) -> list[str]:
    """The checks of several audited reports: a row a check, a column a model, and what may be said of each.

    Args:
        reports: by the model's name.
    """
    lines = ["## Checks", "", *(f"- {name}: {wording(report)}" for name, report in reports.items())]
    by_report = [{check["id"]: check for check in report["checks"]} for report in reports.values()]
    names = (name.replace("|", "\\|") for name in reports)
    lines += ["", "| | check | " + " | ".join(names) + " |", "|---|---|" + "---:|" * len(reports)]
    # Reports of other versions may have other checks.
    for number in dict.fromkeys(number for checks in by_report for number in checks):
        some = next(checks[number] for checks in by_report if number in checks)
        cells = [_verdict_cell(checks[number]) if number in checks else "" for checks in by_report]
        lines.append(f"| {number} | {some['title']}{tolerance_text(some)} | " + " | ".join(cells) + " |")
    lines += ["", f"{LEGEND} docs/checks.md says what each one tests.", "", *_paragraph(level_line(reports.values()))]
    return lines


def _paragraph(text: str) -> list[str]:
    return [text, ""] if text else []


def tolerance_text(check: dict[str, Any]) -> str:
    """What an honest model may show over all images, where a check tests that."""
    return f" ({check['tolerance']})" if check.get("tolerance") else ""


def _verdict_cell(check: dict[str, Any]) -> str:
    """A verdict in a narrow column."""
    numbers = verdict_numbers(check)
    figure, slash, rest = numbers.partition(" /")
    return f"**red {figure}**{slash}{rest}" if check["verdict"] == RED else numbers or "–"


def verdict_numbers(check: dict[str, Any]) -> str:
    """Figure, limit and p-value as ``figure / limit, p``; empty where the setting does not support the check."""
    if check["figure"] is None:
        return ""
    limit = "" if check.get("threshold") is None else f" / {number_text(check['threshold'])}"
    chance = f", {chance_text(check)}" if chance_text(check) else ""
    return f"{number_text(check['figure'])}{limit}{chance}"


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
        for text in filter(None, (wording(self.report), level_line([self.report]))):
            yield Text(text, end="\n\n")
        for check in self.report["checks"]:
            figure, limit = _numbers(check)
            numbers = f" ({figure}{limit and f', red {limit}'})" if figure else ""
            title = f"{check['title']}{tolerance_text(check)}"
            yield Text.assemble(check["id"], " ", _coloured(check), f": {title}{numbers}")
            yield Padding(Text(check["reason"]), (0, 0, 0, 4), expand=False)

    def _table(self) -> Table:
        level = level_line([self.report])
        caption = Text(level, "table.caption") if level else None
        table = Table(title=Text(wording(self.report), "table.title"), caption=caption)
        table.add_column("", no_wrap=True)
        table.add_column("check", overflow="fold")
        table.add_column("verdict", no_wrap=True)
        table.add_column("figure", justify="right", no_wrap=True)
        table.add_column("red where", max_width=18, overflow="fold")
        table.add_column("reason", overflow="fold")
        for check in self.report["checks"]:
            title = f"{check['title']}{tolerance_text(check)}"
            table.add_row(check["id"], title, _coloured(check), *_numbers(check), Text(check["reason"]))
        return table


def _coloured(check: dict[str, Any]) -> Text:
    """A verdict in its colour."""
    return Text(check["verdict"], STYLES[check["verdict"]])


def _numbers(check: dict[str, Any]) -> tuple[str, str]:
    """The figure with its unit, and where it is red; empty where there is none."""
    if check["figure"] is None:
        return "", ""
    chance = f" ({chance_text(check)})" if chance_text(check) else ""
    return f"{number_text(check['figure'])} {check['unit']}{chance}", check["limit"]


def chance_text(check: dict[str, Any]) -> str:
    """The p-value of a verdict; empty where it has none."""
    return "" if check.get("p_value") is None else f"p {check['p_value']:.1g}"


def number_text(value: float) -> str:
    """Four digits, as many as tell outcomes of 10,000 images apart; zero is neither negative nor a rest of rounding."""
    return f"{round(value, 9):z.4g}"
