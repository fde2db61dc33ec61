"""RoIAlign under mmcv's names and arguments, computed by torchvision (the same sampling rule)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision import ops

from natx.errors import ConfigError
from tasks.det.compat.missing import REMEDY


def _average_only(pool_mode: str) -> None:
    if pool_mode != "avg":
        raise ConfigError(f"roi_align has pool_mode='avg' only; got pool_mode={pool_mode!r}: use 'avg', or {REMEDY}")


def roi_align(
    input: Tensor,
    rois: Tensor,
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = 0,
    pool_mode: str = "avg",
    aligned: bool = True,
) -> Tensor:
    """Averages of bilinear samples in each cell of each region; mmcv's argument order, as mmdet passes positions.

    Differentiable once in ``input``. Half precision is computed in float32, with the regions' coordinates kept whole.

    Args:
        input: features, B x C x H x W.
        rois: regions, N x 5: index in the batch, x1, y1, x2, y2 in pixels of the image.
        output_size: cells, height and width (or one number for both).
        spatial_scale: features per pixel of the image, 1 / stride.
        sampling_ratio: samples along each side of a cell; 0 takes as many as a cell has feature pixels, rounded up.
        pool_mode: ``avg`` only.
        aligned: True treats a pixel's value as its centre's; False is the older rule, half a pixel off, with regions
            at least one feature pixel wide.

    Returns:
        N x C x height x width, of the input's type.

    Raises:
        ConfigError: ``pool_mode`` is not avg.
    """
    _average_only(pool_mode)
    height, width = (output_size, output_size) if isinstance(output_size, int) else output_size
    features = input if input.dtype in (torch.float32, torch.float64) else input.float()
    pooled = ops.roi_align(features, rois.to(features.dtype), (height, width), spatial_scale, sampling_ratio, aligned)
    return pooled.to(input.dtype)


class RoIAlign(nn.Module):
    """``roi_align`` with fixed options; the options are documented there.

    ``use_torchvision`` is accepted, as mmcv does, and changes nothing.
    """

    def __init__(
        self,
        output_size: int | tuple[int, int],
        spatial_scale: float = 1.0,
        sampling_ratio: int = 0,
        pool_mode: str = "avg",
        aligned: bool = True,
        use_torchvision: bool = False,
    ) -> None:
        super().__init__()
        _average_only(pool_mode)
        # mmdet reads output_size as a pair.
        height, width = (output_size, output_size) if isinstance(output_size, int) else output_size
        self.output_size = height, width
        self.spatial_scale = float(spatial_scale)
        self.sampling_ratio = int(sampling_ratio)
        self.pool_mode = pool_mode
        self.aligned = aligned

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        """Pool B x C x H x W features over N x 5 regions."""
        return roi_align(
            input, rois, self.output_size, self.spatial_scale, self.sampling_ratio, self.pool_mode, self.aligned
        )

    def extra_repr(self) -> str:
        """The options."""
        return (
            f"output_size={self.output_size}, spatial_scale={self.spatial_scale}, "
            f"sampling_ratio={self.sampling_ratio}, aligned={self.aligned}"
        )
