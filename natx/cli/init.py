"""Write a first config for a folder of images: natx init cls --data DIR [--model resnet18] [--image-size 64]

cls: DIR/train/<class>/<image> and DIR/test/<class>/<image> (or val); reid: a folder in Market-1501's layout; det: one
in Pascal VOC's or COCO's layout. The folder is looked at, and image size, classes, batch, eps and schedule are
proposed, each with its reason. The config has at most ten lines: change what you know better.
"""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from natx import cli
from natx.errors import ConfigError

ADAPTERS = {"cls": "tasks.cls", "reid": "tasks.reid", "det": "tasks.det"}
METHODS = ("nat", "at_union", "at", "standard")
AUTOATTACK, FEW_CLASSES = 4, "linf8_quick"  # the classes that AutoAttack needs, and what is without it
ATTACKS = {"cls": "linf8_table", "reid": "reid_table12", "det": "det_loss"}


def main(words: Sequence[str]) -> None:
    """The command with its arguments."""
    arguments = parse_arguments(words)
    # After the arguments, so that --help and mistakes in them do not wait for torch.
    from natx.config import TRAINING, load_config, shadow
    from natx.data.starter import Wish
    from natx.runtime.device import pick_device
    from natx.runtime.files import write_text
    from natx.threat import Linf, pixel_fraction

    out = Path(arguments.out or f"{Path(os.path.abspath(arguments.data)).name}_{arguments.method}.py")
    if out.suffix != ".py":
        raise ConfigError(f"configs are Python files (.py); got --out {out}")
    if out.exists():
        raise ConfigError(f"{out} exists: name another file with --out")
    cli.output_folder(out.parent)
    if arguments.eps is not None:
        Linf(arguments.eps)  # refused now, and not in the config
    own = (arguments.model, arguments.image_size, arguments.method, arguments.eps, arguments.epochs, arguments.quick)
    wish = Wish(out, *own)
    try:
        adapter = import_module(f"{ADAPTERS[arguments.task]}.starter")
    except ImportError as error:
        reason = shadow() or f"{error}; pip install natx[{arguments.task}]"
        raise ConfigError(f"natx init {arguments.task} cannot begin: {reason}") from error
    lines = adapter.starter(Path(arguments.data), wish)
    write_text(out, "\n".join(lines) + "\n")
    config, attacks = load_config(out, kind=TRAINING), ATTACKS[arguments.task]
    if arguments.task == "cls":  # the attack configs of the other tasks name their radii in their columns
        attacks = attacks if config.task.num_classes >= AUTOATTACK else FEW_CLASSES
        attacks += f" --eps {pixel_fraction(config.threat.eps)}"
    typed, run, exported = (
        shlex.quote(str(path)) for path in (out, Path("work_dirs", out.stem), Path("export", out.stem))
    )
    train, test, export = (f"  {cli.program(command)} {typed}" for command in ("train", "test", "export"))
    steps = [f"{train} --dry-run", train, f"{test} {run} --attacks attacks/{attacks}"]
    steps += [f"{export} {run} --out {exported}"] if arguments.task == "cls" else []
    cli.write("\n".join([*lines, "", f"written: {out}", "next:", *steps]))
    if arguments.task == "cls" and not arguments.quick and pick_device(None).type == "cpu":
        cli.write(
            "note: there is no GPU here, and on a CPU this takes hours (--dry-run says how many); --quick takes minutes"
        )


def parse_arguments(words: Sequence[str]) -> argparse.Namespace:
    """The arguments."""
    parser = cli.parser("init", __doc__)
    parser.add_argument("task", choices=ADAPTERS, help="image classification, person re-identification or detection")
    parser.add_argument("--data", required=True, metavar="DIR", help="the folder of images")
    parser.add_argument("--model", help="the network, for cls any timm name (default: a small one)")
    parser.add_argument("--image-size", type=int, metavar="N", help="side, or height, in pixels (default: see above)")
    parser.add_argument(
        "--method",
        choices=METHODS,
        default="nat",
        help="nat; at_union: the same without the nasty term, its fair baseline; at: adversarial images alone (reid, "
        "det: as at_union); standard: no defence (default: nat)",
    )
    parser.add_argument("--eps", type=cli.fraction, help="radius, as 4/255 (default: what is usual)")
    parser.add_argument("--epochs", type=int, metavar="N", help="(default: so many as make about 3,000 steps)")
    parser.add_argument("--quick", action="store_true", help="a first result in minutes on a CPU, for cls")
    parser.add_argument("--out", metavar="FILE", help="the config to write (default: <folder>_<method>.py)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    arguments = parser.parse_args(words)
    if arguments.quick and arguments.task != "cls":
        raise ConfigError(f"--quick is for cls; what {arguments.task} begins with is small already: use --epochs")
    for name in ("image_size", "epochs", "eps"):
        value = getattr(arguments, name)
        if value is not None and value <= 0:
            raise ConfigError(f"--{name.replace('_', '-')} must be above 0; got {value}")
    return arguments
