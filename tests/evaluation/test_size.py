"""How large perturbations became, against numpy."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from natx.evaluation.size import SIZES, realised, summary


def perturbed(seed: int, *, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Four images, attacked inside a mask of differing sizes; the third one is unchanged."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(4, 3, 6, 5, generator=generator, dtype=dtype)
    mask = torch.zeros(4, 1, 6, 5, dtype=torch.bool)
    for i, (height, width) in enumerate(((6, 5), (4, 5), (6, 2), (1, 1))):
        mask[i, :, :height, :width] = True
    change = 0.2 * (torch.rand(4, 3, 6, 5, generator=generator, dtype=dtype) - 0.5) * mask
    change[2] = 0
    return x, x + change, mask


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sizes_equal_numpys_image_by_image(dtype: torch.dtype, masked: bool) -> None:
    x, x_adv, mask = perturbed(0, dtype=dtype)
    found = realised(x, x_adv, mask if masked else None)
    assert tuple(found) == SIZES and all(value.dtype == torch.float64 for value in found.values())
    for i in range(4):
        inside = np.broadcast_to(mask[i].numpy() if masked else True, (3, 6, 5))
        delta = (x_adv[i] - x[i]).numpy().astype(np.float64)[inside]
        assert float(found["linf"][i]) == pytest.approx(np.abs(delta).max(), rel=1e-12)
        assert float(found["l2"][i]) == pytest.approx(np.linalg.norm(delta), rel=1e-12)
        decibel = 10 * np.log10(1 / np.mean(delta**2)) if delta.any() else np.inf
        assert float(found["psnr"][i]) == pytest.approx(decibel, rel=1e-12)


def test_padding_counts_neither_as_changed_nor_as_pixels() -> None:
    """What lies outside the mask does not matter, and the mean square is over what lies inside."""
    x, x_adv, mask = perturbed(1, dtype=torch.float64)
    other = torch.where(mask, x_adv, 0.123)
    inside, outside = realised(x, x_adv, mask), realised(x, other, mask)
    assert all(torch.equal(inside[key], outside[key]) for key in SIZES)
    assert float(inside["psnr"][1]) < float(realised(x, x_adv)["psnr"][1])  # the padding would make it look smaller


def test_known_sizes() -> None:
    x = torch.full((3, 3, 4, 4), 0.5)
    x_adv = x.clone()
    x_adv[0] += 0.1
    x_adv[1, 0, 0, 0] -= 0.3
    size = realised(x, x_adv)
    assert size["linf"].tolist() == pytest.approx([0.1, 0.3, 0], abs=1e-6)
    assert size["l2"].tolist() == pytest.approx([0.1 * math.sqrt(48), 0.3, 0], abs=1e-6)
    assert size["psnr"].tolist() == pytest.approx([20, -10 * math.log10(0.09 / 48), math.inf], abs=1e-4)


def test_an_image_that_is_all_padding_did_not_change() -> None:
    x = torch.rand(2, 3, 2, 2)
    mask = torch.tensor([True, False]).view(2, 1, 1, 1).expand(2, 1, 2, 2)
    size = realised(x, x + 0.1 * mask, mask)
    assert size["linf"].gt(0).tolist() == [True, False] and size["psnr"].isinf().tolist() == [False, True]


def test_a_summary_is_over_the_images_that_changed() -> None:
    sizes = {
        "linf": torch.tensor([0.1, 0.0, 0.3], dtype=torch.float64),
        "l2": torch.tensor([2.0, 0.0, 4.0], dtype=torch.float64),
        "psnr": torch.tensor([30.0, math.inf, 40.0], dtype=torch.float64),
    }
    assert summary(sizes) == {"linf": 0.3, "l2": 3.0, "psnr": 35.0, "changed": 2, "images": 3}
    nothing = summary({key: value[1:2] for key, value in sizes.items()})
    assert nothing == {"linf": 0.0, "l2": None, "psnr": None, "changed": 0, "images": 1}
    json.dumps([summary(sizes), nothing], allow_nan=False)


def test_gradients_are_not_recorded() -> None:
    x = torch.rand(1, 3, 2, 2, requires_grad=True)
    assert not any(value.requires_grad for value in realised(x.detach(), x * 0.9).values())
