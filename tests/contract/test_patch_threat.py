from __future__ import annotations

from typing import Any

import pytest
import torch

from natx.attacks.patch import Patch
from natx.errors import ConfigError, ConstraintError
from natx.registry import THREATS
from natx.threat import Linf


def pixels(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    ("patch", "text"),
    [
        (Patch(8), "patch 8x8"),
        (Patch(8, image=32), "patch 8x8 of 32x32"),
        (Patch(4, 6, image=(32, 48)), "patch 4x6 of 32x48"),
        (Patch(8, image=32, corner=(24, 0)), "patch 8x8 of 32x32 at row 24, column 0"),
    ],
)
def test_prints_its_size_and_no_eps(patch: Patch, text: str) -> None:
    assert str(patch) == text


def test_is_comparable_and_built_from_configs() -> None:
    built = THREATS.build(dict(type="Patch", height=8, image=[32, 32], corner=[1, 2]))
    assert built == Patch(8, 8, image=32, corner=(1, 2)) and hash(built) == hash(Patch(8, image=32, corner=(1, 2)))
    assert built != Patch(8, image=32) and built != Linf(8 / 255)
    with pytest.raises(ConfigError, match="no eps that could be scaled"):
        built.scaled(0.5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(height=0), "size is two whole numbers from 1 on"),
        (dict(height=3.5), "size is two whole numbers"),
        (dict(height=3, corner=(1,)), "corner is two whole numbers from 0 on"),
        (dict(height=3, corner=(-1, 0)), "corner is two whole numbers from 0 on"),
        (dict(height=9, image=8), "9x9 of 8x8 does not fit an image of 8x8"),
        (dict(height=4, image=8, corner=(5, 0)), "does not fit an image of 8x8"),
    ],
)
def test_impossible_settings_are_refused_in_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        Patch(**settings)
    assert "\n" not in str(error.value)


def test_images_that_it_does_not_fit_or_is_not_for_are_refused() -> None:
    x = pixels(2, 3, 6, 8)
    Patch(6, 8).around(x)
    with pytest.raises(ConfigError, match="does not fit an image of 6x8"):
        Patch(7).around(x)
    with pytest.raises(ConfigError, match="not meant for an image of 6x8"):
        Patch(3, image=8).around(x)
    mask = torch.ones(2, 1, 6, 8)
    mask[1, :, :, 5:] = 0  # the second image is 6 x 5
    with pytest.raises(ConfigError, match="does not fit an image of 6x5"):
        Patch(6).around(x, mask)


def test_start_step_and_projection_stay_in_the_rectangle() -> None:
    x, far, noise = pixels(3, 3, 6, 8), 3 * pixels(3, 3, 6, 8, seed=1) - 1, pixels(3, 3, 6, 8, seed=2)
    ball = Patch(2, 3).around(x).at(torch.tensor([[0, 0], [4, 5], [1, 2]]))
    inside = torch.zeros(3, 1, 6, 8, dtype=torch.bool)
    inside[0, :, 0:2, 0:3] = inside[1, :, 4:6, 5:8] = inside[2, :, 1:3, 2:5] = True
    assert torch.equal(ball.inside, inside)
    assert torch.equal(ball.start(noise, torch.zeros(3)), torch.where(inside, noise, x))
    assert torch.equal(ball.project(far), torch.where(inside, far.clamp(0, 1), x))
    assert torch.equal(ball.steepest(far), torch.where(inside, far.sign(), 0.0))
    assert torch.equal(ball.covered(0.5), torch.where(inside, 0.5, x))
    torch.testing.assert_close(ball.distance(ball.project(far)), ((far.clamp(0, 1) - x).abs() * inside).amax((1, 2, 3)))
    for result in (ball.project(far), x):
        ball.verify(result)
    part = ball.select(torch.tensor([2, 0]))
    assert torch.equal(part.inside, inside[[2, 0]]) and torch.equal(part.x, x[[2, 0]])


@pytest.mark.parametrize("placed", [False, True])
def test_one_pixel_outside_the_rectangle_is_found(placed: bool) -> None:
    x = torch.full((2, 1, 6, 6), 0.5)
    ball = Patch(2, 3).around(x)
    ball = ball.at(torch.tensor([[1, 1], [3, 2]])) if placed else ball
    good = x.clone()
    good[0, 0, 1, 1] = good[0, 0, 2, 3] = good[1, 0, 3:5, 2:5] = 1.0
    ball.verify(good)
    for row, column in ((0, 1), (3, 1), (1, 0), (1, 4)):
        bad = good.clone()
        bad[0, 0, row, column] += 1e-4
        with pytest.raises(ConstraintError, match="outside its patch 2x3" if placed else "left patch 2x3"):
            ball.verify(bad)
    with pytest.raises(ConstraintError, match=r"lie in 3 rows and 3 columns"):
        bad = good.clone()
        bad[0, 0, 3, 2] = 0.0
        Patch(2, 3).around(x).verify(bad)
    elsewhere = x.clone()
    elsewhere[:, :, 4:, 3:] = 0.0
    Patch(2, 3).around(x).verify(elsewhere)
    with pytest.raises(ConstraintError, match="outside its patch"):
        Patch(2, 3, corner=(1, 1)).around(x).verify(elsewhere)


def test_pixels_beyond_black_and_white_and_padding_are_found() -> None:
    x, mask = torch.full((1, 1, 4, 6), 0.5), torch.ones(1, 1, 4, 6)
    mask[..., 4:] = 0
    ball, bad = Patch(2).around(x, mask), x.clone()
    bad[0, 0, 0, 0] = 1.01
    with pytest.raises(ConstraintError, match=r"left \[0,1\]"):
        ball.verify(bad)
    bad = x.clone()
    bad[0, 0, 0, 4] = 0.0
    with pytest.raises(ConstraintError, match="padding"):
        ball.verify(bad)
    assert ball.room.tolist() == [[3, 3]]  # places are counted without the padding


def test_without_a_place_nothing_can_be_projected() -> None:
    with pytest.raises(ConfigError, match="no place yet: attack with PatchPGD, or give it a corner"):
        Patch(2).around(torch.zeros(1, 1, 4, 4)).project(torch.zeros(1, 1, 4, 4))
