"""Look into models: natx analyze CONFIG CHECKPOINT [CONFIG CHECKPOINT ...] [--what weights] [--subset N]

The paper's Figures 3 to 8 as pictures and numbers, for one or several checkpoints side by side; docs/analysis.md says
how to read them. Writes analysis.json, analysis.md, analysis.html and PNGs. Configs are code: run only those you trust.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace

from natx import cli
from natx.errors import ConfigError

WHAT = ("sparsity", "series", "boundaries", "weights", "umap")  # of natx.analysis


def main(words: Sequence[str]) -> None:
    """The command with its arguments."""
    arguments = parse_arguments(words)
    # After the arguments, so that --help and mistakes in them do not wait for torch.
    from mmengine.dist import get_dist_info
    from rich.console import Console

    from natx.analysis import analyse, write_analysis
    from natx.config import ANALYSED, ATTACKS, load_config
    from natx.judging.build import build_attacks
    from natx.models.weights import weights_path
    from natx.runtime.locks import sole_use
    from natx.runtime.progress import Meter

    if len(arguments.models) % 2:
        raise ConfigError(f"models are pairs CONFIG CHECKPOINT; got {len(arguments.models)} paths")
    device = cli.set_up(arguments)
    if get_dist_info()[1] > 1:
        raise ConfigError("the analysis runs in one process: start it without torchrun")
    console = cli.console()
    analysed = replace(ANALYSED, needs=("task", f"data.{arguments.data}"))
    models = [
        (load_config(config, kind=analysed, options=arguments.cfg_options), weights_path(checkpoint))
        for config, checkpoint in zip(arguments.models[::2], arguments.models[1::2])
    ]
    attack = None
    if arguments.attacks:
        path = arguments.attacks
        attack = build_attacks(load_config(path, kind=ATTACKS), seed=arguments.seed, path=path)[0]
    usual = cli.results_folder(arguments.models[1], models[0][1]) / "analysis"
    folder = cli.output_folder(arguments.work_dir or usual)
    with sole_use(folder, work="an analysis"):
        analysis = analyse(
            models,
            folder,
            device=device,
            ema=arguments.ema,
            what=arguments.what or WHAT,
            attack=attack,
            data=arguments.data,
            subset_size=arguments.subset,
            batch_size=arguments.batch_size,
            temperatures=arguments.temperatures,
            shown=arguments.shown,
            names=arguments.names,
            adversary=arguments.adversary,
            seed=arguments.seed or 0,
            meter=Meter(Console(stderr=True), console.print),
        )
        write_analysis(folder, analysis)
    for model in analysis["models"]:
        accuracy = ", ".join(f"{view} {value:.2f} %" for view, value in model["accuracy"].items())
        console.print(f"{model['name']}: {accuracy}")
        for note in model["notes"]:
            console.print(f"note ({model['name']}): {note}")
    console.print(
        f"written: {folder / 'analysis.md'}, {folder / 'analysis.html'}, {folder / 'analysis.json'}", soft_wrap=True
    )
    if analysis["missing"]:
        raise ConfigError("; ".join(analysis["missing"]))


def parse_arguments(words: Sequence[str]) -> argparse.Namespace:
    """The arguments."""
    parser = cli.parser("analyze", __doc__)
    parser.add_argument("models", nargs="+", metavar="CONFIG CHECKPOINT", help="training configs and their weights")
    parser.add_argument("--ema", action="store_true", help="take the average of the weights that a file holds too")
    parser.add_argument("--what", nargs="+", action="extend", choices=WHAT, help="parts (default: all)")
    parser.add_argument("--attacks", help="an attack config, whose first attack is used (default: PGD-20)")
    parser.add_argument("--data", choices=["test", "train"], default="test", help="images (default: test)")
    parser.add_argument("--subset", type=int, metavar="N", help="only N images (the first, or evenly spaced)")
    parser.add_argument("--batch-size", type=int, default=250, help="images per step (default: 250)")
    parser.add_argument(
        "--temperatures", type=float, nargs="+", action="extend", help="beside 1 (default: the configs' nasty terms')"
    )
    parser.add_argument("--class", dest="shown", help="the class whose bars are drawn, by name or number (default: 0)")
    parser.add_argument(
        "--names", nargs="+", action="extend", help="names of the models in tables (default: the configs')"
    )
    parser.add_argument(
        "--adversary", metavar="NAME", help="the model that Eqs. 7 and 8 are against (default: the first)"
    )
    parser.add_argument("--work-dir", help="folder of the output (default: 'analysis' beside the first checkpoint)")
    cli.add_common_arguments(parser)
    return parser.parse_args(words)
