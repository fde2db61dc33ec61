"""What model hubs read of a card: licence, data set, threat model and the reports' figures, in Hugging Face's words."""

from __future__ import annotations

from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from natx.report.cells import report_cells
from natx.report.intervals import counts, interval
from natx.version import __version__

TASK, METRIC, TAG = "image-classification", "accuracy", "natx"
CLEAN = "Clean"
DATA_SETS = {"CIFAR10": "uoft-cs/cifar10", "CIFAR100": "uoft-cs/cifar100"}  # on the hub, by the data set's class here


def metadata(
    *,
    name: str,
    reports: list[dict[str, Any]],
    data: str,
    threat: str | None,
    checkpoint_sha256: str,
    trained_against: str | None = None,
    library: str | None = None,
    licence: str | None = None,
    trained: bool = False,
) -> ModelCardData:
    """The header of a card.

    Args:
        name: what the figures are of.
        reports: contents of the reports about these very weights; each column becomes a figure with its 95 % interval.
        data: class of the training images' data set.
        threat: the threat model, in words.
        checkpoint_sha256: hash of the checkpoint that was exported.
        trained_against: the threat model of its training where that is another one.
        library: which loads the weights; None where natx alone does.
        licence: of the weights, in the hub's words.
        trained: whether it learned from adversarial images.
    """
    figures = [figure for report in reports for figure in _figures(report, data)]
    ours = {"version": __version__, "threat": threat, "data": data or None, "checkpoint_sha256": checkpoint_sha256}
    return ModelCardData(
        license=licence,
        library_name=library,
        pipeline_tag=TASK,
        tags=[TAG, *(["adversarial-training"] if trained else [])],
        datasets=[DATA_SETS[data]] if data in DATA_SETS else None,
        model_name=name if figures else None,
        eval_results=figures or None,
        natx=ours | ({"trained_against": trained_against} if trained_against else {}),
    )


def _figures(report: dict[str, Any], data: str) -> list[EvalResult]:
    """The figures of one report, a column each; of the worst case, which is the headline, last."""
    images = str(report["settings"].get("data", data))
    ends = {column: interval(*share) for column, share in counts(report).items()}
    return [
        EvalResult(
            task_type=TASK,
            dataset_type=DATA_SETS.get(data, data.lower()) or "unknown",
            dataset_name=images,
            metric_type=METRIC,
            metric_name=figure_name(column, report["threat"]),
            metric_value=round(value, 2),
            metric_args={"interval": [round(end, 2) for end in ends[column]]} if column in ends else None,
        )
        for column, (value,) in report_cells(report).items()
    ]


def figure_name(column: str, threat: str) -> str:
    """What a figure is called: ``Clean``, ``AA, Linf 8/255``, ``Worst case, Linf 8/255``."""
    return column if column == CLEAN else f"{column}, {threat}"
