"""Reading image files: what cannot be decoded is one line, and a batch may use threads."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from natx.data.base import brief
from natx.errors import DataError

IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
# Pillow's decoders raise all of these on damaged files.
UNDECODABLE = (OSError, SyntaxError, ValueError, IndexError, TypeError, struct.error, Image.DecompressionBombError)


def read_rgb(path: str, *, turned: bool = False) -> Image.Image:
    """An image file as RGB; greyscale, palette and CMYK are converted.

    Args:
        path: of the file.
        turned: turn and mirror it as its EXIF orientation asks, which is ignored otherwise.

    Raises:
        DataError: missing, damaged or empty, or more than 8 bits a channel.
    """
    try:
        with Image.open(path) as opened:
            # Pillow clips these to 255 on conversion, which would silently give a white image.
            if opened.mode.startswith(("I", "F")):
                raise DataError(f"{path} has more than 8 bits a pixel ({opened.mode}); convert it to 8 bits")
            return (ImageOps.exif_transpose(opened) if turned else opened).convert("RGB")
    except UNDECODABLE as error:
        raise DataError(f"cannot decode the image {path} ({brief(error)}); replace or remove it") from error


def stored_size(path: str) -> tuple[int, int]:
    """Height and width of an image file, read from its header; DataError where there is none."""
    try:
        with Image.open(path) as opened:
            return opened.height, opened.width
    except UNDECODABLE as error:
        raise DataError(f"cannot decode the image {path} ({brief(error)}); replace or remove it") from error


def decode_batch(paths: Sequence[str], decode: Callable[[str], np.ndarray], *, threads: int = 0) -> Tensor:
    """Images of one size, each ``[H, W, 3]`` uint8 from ``decode``, as a batch ``[N, 3, H, W]``.

    ``threads`` > 0 decodes with so many threads: Pillow decodes without the interpreter's lock, and a pool per batch
    keeps a data set picklable and safe to fork.
    """
    if threads:
        with ThreadPoolExecutor(threads) as pool:
            images = list(pool.map(decode, paths))
    else:
        images = [decode(path) for path in paths]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
