from __future__ import annotations

import pytest
import torch
from detectors import detector, faster, mixed_batch, retina, ssd

from natx.attacks import PatchPGD
from natx.attacks.patch import Patch
from natx.errors import ConfigError

LOSS = dict(type="ImageLoss")


@pytest.mark.parametrize("family", [ssd, retina, faster], ids=lambda family: family.__name__)
@pytest.mark.parametrize("place", ["random", "grid"])
def test_a_patch_lies_in_the_image_and_raises_its_losses(family, place: str) -> None:
    task, batch = detector(family()), mixed_batch()
    attack = PatchPGD(Patch(24, 40), 3, step_size=0.3, place=place, grid=2, objective=LOSS)
    x, x_adv = task.pixels(batch), attack.judge(task, batch).x_adv
    changed = (x_adv != x).any(1)
    for one, shot in zip(changed, batch["data_samples"]):
        rows, columns = one.any(1).nonzero(), one.any(0).nonzero()
        assert rows.max() < shot.shape[0] and columns.max() < shot.shape[1]  # no padding
        assert (rows.max() - rows.min(), columns.max() - columns.min()) == (23, 39)
    with torch.no_grad():
        before, after = (
            sum(task.eval().read(task.network(pixels, batch), batch).image_losses.values()) for pixels in (x, x_adv)
        )
    assert (after > before).all()


def test_an_image_smaller_than_the_patch_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match="patch 64x64 does not fit an image of 60x100: make it smaller") as error:
        PatchPGD(Patch(64), 1, objective=LOSS).judge(detector(ssd()), mixed_batch())
    assert "\n" not in str(error.value)
