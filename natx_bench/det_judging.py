"""Judging a detector: padding, memory and time of batches as the set lists its images, and of those taken by default.

Photographs are made up: sizes as Pascal VOC's mostly have, random pixels, one to four random boxes. ``tasks.det`` is
imported where an item runs: mmdet takes seconds and need not be installed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from natx.attacks import PGD
from natx.batch import Batch
from natx.benchmark import Measured, Paired, interleave
from natx.benchmark.opponents import peer
from natx.config import ATTACKS, load_config, plain_dict
from natx.evaluation import Metric, evaluate_set
from natx.judging.build import build_attacks
from natx.objectives import ImageLoss
from natx.registry import TASKS
from natx.task import Task
from natx.threat import Linf
from natx_bench.common import SECONDS, Bench, item, watch
from natx_bench.fresh import compare_memory, memory_work

# Heights and widths of photographs, and how many of a hundred have them.
SIZES = {(375, 500): 50, (333, 500): 17, (500, 375): 16, (500, 333): 7, (334, 500): 4, (500, 400): 3, (400, 500): 3}
VOC_TEST = 4952  # images
SHORT, LONG = 600, 1000  # sides in configs/_base_/datasets/voc0712_short600.py
SMALL = 0.25  # of these, for the small detector
BEFORE = 16  # images a step, in the order of the set, before detectors said how many
IMAGES, STEPS = 32, 2
SETTING = dict(model="small RetinaNet, shorter side 150 pixels", batch_size=f"{BEFORE} and 4")


@dataclass
class Photographs:
    """Made-up photographs, resized as a detection set resizes them; ``annotations`` and ``classes`` as it has them."""

    annotations: Sequence[Any]
    resize: Any
    classes: Sequence[str] = tuple("0123456789")

    def __len__(self) -> int:
        return len(self.annotations)

    def __getitems__(self, positions: Sequence[int]) -> Batch:
        annotations = [self.annotations[position] for position in positions]
        inputs = torch.zeros(len(annotations), 3, *self.resize.canvas([one.shape for one in annotations]))
        for position, image, annotation in zip(positions, inputs, annotations):
            height, width = annotation.shape
            generator = torch.Generator().manual_seed(position)
            image[:, :height, :width] = torch.rand(3, height, width, generator=generator)
        return {"inputs": inputs, "data_samples": annotations, "index": torch.tensor(positions)}

    def padding(self, batch_size: int, order: Sequence[int]) -> float:
        """Share (%) of the pixels of all batches that are padding, when images are taken in an order."""
        pixels = inside = 0
        for first in range(0, len(order), batch_size):
            shapes = [self.annotations[position].shape for position in order[first : first + batch_size]]
            height, width = self.resize.canvas(shapes)
            pixels += height * width * len(shapes)
            inside += sum(tall * wide for tall, wide in shapes)
        return 100 * (1 - inside / pixels)


class Grouped(Photographs):
    """The same, taken in the order of a detection set: those of like proportions beside each other."""

    def alike(self, positions: Sequence[int]) -> list[int]:
        """See :meth:`tasks.det.datasets.images.DetectionImages.alike`."""
        from tasks.det.datasets.images import DetectionImages

        return DetectionImages.alike(self, positions)  # type: ignore[arg-type]  # sizes are all that it looks at


def photographs(count: int, *, part: float = 1.0, grouped: bool = False) -> Photographs:
    """So many photographs, always the same; their sides are ``part`` of those of the full configs."""
    from tasks.det.datasets import Annotation
    from tasks.det.datasets.images import Resize

    generator, resize = torch.Generator().manual_seed(0), Resize(short=int(part * SHORT), long=int(part * LONG))
    kinds = torch.multinomial(
        torch.tensor([float(share) for share in SIZES.values()]), count, True, generator=generator
    )
    annotations = []
    for i, kind in enumerate(kinds.tolist()):
        height, width = list(SIZES)[kind]
        objects = 1 + i % 4
        corners = torch.rand(objects, 2, generator=generator) * torch.tensor([width / 2, height / 2])
        boxes = torch.cat([corners, corners + 50 + 100 * torch.rand(objects, 2, generator=generator)], 1)
        labels, easy = torch.randint(10, (objects,), generator=generator), torch.zeros(objects, dtype=torch.bool)
        shape = resize.shape(height, width)
        scale = (shape[1] / width, shape[0] / height)
        annotations.append(Annotation(boxes, labels, easy, shape=shape, original=(height, width), scale=scale, path=""))
    return (Grouped if grouped else Photographs)(annotations, resize)


def detector(bench: Bench) -> Task:
    """The small RetinaNet with random weights, in eval mode."""
    peer("mmdet", extra="det")
    config = plain_dict(load_config("configs/det/retinanet_digits_std.py").task)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return TASKS.build(config).to(bench.device).eval()


class Counted(Metric):
    """Counts detections: what is measured here is all that comes before a metric."""

    cell = ("detections",)

    def __call__(self, predictions: Any, dataset: Any) -> dict[str, float]:
        """How many there are."""
        return {"detections": float(sum(len(one["scores"]) for one in predictions))}


def judging(bench: Bench, *, grouped: bool, images: int = IMAGES) -> Callable[[], Any]:
    """A judging of the small RetinaNet, clean and under PGD, as it was before or as it is by default."""
    task, dataset = detector(bench), photographs(images, part=SMALL, grouped=grouped)
    attack = PGD(Linf(8 / 255), STEPS, step_size=4 / 255, objective=ImageLoss("loss_cls"))
    size = task.judged_at_once if grouped else BEFORE
    return partial(evaluate_set, task, dataset, [attack], metric=Counted(), batch_size=size)


memory_work("det_judging_before")(partial(judging, grouped=False, images=BEFORE))
memory_work("det_judging")(partial(judging, grouped=True, images=BEFORE))


@item(
    "det_padding",
    a=f"padding among the pixels of batches of {BEFORE} in the order of the set",
    b="the same in batches of 4 of like proportions",
    unit="%",
    limit=3,
    at_least=True,
    setting=dict(model=f"{VOC_TEST} photographs, shorter side {SHORT} pixels", batch_size=f"{BEFORE} and 4"),
)
def det_padding(bench: Bench) -> Measured:
    peer("mmdet", extra="det")
    photos, everything = Grouped(**vars(photographs(VOC_TEST))), list(range(VOC_TEST))
    orders = {"as the set lists them": everything, "of like proportions": photos.alike(everything)}
    rows = [
        {"images a step": size, **{order: photos.padding(size, places) for order, places in orders.items()}}
        for size in (1, 4, BEFORE, 32)
    ]
    before, now = rows[2]["as the set lists them"], rows[1]["of like proportions"]
    return Measured(Paired([before], [now]), details={"padding, %": rows})


@item(
    "det_judging_memory",
    a=f"peak memory of judging {BEFORE} images at once in the order of the set, above model",
    b="the same at the detector's own number of images, of like proportions",
    unit="MB",
    limit=2,
    at_least=True,
    setting=SETTING,
)
def det_judging_memory(bench: Bench) -> Measured:
    peer("mmdet", extra="det")
    return compare_memory(bench, "det_judging_before", "det_judging")


@item(
    "det_judging_time",
    a=f"judging {IMAGES} images, clean and PGD-{STEPS}, {BEFORE} at once in the order of the set",
    b="the same at the detector's own number of images, of like proportions",
    limit=1,
    at_least=True,
    setting=SETTING,
)
def det_judging_time(bench: Bench) -> Measured:
    before, now = judging(bench, grouped=False), judging(bench, grouped=True)
    paired = interleave(before, now, repeats=bench.repeats, measure=watch(bench))
    return Measured(paired, details={"seconds": SECONDS, "images": IMAGES})


@item(
    "det_voc_passes",
    a=f"DAG and RAP of Table 13 on the {VOC_TEST} test images of VOC 2007, forwards and backwards at most",
    b="loss_cls and loss_loc of Table 13 on them",
    setting=dict(model="any SSD", batch_size="any"),
)
def det_voc_passes(bench: Bench) -> Measured:
    peer("mmdet", extra="det")
    rows = []
    for attack in build_attacks(load_config("configs/attacks/det_table13.py", kind=ATTACKS)):
        steps = attack.steps  # type: ignore[attr-defined]  # all of them have so many at most
        # RAP looks at the clean image once, and every column at what came out.
        forwards = steps + 1 + (attack.name == "RAP")
        passes = VOC_TEST * (forwards + steps)
        rows.append({"attack": attack.name, "forwards an image": forwards, "backwards": steps, "passes in all": passes})
    totals = [
        sum(row["passes in all"] for row in rows if (row["attack"] in ("DAG", "RAP")) is own) for own in (True, False)
    ]
    details = {
        "images": VOC_TEST,
        "passes a second for DAG and RAP within an hour": totals[0] / 3600,
        "counted, not run": rows,
    }
    return Measured(None, predicted=totals[0] / totals[1], details=details)
