"""A report as one page that opens anywhere: everything in it, nothing to load, readable on a phone and in the dark."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from natx.checks.base import GREEN, RED
from natx.checks.text import number_text, wording
from natx.evaluation.robust import CLEAN
from natx.report.cells import WORST, cell_values, cells, column_names, outcome, paper_cells, settings_text, short
from natx.report.html_charts import eps_chart, step_chart, step_lines, sweep_line
from natx.report.html_page import page
from natx.report.html_tags import Html, facts, html, section, table, tag
from natx.report.text import explanation
from natx.runtime.progress import duration

COST = ("forwards", "backwards", "seconds")
HEAVY = 500_000  # bytes of a picture
SHOWN, QUALITY = 900, 90  # its width in a page, and WebP's quality


def report_page(report: dict[str, Any], *, folder: Path) -> str:
    """The page of a report.

    Args:
        report: the content of report.json.
        folder: where its pictures lie.
    """
    sweep = sweep_line(report)
    return page(
        report["name"],
        tag("h1", report["name"]),
        tag("p", explanation(report).replace("**", "")),
        _tiles(report),
        tag("p", wording(report), class_=f"notice {_tone(report)}") if "checks" in report else None,
        *(tag("p", f"Note: {note}.", class_="notice") for note in report.get("notes", ())),
        section("Results", _results(report), _values(report)),
        section(
            "Strength of the attack",
            charts(step_chart(step_lines(report)), eps_chart([sweep] if sweep else [], threat=report["threat"])),
        ),
        section("Checks", check_cards(report)),
        section("Examples", *_pictures(report, folder)),
        section("Attacks", _settings(report)),
        section("Cost", _cost(report)),
        section("Settings", facts((key, short(value)) for key, value in report["settings"].items())),
        section("Provenance", provenance_facts(report)),
    )


def charts(*figures: Html) -> Html:
    """Charts beside each other where the page is wide enough; empty without any."""
    return tag("div", *figures, class_="charts") if any(figures) else Html()


def _tone(report: dict[str, Any]) -> str:
    """The class of what the checks say together."""
    verdicts = [check["verdict"] for check in report["checks"]]
    return "red" if RED in verdicts else "green" if report.get("robust_wording") else "grey"


def _tiles(report: dict[str, Any]) -> Html:
    """The few numbers to see first."""
    told = dict(zip(column_names([report]), cells(report, column_names([report]))))
    shown = [(CLEAN, told[CLEAN])]
    if WORST in told:
        shown.append((WORST, told[WORST]))
    elif len(told) > 1:
        name = min((name for name in told if name != CLEAN), key=lambda name: cell_values(report, [name])[0][0])
        shown.append((f"Lowest: {name}", told[name]))
    shown.append(("Test images", report["images"]))
    if "attacked" in report:
        shown.append(("Attacked", report["attacked"]))
    if "checks" in report:
        red = sum(check["verdict"] == RED for check in report["checks"])
        shown.append(("Red checks", f"{red} of {len(report['checks'])}"))
    return tag("div", *(tag("div", tag("b", v), tag("span", k), class_="tile") for k, v in shown), class_="tiles")


def _results(report: dict[str, Any]) -> Html:
    """A row a column of the evaluation, the paper's cell beside ours where the report has any."""
    names, paper = column_names([report]), report.get("paper")
    single = "cell" not in report
    what = "Accuracy" if single else "/".join(report["cell"])
    counts = {column["name"]: f"{column['correct']} of {column['images']}" for column in report["columns"] if single}
    head = ["", f"{what} (%)", *([paper["name"]] if paper else []), *(["", "images"] if single else [])]
    rows = []
    printed = paper_cells(paper, names) if paper else [None] * len(names)
    for name, told, value, theirs in zip(names, cells(report, names), cell_values(report, names), printed):
        row = [name, told, *([theirs] if paper else [])]
        row += [_bar(value[0]), counts.get(name, "")] if single else []
        rows.append(("headline" if name == WORST else None, row))
    return table(head, rows, caption=f"{what} in percent, {report['threat']}")


def _bar(percent: float) -> Html:
    return tag("span", tag("i", style=f"width: {min(100.0, max(0.0, percent)):.2f}%"), class_="bar", aria_hidden="true")


def _values(report: dict[str, Any]) -> Html:
    """Every value of a set's metric."""
    if "cell" not in report:
        return Html()
    keys = list(report["columns"][0]["values"])
    rows = [(None, [c["name"], *(f"{c['values'][key]:.2f}" for key in keys)]) for c in report["columns"]]
    return table(["", *keys], rows, caption="All values (%)")


def check_cards(report: dict[str, Any]) -> Html:
    """The checks, red ones first: verdict in colour and in words, figure, threshold and reason."""
    checks = report.get("checks", ())
    order = {RED: 0, GREEN: 1}
    cards = [_card(check) for check in sorted(checks, key=lambda check: order.get(check["verdict"], 2))]
    return tag("ul", *cards, class_="checks") if cards else Html()


def _card(check: dict[str, Any]) -> Html:
    limit = f", red {check['limit']}" if check["limit"] else ""
    figure = None if check["figure"] is None else tag("p", f"{number_text(check['figure'])} {check['unit']}{limit}")
    title = tag("b", f"{check['id']}: {check['title']}")
    verdict, reason = check["verdict"], tag("p", check["reason"])
    return tag("li", badge(verdict), " ", title, figure, reason, class_=tone(verdict))


def badge(verdict: str) -> Html:
    """A verdict as a word in its colour."""
    return tag("span", verdict, class_=f"badge {tone(verdict)}")


def tone(verdict: str) -> str:
    """The style's class of a verdict."""
    return verdict if verdict in (RED, GREEN) else "grey"


def _pictures(report: dict[str, Any], folder: Path) -> list[Html]:
    """The pictures of the attacks, with their pixels in the page."""
    figures = []
    for attack, file in report.get("pictures", {}).items():
        path = folder / Path(file).name
        if not path.is_file():
            figures.append(tag("p", f"{attack}: the picture {path.name} is missing.", class_="notice"))
            continue
        picture = tag("img", src=_data(path), alt=f"Examples without attack and under {attack}")
        figures.append(tag("figure", tag("figcaption", attack), picture, class_="examples"))
    return figures


def _data(path: Path) -> str:
    """A picture as part of a page; a heavy one is scaled down to what a page shows."""
    content, kind = path.read_bytes(), "png"
    if len(content) > HEAVY:
        with Image.open(path) as image:
            image.thumbnail((SHOWN, 4 * SHOWN))
            scaled, kind = BytesIO(), "webp"
            image.save(scaled, "WEBP", quality=QUALITY)
        content = scaled.getvalue()
    return f"data:image/{kind};base64," + base64.b64encode(content).decode()


def _settings(report: dict[str, Any]) -> Html:
    """Every attack's settings, one below the other."""
    return facts((", ".join(attack["columns"]), settings_text(attack["settings"])) for attack in report["attacks"])


def _cost(report: dict[str, Any]) -> Html:
    """What each attack spent, and all together; what was measured of it and its notes, where there are any."""
    attacks = report["attacks"]
    rows = [(None, [", ".join(a["columns"]), *_spent(a), _remarks(a)]) for a in attacks]
    total = {key: sum(attack[key] for attack in attacks) for key in COST}
    rows.append(("headline", ["All", *_spent(total), ""]))
    return table(["", *COST, "time", ""], rows, caption="A forward or backward is one image through the network once.")


def _spent(entry: dict[str, Any]) -> list[str]:
    """Forwards, backwards, seconds, and these for people."""
    return [str(entry["forwards"]), str(entry["backwards"]), f"{entry['seconds']:.2f}", duration(entry["seconds"])]


def _remarks(attack: dict[str, Any]) -> Html:
    said = [text for text in (outcome(attack), *attack["notes"]) if text]
    return tag("span", "; ".join(said), class_="text") if said else html()


def provenance_facts(report: dict[str, Any]) -> Html:
    """Where the numbers come from."""
    provenance = report["provenance"]
    told = [(key, short(value)) for key, value in provenance.items() if key != "packages"]
    packages = ", ".join(f"{key} {value}" for key, value in provenance["packages"].items())
    return facts([*told, ("packages", packages)])
