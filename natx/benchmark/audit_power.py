"""How often the audit is wrong: its verdicts on honest nets and on masked models, at several numbers of images."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch

from natx.attacks import Attack
from natx.attacks.remarks import merged
from natx.benchmark.audit_subjects import LATER_SEEDS, LATER_SIZES, SIZES, TEST, THREAT, UNMASKED, Subject, digits
from natx.checks import CHECKS, audit, robust_wording
from natx.checks.base import NOT_APPLICABLE, RED
from natx.checks.chance import FAMILY
from natx.data import subset
from natx.data.split import Part
from natx.evaluation import AttackResult, Evaluation, evaluate
from natx.evaluation.statistics import wilson
from natx.runtime.progress import duration
from natx.version import __version__

IMAGES = (100, 200, TEST)
DRAWS = 1000  # random points an image of G15, a tenth of the default

Record = dict[str, Any]


def measure(subject: Subject, *, path: str) -> Record:
    """The audit's verdicts on a subject, as plain values.

    Args:
        subject: what is audited.
        path: which of the processor's code paths is in use, for the record.
    """
    begun, data = time.monotonic(), digits()[1]
    if subject.labels is not None:
        data.labels = subject.labels
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts = [_evaluated(subject, Part(data, range(*ends))) for ends in pairwise((0, *IMAGES))]
        audits = {str(images): _audited(subject, data, parts[: i + 1], images) for i, images in enumerate(IMAGES)}
    return {
        "name": subject.name,
        "kind": subject.kind,
        "group": subject.group,
        "made_for": list(subject.made_for),
        "path": path,
        "natx": __version__,
        "accuracies": {} if None in parts else _accuracies(_joined(parts)),
        "audits": audits,
        "seconds": round(time.monotonic() - begun, 1),
    }


def _evaluated(subject: Subject, data: Part) -> Evaluation | None:
    return evaluate(subject.task, data, subject.attacks, batch_size=TEST) if subject.attacks else None


def _audited(subject: Subject, data: Any, parts: Sequence[Evaluation | None], images: int) -> dict[str, Any]:
    """Verdict, figure and p-value of each check on the first images."""
    verdicts = audit(
        subject.task,
        subset(data, images),
        attacks=subject.attacks,
        evaluation=None if None in parts else _joined(parts),
        threat=THREAT,
        vanilla=subject.vanilla,
        images=images,
        draws=DRAWS,
        batch_size=TEST,
    )
    checks = {
        verdict.id: [verdict.verdict, *map(_rounded, (verdict.figure, verdict.threshold, verdict.p_value))]
        for verdict in verdicts
    }
    return {"robust": robust_wording(verdicts), "checks": checks}


def _rounded(value: float | None) -> float | None:
    """Six digits are as many as anyone reads."""
    return None if value is None else float(f"{value:.6g}")


def _joined(parts: Sequence[Evaluation | None]) -> Evaluation:
    """One evaluation of several parts of a set."""
    evaluations = [part for part in parts if part is not None]
    correct = {name: torch.cat([part.correct[name] for part in evaluations]) for name in evaluations[0].correct}
    results = []
    for same in zip(*(part.attacks for part in evaluations)):
        notes = merged(result.notes for result in same)
        results.append(AttackResult(same[0].settings, same[0].columns, notes=notes))
    return Evaluation(correct, results, evaluations[0].success)


def _accuracies(evaluation: Evaluation) -> dict[str, float]:
    return {column: round(evaluation.accuracy(column), 2) for column in evaluation.correct}


def settings(attacks: Sequence[Attack]) -> list[dict[str, Any]]:
    """What the attacks say of themselves, for the record."""
    return [attack.describe() for attack in attacks]


def markdown(content: dict[str, Any]) -> str:
    """The page of all records.

    Args:
        content: ``records``, ``command``, ``machine`` and ``attacks``.
    """
    records = content["records"]
    honest, later, masked = (
        [record for record in records if record["kind"] == kind] for kind in ("honest", "later", "masked")
    )
    sections = {
        "Any red check on an honest net": _family(honest),
        "Nets seen after the limits were set": _later(later),
        "Each check": _each_check({"": honest, ", later nets": later}, masked),
        "Checks without a mask": [f"- {check}: {why}." for check, why in UNMASKED.items()],
        "Each mask": _each_mask(masked),
        "False alarms, one by one": _alarms([*honest, *later]),
    }
    lines = _head(content, honest, masked)
    for title, section in sections.items():
        lines += [f"## {title}", "", *section, ""]
    return "\n".join(lines)


def _head(content: dict[str, Any], honest: list[Record], masked: list[Record]) -> list[str]:
    groups = ", ".join(dict.fromkeys(record["group"] for record in honest))
    seconds = sum(record["seconds"] for record in content["records"])
    return [
        "# How often the audit is wrong",
        "",
        f"Made by `{content['command']}` on {content['machine']} in {duration(seconds)} of computing.",
        "",
        f"The reliability checks (docs/checks.md) on {len(honest)} honest nets and {len(masked)} masked models of "
        f"scikit-learn's digits, Linf 45/255, at {', '.join(map(str, IMAGES))} test images. The honest nets: {groups}; "
        "a convolutional and a fully connected net of each, three seeds, each seed on another code path of the "
        f"processor ({_paths(honest)}). An honest net that is red is a false alarm. A masked model is missed by a "
        "check that is made for its mask and is not red. AutoAttack stands for a short form of it (no FAB, 20 "
        f"iterations, 300 queries), and G15 tries {DRAWS} points an image. Judged by natx "
        f"{_versions(content['records'])}.",
        "",
    ]


def _paths(records: list[Record]) -> str:
    """How many of some models ran on which of the processor's paths."""
    counts = Counter(record["path"] or "as it comes" for record in records)
    return ", ".join(f"{path}: {count}" for path, count in counts.items())


def _versions(records: list[Record]) -> str:
    """How many models each version judged."""
    return ", ".join(f"{name}: {count}" for name, count in sorted(Counter(r["natx"] for r in records).items()))


def _later(later: list[Record]) -> list[str]:
    """What the nets show in which no tolerance had a part."""
    if not later:
        return ["None was judged."]
    sizes, seeds = (", ".join(map(str, values)) for values in (LATER_SIZES, LATER_SEEDS))
    return [
        "The tolerances of G2, G3 and G11 were set after a look at a part of the nets above, whose false alarms may "
        f"therefore be too few. These {len(later)} nets were trained afterwards, by the same methods: seed {seeds}; "
        f"{sizes}, of which {', '.join(size for size in LATER_SIZES if size not in SIZES)} was not there before "
        f"({_paths(later)}).",
        "",
        *_family(later),
    ]


def _family(honest: list[Record]) -> list[str]:
    """How many honest nets have a red check that tests, and how many are refused the word."""
    last = str(IMAGES[-1])
    head = ["images", "nets", "any red check", f"of these by chance: not red on {last}", "95 % interval of chance"]
    lines = ["| " + " | ".join([*head, "allowed", "robust may be said"]) + " |", "|" + "---:|" * 7]
    for images in map(str, IMAGES):
        alarms = [record for record in honest if _red(record, images)]
        chance = sum(not {*_red(record, images)} & {*_red(record, last)} for record in alarms)
        robust = sum(record["audits"][images]["robust"] for record in honest)
        low, high = (100 * end for end in wilson(chance, len(honest)))
        shares = f"{low:.1f} to {high:.1f} %", f"{100 * FAMILY:.0f} %"
        lines.append(f"| {' | '.join(map(str, (images, len(honest), len(alarms), chance, *shares, robust)))} |")
    lines += ["", "What is red on all images too is no accident: the net does not keep that check's tolerance."]
    for check in CHECKS:
        groups = [record["group"] for record in honest if check.id in _red(record, last)]
        sizes = {group: sum(record["group"] == group for record in honest) for group in groups}
        counts = ", ".join(f"{group} {groups.count(group)} of {size}" for group, size in sizes.items())
        lines += [f"That is so of {check.id} ({check.title}): {counts}."] if groups else []
    return lines


def _each_check(honest: dict[str, list[Record]], masked: list[Record]) -> list[str]:
    """Wrong verdicts of each check.

    Args:
        honest: several groups of nets, by what tells them apart in the heading.
        masked: the masked models.
    """
    kinds = [*(f"false alarms{group}" for group in honest), "misses"]
    head = " | ".join(f"{kind} at {images}" for kind in kinds for images in IMAGES)
    lines = [f"| check | {head} |", "|---|" + "---:|" * (len(kinds) * len(IMAGES))]
    for check in CHECKS:
        hers = [record for record in masked if check.id in record["made_for"]]
        cells = [
            _share([record["audits"][str(images)]["checks"][check.id][0] for record in records], wrong)
            for records, wrong in (*((nets, True) for nets in honest.values()), (hers, False))
            for images in IMAGES
        ]
        lines.append(f"| {check.id} {check.title} | " + " | ".join(cells) + " |")
    return [*lines, "", "So many of the models to which the check applies; a dash where there is none."]


def _share(colours: list[str], red_is_wrong: bool) -> str:
    """Wrong verdicts of those that are not 'not applicable'."""
    colours = [colour for colour in colours if colour != NOT_APPLICABLE]
    wrong = sum((colour == RED) == red_is_wrong for colour in colours)
    return f"{wrong} of {len(colours)}" if colours else "–"


def _each_mask(masked: list[Record]) -> list[str]:
    head = " | ".join(f"red at {images}" for images in IMAGES)
    lines = [f"| mask | made for | {head} | called robust at |", "|---|---|" + "---|" * len(IMAGES) + "---|"]
    for record in masked:
        reds = [" ".join(_red(record, images)) or "none" for images in map(str, IMAGES)]
        robust = [str(images) for images in IMAGES if record["audits"][str(images)]["robust"]]
        cells = [record["group"], " ".join(record["made_for"]), *reds, ", ".join(robust) or "never"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _alarms(honest: list[Record]) -> list[str]:
    lines = []
    for record in honest:
        for images in map(str, IMAGES):
            for check in _red(record, images):
                _, figure, limit, p_value = record["audits"][images]["checks"][check]
                beyond = "" if limit is None else f", red at {limit:.3g}"
                chance = "" if p_value is None else f", p {p_value:.1g}"
                lines.append(f"- {record['name']}, {images} images: {check} {figure:.3g}{beyond}{chance}")
    return lines or ["None."]


def _red(record: Record, images: str) -> list[str]:
    """Ids of the checks that are red."""
    return [check for check, (colour, *_) in record["audits"][images]["checks"].items() if colour == RED]
