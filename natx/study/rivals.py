"""Each row against its rival on the same images, in every column, and what that says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from natx.evaluation.robust import CLEAN
from natx.evaluation.statistics import LEVEL
from natx.report.cells import WORST, column_names
from natx.report.paired import holm, paired_runs, paired_test, query_groups
from natx.report.tables import Table, TableRow

Report = dict[str, Any]
DECIDES = "AutoAttack"  # by the type of its settings
EXPLANATION = (
    "Each row against its rival: the difference in points{value}, and the p-value of {test}, corrected after Holm for "
    "all {count} comparisons. How much other trainings would give is not asked here: the differences seed by seed say "
    "something of that"
)
IMAGES = (
    "McNemar's exact test on the images of the column (with several seeds the sign test, an image counting for the row "
    "that more seeds get it right in)"
)
QUERIES = (
    "a paired permutation test on the queries of the column, those of one person together (signs of their differences "
    "flipped; their means over the seeds)"
)


@dataclass(frozen=True)
class Difference:
    """A row against its rival in a column.

    Attributes:
        points: its accuracy less the rival's, in points, the mean over the seeds.
        by_seed: the same of each seed.
        p: the p-value, after correction.
    """

    points: float
    by_seed: tuple[float, ...]
    p: float

    @property
    def gain(self) -> bool:
        """Whether the row is above its rival beyond chance, and with every seed."""
        return self.p < LEVEL and min(self.by_seed) > 0

    @property
    def loss(self) -> bool:
        """Whether it is below, likewise."""
        return self.p < LEVEL and max(self.by_seed) < 0

    def __str__(self) -> str:
        return f"{self.points:+.2f}, p {self.p:.2g}"


@dataclass(frozen=True)
class Rivals:
    """A row and the row that it is held against, with the reports of both.

    Attributes:
        name: of the row.
        rival: name of the other.
        reports: the row's, one a seed.
        against: the rival's.
        group: the section of the study that the row stands in.
    """

    name: str
    rival: str
    reports: Sequence[Report]
    against: Sequence[Report]
    group: str = ""

    @property
    def epochs(self) -> tuple[set[int], set[int]]:
        """How many epochs the trainings of both had, as far as reports say."""
        mine, theirs = (
            {report["training"]["epochs"] for report in reports if report.get("training")}
            for reports in (self.reports, self.against)
        )
        return mine, theirs


Tested = tuple[Rivals, dict[str, Difference]]


def differences(pairs: Sequence[Rivals]) -> list[Tested]:
    """Every column in which rivals have outcomes of the same images, by column; pairs without any are left out."""
    tests: dict[tuple[int, str], tuple[float, tuple[float, ...], float]] = {}
    for number, pair in enumerate(pairs):
        reports = [*pair.reports, *pair.against]
        for column in column_names(reports):
            if runs := paired_runs(pair.reports, pair.against, column):
                points, p = paired_test(runs, query_groups(reports, column))
                tests[number, column] = (points, tuple(paired_test([run])[0] for run in runs), p)
    adjusted = holm([p for _, _, p in tests.values()])
    result: dict[int, dict[str, Difference]] = {}
    for ((number, column), (points, by_seed, _)), p in zip(tests.items(), adjusted):
        result.setdefault(number, {})[column] = Difference(points, by_seed, p)
    return [(pairs[number], by_column) for number, by_column in result.items()]


def rivals_table(tested: Sequence[Tested], *, count: int) -> Table | None:
    """A row a pair of rivals, a column of the study each; None without pairs.

    Args:
        tested: some of :func:`differences`.
        count: for how many comparisons these were corrected.
    """
    if not tested:
        return None
    present = {name for _, by_column in tested for name in by_column}
    names = [name for name in column_names([r for pair, _ in tested for r in pair.reports]) if name in present]
    rows = [
        TableRow(
            [
                f"{pair.name} against {pair.rival}",
                *(str(by_column[column]) if column in by_column else "" for column in names),
            ]
        )
        for pair, by_column in tested
    ]
    cell = tested[0][0].reports[0].get("cell")
    value, test = (f" of {cell[0]}", QUERIES) if cell else ("", IMAGES)
    return Table(["", *names], rows, caption=EXPLANATION.format(count=count, value=value, test=test))


def rivals_reading(tested: Sequence[Tested]) -> list[str]:
    """A sentence a pair of rivals: whether what a row gains over its rival survives the attack that decides.

    See :func:`deciding`.
    """
    return [
        f"{pair.group and f'{pair.group}: '}{pair.name} against {pair.rival} ({_conditions(pair, by_column)}): "
        f"{_verdict(by_column, deciding(pair, by_column))}."
        for pair, by_column in tested
    ]


def deciding(pair: Rivals, by_column: dict[str, Difference]) -> str | None:
    """The column that decides on a gain: AutoAttack, else the worst case, else the last attack; None without attacks.

    Of several AutoAttacks it is the last: in a study that goes from PGD to AutoAttack, that of the last judging.
    """
    attacks = [attack for report in (*pair.reports, *pair.against) for attack in report["attacks"]]
    names = [name for attack in attacks if attack["settings"].get("type") == DECIDES for name in attack["columns"]]
    columns = [name for name in by_column if not name.startswith(CLEAN)]
    return next((name for name in reversed(columns) if name in names), columns[-1] if columns else None)


def _conditions(pair: Rivals, by_column: dict[str, Difference]) -> str:
    """At which epochs and seeds two rows are compared, and in which columns on fewer seeds."""
    mine, theirs = (" or ".join(map(str, sorted(epochs))) or "unknown" for epochs in pair.epochs)
    epochs = f"{mine} epochs both" if mine == theirs else f"{mine} epochs against {theirs} epochs"
    counts = {name: len(difference.by_seed) for name, difference in by_column.items()}
    most = max(counts.values())
    fewer = {seeds: [name for name in counts if counts[name] == seeds] for seeds in sorted({*counts.values()} - {most})}
    parts = [f"{_seeds(seeds)} {_places(names)}" for seeds, names in fewer.items()]
    return "; ".join([f"{epochs}, {_seeds(most)}", *parts])


def _seeds(count: int) -> str:
    return f"{count} seed{'s' if count > 1 else ''}"


def _places(columns: Sequence[str]) -> str:
    """Where a row was judged, in words: ``under PGD-20, C&W and AA and in the worst case``."""
    attacks = [name for name in columns if name != WORST and not name.startswith(CLEAN)]
    under = [f"under {', '.join(attacks[:-1])}{' and ' * (len(attacks) > 1)}{attacks[-1]}"] if attacks else []
    clean = [f"in {name}" for name in columns if name.startswith(CLEAN)]
    return " and ".join([*clean, *under, *(["in the worst case"] if WORST in columns else [])])


def _verdict(by_column: dict[str, Difference], decides: str | None) -> str:
    """Whether gains under other attacks survive the one that decides."""
    if decides is None:
        return "judged without attack alone"
    others = [name for name in by_column if name not in (WORST, decides) and not name.startswith(CLEAN)]
    final, gains = by_column[decides], [name for name in others if by_column[name].gain]
    told = f"{decides} {final}, by seed {', '.join(f'{points:+.2f}' for points in final.by_seed)}"
    gained = ", ".join(f"{name} {by_column[name]}" for name in gains)
    attack = "the worst case" if decides == WORST else decides.split(" (")[0]
    if final.gain:
        return f"its gain survives {attack} ({told})"
    short = f"in {attack}" if decides == WORST else f"under {attack}"
    if final.loss:
        return f"it is below its rival {short} ({told})" + (f", for all its gain under {gained}" if gains else "")
    if gains:
        return f"its gain under {gained} is not seen beyond chance {short} ({told})"
    losses = ", ".join(f"{name} {by_column[name]}" for name in others if by_column[name].loss)
    return f"no gain beyond chance under any attack ({told})" + (f", and a loss under {losses}" if losses else "")
