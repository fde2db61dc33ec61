"""Reader: the contract between the detection task and a detector family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.structures import InstanceData
from torch import Tensor, nn

from natx.errors import ConfigError
from natx.task import Output
from tasks.det.datasets import Annotation


@dataclass
class Targets:
    """What mmdet's heads ask for: objects and meta data of every image, in pixels of the resized image.

    Attributes:
        objects: boxes and labels to learn, one :class:`InstanceData` an image.
        ignored: boxes that count neither as objects nor as background (VOC's difficult ones).
        metas: sizes and scales as mmdet's pipelines write them.
    """

    objects: list[InstanceData]
    ignored: list[InstanceData]
    metas: list[dict[str, Any]]

    @classmethod
    def of(cls, annotations: Sequence[Annotation], canvas: tuple[int, int]) -> Targets:
        """From annotations and the (height, width) of the batch's images, padding included."""
        objects, ignored, metas = [], [], []
        for annotation in annotations:
            boxes, keep = annotation.resized_boxes, ~annotation.difficult
            # A box without area would give an infinite regression target.
            area = (boxes[:, 2:] > boxes[:, :2]).all(1)
            objects.append(InstanceData(bboxes=boxes[keep & area], labels=annotation.labels[keep & area]))
            ignored.append(InstanceData(bboxes=boxes[~keep & area]))
            metas.append(
                {
                    "img_shape": annotation.shape,
                    "pad_shape": canvas,
                    "batch_input_shape": canvas,
                    "ori_shape": annotation.original,
                    "scale_factor": annotation.scale,
                }
            )
        return cls(objects, ignored, metas)


class Reader:
    """Reads an mmdet detector of one family.

    Args:
        net: the detector.
        num_classes: number of foreground classes C.
    """

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


def reader_for(net: nn.Module, num_classes: int) -> Reader:
    """The reader of a detector; raises ConfigError, with the families there are, where none knows it."""
    from tasks.det import readers

    known = [getattr(readers, name) for name in readers.__all__ if name.endswith("Reader") and name != "Reader"]
    for kind in known:
        if kind.fits(net):
            return kind(net, num_classes)
    raise ConfigError(
        f"no reader for {type(net).__name__} with {type(getattr(net, 'bbox_head', None)).__name__}; natx reads "
        f"{', '.join(sorted(kind.__name__.removesuffix('Reader') for kind in known))} detectors"
    )
