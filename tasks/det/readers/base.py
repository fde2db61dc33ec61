"""Reader: the contract between the detection task and a detector family."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

import torch
from mmengine.structures import InstanceData
from torch import Tensor, nn

from natx.batch import Batch
from natx.errors import ConfigError
from natx.runtime.rng import uniform
from natx.task import Output

# Tells these draws from those of attacks and augmentations.
STREAM = 0x5A3F
# Heads whose targets need no assigner, and so no train_cfg.
ASSIGNERLESS = {"FCOSHead", "FoveaHead", "CenterNetHead", "CenterNetUpdateHead", "CornerHead"}
EVERY = "every_prior"  # entry of a batch, of any value: nothing is sampled or mined, all priors and proposals count
MASKS = ("mask_head", "semantic_head", "mask_iou_head")  # what mmdet calls the parts that predict masks
# The readers by the file of each; the first that knows a detector reads it.
FAMILIES = {
    "retina": "RetinaReader",
    "ssd": "SSDReader",
    "two_stage": "TwoStageReader",
    "dense": "DenseReader",
    "matched": "MatchedReader",
    "general": "GeneralReader",
}


@dataclass
class Targets:
    """What mmdet's heads ask for: objects and meta data of every image, in pixels of the resized image.

    Attributes:
        objects: boxes and labels to learn, one :class:`InstanceData` an image.
        ignored: boxes of what is no object to learn (VOC's difficult ones, COCO's crowds). What overlaps them is
            background all the same, unless the detector's assigner has an ``ignore_iof_thr`` above 0, which is -1 in
            most of mmdet's configs and in natx's.
        metas: sizes and scales as mmdet's pipelines write them.
        seeds: two seeds an image, for detectors that sample at random in two stages; drawn from the image's index, and
            from the run's seed and the epoch where the batch has them (``seed`` and ``epoch``, int64 ``[N]``).
        every: all priors and proposals count, where a detector would sample some or take the hardest (a batch with an
            entry ``EVERY``). SSD and two-stage readers look at it; the others sample as their heads do.
        assigned: what readers have worked out from these objects alone, whatever the pixels.
    """

    objects: list[InstanceData]
    ignored: list[InstanceData]
    metas: list[dict[str, Any]]
    seeds: list[tuple[int, int]]
    every: bool = False
    assigned: dict[Any, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, batch: Batch, *, divisor: int = 1) -> Targets:
        """From a batch whose ``data_samples`` are :class:`tasks.det.datasets.Annotation`.

        Args:
            batch: the batch.
            divisor: mmdet's ``pad_size_divisor``. Priors beyond an image's own size, rounded up to a multiple of it,
                are not asked for: what a larger image of the batch adds to the padding is not background.
        """
        canvas = tuple(batch["inputs"].shape[-2:])
        objects, ignored, metas = [], [], []
        for annotation in batch["data_samples"]:
            height, width = annotation.shape
            boxes, keep = annotation.resized_boxes, ~annotation.difficult
            boxes = torch.minimum(boxes.clamp_min(0), boxes.new_tensor([width, height] * 2))  # COCO's may stick out
            # A box without area would give an infinite regression target.
            area = (boxes[:, 2:] > boxes[:, :2]).all(1)
            objects.append(InstanceData(bboxes=boxes[keep & area], labels=annotation.labels[keep & area]))
            ignored.append(InstanceData(bboxes=boxes[~keep & area]))
            metas.append(
                {
                    "img_shape": annotation.shape,
                    "pad_shape": tuple(min(-(-a // divisor) * divisor, b) for a, b in zip(annotation.shape, canvas)),
                    "batch_input_shape": canvas,
                    "ori_shape": annotation.original,
                    "scale_factor": annotation.scale,
                }
            )
        seed, epoch = _draw_keys(batch)
        draws = uniform(batch["index"].cpu(), (2,), seed=seed, epoch=epoch, stream=STREAM)
        seeds = [(first, second) for first, second in (draws * 2**24).long().tolist()]
        return cls(objects, ignored, metas, seeds, every=EVERY in batch)

    def of_image(self, i: int) -> Targets:
        """Those of image i alone, on the same canvas."""
        rows = slice(i, i + 1)
        parts = (self.objects[rows], self.ignored[rows], self.metas[rows], self.seeds[rows])
        return Targets(*parts, every=self.every)


def _draw_keys(batch: Batch) -> tuple[int, int]:
    """The run's seed and the epoch of a batch, with one wait for the device; 0 where it has none."""
    keys = [batch[name][0] if len(batch.get(name, ())) else batch["index"].new_zeros(()) for name in ("seed", "epoch")]
    seed, epoch = torch.stack(keys).tolist() if {"seed", "epoch"} & batch.keys() else (0, 0)
    return seed, epoch


class LastTargets:
    """:meth:`Targets.of`, which gives the same targets again while it is asked for the same batch.

    An attack reads one batch at every step, and so do all views and terms: targets hang on no pixel, so they are worked
    out once. A batch is the same where its annotations, index, seed, epoch, canvas and ``EVERY`` are, whatever its
    pixels.

    Args:
        divisor: see :meth:`Targets.of`.
    """

    def __init__(self, divisor: int = 1) -> None:
        self.divisor = divisor
        self._parts: list[Any] = []  # of the last batch; held, so that no later object can take an identity
        self._canvas: tuple[int, ...] = ()
        self._targets: Targets | None = None

    def __call__(self, batch: Batch) -> Targets:
        """The targets of a batch."""
        parts = [batch["index"], batch.get("epoch"), batch.get("seed"), batch.get(EVERY), *batch["data_samples"]]
        canvas = tuple(batch["inputs"].shape[-2:])
        unchanged = len(parts) == len(self._parts) and all(a is b for a, b in zip(parts, self._parts))
        if self._targets is None or not unchanged or canvas != self._canvas:
            self._targets = Targets.of(batch, divisor=self.divisor)
            self._parts, self._canvas = parts, canvas
        return self._targets


class Reader:
    """Reads an mmdet detector of one family.

    Args:
        net: the detector.
        num_classes: number of foreground classes C.
    """

    net: Any  # mmdet's modules are read by attributes that torch's types do not know
    judged_at_once = 4  # images a step when it is judged, where nobody says how many
    dense_by: Literal["anchors", "proposals"] | None = None  # what DAG and RAP look at; None: not for them

    def __init__(self, net: nn.Module, num_classes: int) -> None:
        self.net, self.num_classes = net, num_classes

    @staticmethod
    def fits(net: nn.Module) -> bool:
        """Whether this reader knows the detector."""
        raise NotImplementedError

    def raw(self, x: Tensor) -> Any:
        """Raw output for normalised images ``[N, 3, H, W]``: a pytree whose tensors lead with N."""
        raise NotImplementedError

    def read(self, raw: Any, targets: Targets, *, rows: Any = None) -> Output:
        """Losses and class rows; ``rows`` scores given rows instead of the detector's own and gives no losses."""
        raise NotImplementedError

    def predict(self, raw: Any, targets: Targets) -> list[InstanceData]:
        """Detections of every image, in pixels of the original image."""
        raise NotImplementedError

    def memory(self) -> dict[str, Any]:
        """See :meth:`natx.task.Task.memory`."""
        return {}

    def recall(self, memory: dict[str, Any]) -> None:
        """Take what :meth:`memory` gave."""

    def check_adversary(self, other: Reader) -> None:
        """Raise ConfigError where another detector's reader cannot score the rows that this one gives."""
        if type(other) is not type(self):
            names = (type(reader).__name__.removesuffix("Reader") for reader in (other, self))
            raise ConfigError(
                "the adversary is a {} detector, the target {}: both must be of one family".format(*names)
            )


def mask_heads(net: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """Parts of a detector that predict masks, as (owner, name, part)."""
    for owner in net.modules():
        for name, part in owner.named_children():
            if name in MASKS:
                yield owner, name, part


def freeze_masks(net: nn.Module) -> None:
    """Let no mask head ask for gradients: only boxes are trained."""
    for _, _, part in mask_heads(net):
        part.requires_grad_(False)


@contextmanager
def seeded(seed: int | None, *, device: torch.device | None = None) -> Iterator[None]:
    """Let torch's generators draw from ``seed`` inside and go on as if nothing had happened; None does nothing.

    Args:
        seed: of the CPU's generator, and of the one of ``device``.
        device: a GPU whose generator something inside draws from.
    """
    if seed is None:
        yield
        return
    # Not torch.manual_seed: it would seed all GPUs' generators, and mmdet's samplers draw on the CPU.
    generators = [torch.default_generator]
    if device is not None and device.type == "cuda":
        torch.cuda.init()
        generators.append(torch.cuda.default_generators[device.index or 0])
    states = [generator.get_state() for generator in generators]
    for generator in generators:
        generator.manual_seed(seed)
    try:
        yield
    finally:
        for generator, state in zip(generators, states):
            generator.set_state(state)


@contextmanager
def replaced(owner: Any, **values: Any) -> Iterator[None]:
    """Let attributes be something else inside; those that the owner's class gives show again afterwards."""
    before = {name: vars(owner)[name] for name in values if name in vars(owner)}
    for name, value in values.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name in values:
            if name in before:
                setattr(owner, name, before[name])
            else:
                delattr(owner, name)


def reader_for(net: nn.Module, num_classes: int) -> Reader:
    """The reader of a detector; raises ConfigError, with the families there are, where none knows it."""
    head = getattr(net, "roi_head", getattr(net, "bbox_head", None))
    names = {parent.__name__ for parent in type(head).__mro__}
    untrained = getattr(net, "train_cfg", None) is None and not names & ASSIGNERLESS
    if untrained or getattr(net, "test_cfg", None) is None:
        raise ConfigError(f"{type(net).__name__} has no train_cfg or no test_cfg: losses and predictions need both")
    readers = [getattr(import_module(f"tasks.det.readers.{file}"), name) for file, name in FAMILIES.items()]
    for reader in readers:
        if reader.fits(net):
            return reader(net, num_classes)
    raise ConfigError(
        f"no reader for {type(net).__name__} with {type(head).__name__}: its losses need more than features and "
        "boxes; natx reads mmdet's single-stage and two-stage detectors and detection transformers"
    )
