"""Judge a model: natx test CONFIG CHECKPOINT --attacks attacks/linf8_table [--subset 1000]

CHECKPOINT is a run's best.safetensors or last.safetensors, upstream weights (safetensors, a state dict, a file with one
among its entries), a folder with model.safetensors and config.json (an export, timm's save_for_hf), or such a
repository of the Hugging Face hub, hf-hub:owner/name.
Configs are code: run only those you trust.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from natx import cli
from natx.errors import ConfigError

if TYPE_CHECKING:
    from mmengine.config import Config
    from rich.console import Console

    from natx.checks import AuditOptions


def main(words: Sequence[str]) -> None:
    """The command with its arguments."""
    arguments = parse_arguments(words)
    # After the arguments, so that --help and mistakes in them do not wait for torch.
    from mmengine.dist import get_dist_info
    from rich.console import Console

    from natx.config import ATTACKS, JUDGED, load_config
    from natx.evaluation.progress import clear_progress
    from natx.judging.radii import at_radius
    from natx.judging.save import check_saving
    from natx.models.weights import weights_path
    from natx.report.curve import write_curve
    from natx.runtime.progress import Meter

    device = cli.set_up(arguments)
    first = get_dist_info()[0] == 0
    console = cli.console(quiet=not first)
    config = load_config(arguments.config, kind=JUDGED, options=arguments.cfg_options)
    checkpoint = weights_path(arguments.checkpoint)
    usual = cli.results_folder(arguments.checkpoint, checkpoint) / report_name(arguments, checkpoint)
    folder = cli.output_folder(arguments.out or usual)
    if arguments.save_adv:
        check_saving(config, Path(arguments.save_adv))
    attacks = load_config(arguments.attacks, kind=ATTACKS)
    cases = {folder: attacks} if arguments.eps is None else {folder: at_radius(attacks, arguments.eps[0])}
    if arguments.eps is not None and len(arguments.eps) > 1:
        cases = {folder / radius_name(eps): at_radius(attacks, eps) for eps in arguments.eps}
    settings: dict[str, Any] = dict(
        device=device,
        ema=arguments.ema,
        subset_size=arguments.subset,
        batch_size=arguments.batch_size,
        seed=arguments.seed,
        meter=Meter(Console(stderr=True), console.print, enabled=first),
    )
    reports = []
    for place, attacks in cases.items():
        reports.append(judge_into(place, config, checkpoint, attacks, arguments=arguments, settings=settings))
        if first:
            show(console, reports[-1], place)
    if first and len(cases) > 1:
        text = write_curve(folder, reports, [f"{place.name}/report.html" for place in cases])
        written = f"written: {folder / 'curve.html'}, {folder / 'curve.md'}"
        console.print(f"{text}{written}", soft_wrap=True)
    for place in cases if first else ():  # now, so that a curve goes on with the radii that it has
        clear_progress(place)


def judge_into(
    folder: Path,
    config: "Config",
    checkpoint: Path,
    attacks: "Config",
    *,
    arguments: argparse.Namespace,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """The report of one judgement, written to a folder, which keeps the progress beside it."""
    from mmengine.dist import get_dist_info

    from natx.evaluation.saved import sentence
    from natx.judging.judge import judge
    from natx.judging.save import save_judged
    from natx.report.report import write_report
    from natx.runtime.locks import sole_use
    from natx.study import printed_row

    with sole_use(folder, work="an evaluation"):
        report = judge(
            config,
            checkpoint,
            attacks,
            **settings,
            paper=printed_row(config, attacks) if arguments.eps is None else None,
            name=arguments.name,
            pictures=folder,
            progress=folder,
            resume=arguments.resume,
            checks=audit_options(arguments),
            compiled=arguments.compile,
        )
        if arguments.save_adv:
            report["saved"] = save_judged(config, checkpoint, attacks, Path(arguments.save_adv), **settings)
            report["notes"] = [*report.get("notes", []), *map(sentence, report["saved"])]
        if get_dist_info()[0] == 0:
            write_report(folder, report)
    return report


def show(console: "Console", report: dict[str, Any], folder: Path) -> None:
    """A report on the console."""
    from natx.checks.text import console_checks
    from natx.report.cells import outcome
    from natx.report.text import console_table

    console.print(console_table([report]))
    if "checks" in report:
        console.print(console_checks(report))
    for note in report.get("notes", []):
        console.print(f"note: {note}")
    for attack in report["attacks"]:
        if measured := outcome(attack):
            console.print(f"{', '.join(attack['columns'])}: {measured}")
        for note in attack["notes"]:
            console.print(f"note ({', '.join(attack['columns'])}): {note}")
    for attack, file in report.get("pictures", {}).items():
        console.print(f"picture ({attack}): {folder / file}", soft_wrap=True)
    console.print(
        f"written: {', '.join(str(folder / f'report.{kind}') for kind in ('html', 'md', 'json'))}", soft_wrap=True
    )


def report_name(arguments: argparse.Namespace, checkpoint: Path) -> str:
    """The default folder's name: the attacks, and whatever else of the question is not the usual."""
    words = ["test", Path(arguments.attacks).stem]
    words += [checkpoint.stem] if checkpoint.stem != "best" else []
    words += ["ema"] if arguments.ema else []
    words += [str(arguments.subset)] if arguments.subset else []
    words += [f"seed{arguments.seed}"] if arguments.seed is not None else []
    words += [radius_name(arguments.eps[0])] if arguments.eps and len(arguments.eps) == 1 else []
    words += ["curve"] if arguments.eps and len(arguments.eps) > 1 else []
    return "-".join(words)


def radius_name(eps: float) -> str:
    """A radius in a folder's name: ``eps4_255``, ``eps2``."""
    from natx.threat import pixel_fraction

    return f"eps{pixel_fraction(eps).replace('/', '_')}"


def audit_options(arguments: argparse.Namespace) -> "AuditOptions | None":
    """What the audit is told; None where none is wanted."""
    from natx.checks import AuditOptions

    if not arguments.audit:
        if arguments.vanilla is not None or arguments.audit_images is not None:
            raise ConfigError("--vanilla and --audit-images are for the audit: add --audit")
        return None
    vanilla = None if arguments.vanilla is None else Path(arguments.vanilla)
    images = AuditOptions.images if arguments.audit_images is None else arguments.audit_images
    return AuditOptions(images=images, vanilla=vanilla)


def parse_arguments(words: Sequence[str]) -> argparse.Namespace:
    """The arguments."""
    parser = cli.parser("test", __doc__)
    parser.add_argument("config", help="the training config of the model")
    parser.add_argument("checkpoint", help=".safetensors, .pth of tensors, a folder with either, hf-hub:owner/name")
    parser.add_argument("--ema", action="store_true", help="take the average of the weights that a file holds too")
    parser.add_argument("--attacks", required=True, help="an attack config, e.g. attacks/linf8_table")
    parser.add_argument("--subset", type=int, metavar="N", help="only N test images (the first, or evenly spaced)")
    parser.add_argument("--batch-size", type=int, help="images per step (default: the attack config's, or the task's)")
    parser.add_argument("--compile", action="store_true", help="compile the network in place (torch.compile)")
    parser.add_argument("--resume", action="store_true", help="go on with a stopped evaluation, if there is one")
    parser.add_argument("--audit", action="store_true", help="run the reliability checks (docs/checks.md) as well")
    parser.add_argument("--audit-images", type=int, metavar="N", help="images they attack (default: 200)")
    parser.add_argument("--vanilla", metavar="CHECKPOINT", help="an undefended model of CONFIG's task, for check G5")
    parser.add_argument("--save-adv", metavar="DIR", help="attack once more and save the images: float32 and PNG")
    parser.add_argument("--out", help="folder of report.html, .md and .json (default: beside the checkpoint)")
    parser.add_argument("--name", help="name of the row in the table (default: the config's name)")
    parser.add_argument(
        "--eps", nargs="+", action="extend", type=cli.fraction, help="another radius, as 4/255; several: a curve"
    )
    cli.add_common_arguments(parser)
    arguments = parser.parse_args(words)
    if arguments.save_adv and arguments.eps and len(arguments.eps) > 1:
        raise ConfigError("--save-adv is for one radius: give one --eps")
    return arguments
