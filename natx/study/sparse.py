"""What a row's outputs look like: how far from another row's, and how sparse, on clean images and under attack."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from natx.analysis.collect import View, collect
from natx.analysis.sparsity import calibrate, confidence, log_distribution, measures
from natx.data import subset
from natx.evaluation.outcomes import image_fingerprint
from natx.judging.build import build_attacks, load_data, load_task
from natx.report.summary import mean_and_deviation
from natx.report.tables import Table, TableRow
from natx.runtime.files import sha256
from natx.runtime.precision import exact_float32, kl_divergence
from natx.runtime.progress import Meter
from natx.runtime.provenance import provenance
from natx.study.rows import StudySparsity

Model = tuple[Config, Path]
SHARE = "nasty_share"  # as the nasty term logs it
EXPLANATION = (
    "Does the nasty term act? KL is that of the row's outputs from those of {adversary} (temperature {temperature:g}), "
    "which the term pushes up; the share is its gradient on the class logits beside the task's, in the last epoch. "
    "Entropy is that over log C, 1 for uniform outputs: as it is, and with each row's temperature set so that its mean "
    "confidence is {confidence:g}, where networks that differ in the scale of their logits alone are equal. "
    "{images} test images, clean / under {attack}"
)


@exact_float32()
def measure(
    asked: StudySparsity, model: Model, adversary: Model, attacks: Config, *, device: torch.device, meter: Meter
) -> dict[str, Any]:
    """Measure a model's outputs beside an adversary's; plain values.

    Args:
        asked: how many images, at which temperature and confidence.
        model: training config and weights.
        adversary: the same of the model that it is compared with.
        attacks: an attack config, whose first attack makes the adversarial images, each model's its own.
        device: where to run.
        meter: progress display.
    """
    task, _ = load_task(*model)
    other, _ = load_task(*adversary)
    whole, _ = load_data(model[0], task)
    images, attack = subset(whole, asked.images), build_attacks(attacks)[0]
    collected = collect(
        task.to(device), images, attack, linear=False, adversary=other.to(device), meter=meter, name="outputs"
    )
    return {
        "asked": vars(asked),
        "attack": attack.describe(),
        "attack_name": attack.columns()[-1],
        "checkpoints": [sha256(weights) for _, weights in (model, adversary)],
        "images_fingerprint": image_fingerprint(whole, images),
        "views": {name: _numbers(view, asked) for name, view in collected.views.items()},
        "provenance": provenance(device),
    }


def _numbers(view: View, asked: StudySparsity) -> dict[str, float | None]:
    """Means over the images of a view; None where there is no such number."""
    log_p = log_distribution(view.logits)
    matched = calibrate(view.logits, asked.confidence)
    divergence = None
    if view.adversary is not None:
        pair = [log_distribution(z, temperature=asked.temperature) for z in (view.logits, view.adversary)]
        divergence = float(kl_divergence(*pair).mean())
    entropy = None
    if matched is not None:
        entropy = float(measures(log_distribution(view.logits, temperature=matched))["entropy"].mean())
    return {
        "kl": divergence,
        "confidence": confidence(view.logits),
        "entropy": float(measures(log_p)["entropy"].mean()),
        "matched_temperature": matched,
        "matched_entropy": entropy,
    }


def sparsity_table(
    asked: StudySparsity,
    rows: Mapping[str, Sequence[tuple[dict[str, Any], dict[str, Any] | None]]],
    *,
    adversary: str,
) -> Table | None:
    """What was measured of the rows' outputs, mean and deviation over the seeds; None where nothing was.

    Args:
        asked: what was asked.
        rows: by row, what was measured and what the training spent (its logged means), one a seed.
        adversary: name of the row that they are compared with.
    """
    rows = {name: seeds for name, seeds in rows.items() if seeds}
    if not rows:
        return None
    head = {"kl": "KL", "confidence": "confidence", "entropy": "entropy", "matched_entropy": "entropy, matched"}
    lines = []
    for name, seeds in rows.items():
        shares = [spent["last_epoch"][SHARE] for _, spent in seeds if spent and SHARE in spent["last_epoch"]]
        cells = [_cell([measured for measured, _ in seeds], key) for key in head]
        lines.append(TableRow([name, str(len(seeds)), _percent(shares), *cells]))
    first = next(iter(rows.values()))[0][0]
    caption = EXPLANATION.format(**{**vars(asked), "adversary": adversary, "attack": first["attack_name"]})
    return Table(["", "seeds", "share", *head.values()], lines, caption=caption)


def _cell(seeds: Sequence[dict[str, Any]], key: str) -> str:
    """A number of each view: ``0.40 ± 0.01 / 0.30 ± 0.01``."""
    texts = []
    for view in seeds[0]["views"]:
        values = [measured["views"][view][key] for measured in seeds]
        texts.append("none" if None in values else mean_and_deviation(values))
    return " / ".join(texts)


def _percent(shares: Sequence[float]) -> str:
    return f"{100 * statistics.fmean(shares):.1f} %" if shares else ""
