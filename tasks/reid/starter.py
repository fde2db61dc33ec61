"""A first config for people in Market-1501's layout: `natx init reid`."""

from __future__ import annotations

from pathlib import Path

from natx.data.starter import Wish, bases, line, methods, schedule, threat
from tasks.reid.datasets.market import Market1501

BATCH, INSTANCES = 64, 4  # images a step, and those of one person
SMALL, WARM_UP = 200, 5  # identities below which a network for CPUs is proposed; epochs
BOT = "resnet50"  # what BoT trains, for 120 epochs from ImageNet's weights


def starter(data: Path, wish: Wish) -> list[str]:
    """The lines of a config for a folder in Market-1501's layout.

    Args:
        data: holds ``bounding_box_train``, ``query`` and ``bounding_box_test``.
        wish: what is decided already.

    Raises:
        DataError: another layout.
    """
    learned, judged = Market1501(data, train=True), Market1501(data, train=False)
    people, images = learned.num_classes, len(learned)
    small = people < SMALL
    model = wish.model or ("osnet_x0_25" if small else BOT)
    built_on = ["models/bot_resnet50", "schedules/bot_120e"] if model == BOT else ["schedules/mars_mini_60e"]
    usual = model == BOT and not small and wish.epochs is None  # BoT's own epochs and rate
    height = wish.image_size or (128 if small else 256)
    batch = min(BATCH, max(2, people // 2) * INSTANCES)
    method = [] if wish.method == "standard" else ["methods/amd_online"]
    root = f"root={str(data)!r}, **_size"
    return [
        f"# {model} on {data}: {images} images of {people} people, {len(judged)} to judge by. Made by natx init.",
        bases("reid_runtime", "datasets/market1501", *built_on, *method),
        line(
            "_size",
            f"dict(height={height}, width={height // 2})",
            f"small: fewer than {SMALL} people" if small else "usual in the field",
        ),
        line(
            "task",
            f'dict(type="ReIDTask", model={model!r}, num_classes={people}, **_size)',
            f"a class a person; from {'ImageNet' if model == BOT else 'random'} weights",
        ),
        threat(wish, "8 / 255", "usual in the literature on re-identification"),
        line(
            "data",
            f"dict(train=dict({root}), test=dict({root}), batch_size={batch}, num_workers=0)",
            f"{INSTANCES} images each of {batch // INSTANCES} people a step"
            + ("" if batch == BATCH else f", half of all: {BATCH // INSTANCES} are usual"),
        ),
        *methods(wish, "attack=dict(threat=threat)", nasty="share=0.1, temperature=20.0, "),
        *([] if usual else [schedule(wish, images, batch, warm_up=WARM_UP)]),
    ]
