from __future__ import annotations

import dataclasses

import pytest
import torch
from scipy import stats

from natx.errors import ConfigError, ConstraintError
from natx.registry import THREATS
from natx.runtime.rng import uniform
from natx.threat import L2, Linf, ThreatModel

THREAT_MODELS = [Linf(8 / 255), Linf(0.3), L2(0.5), L2(2.0)]


def pixels(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def distance(threat: ThreatModel, delta: torch.Tensor) -> torch.Tensor:
    flat = delta.flatten(1)
    return flat.abs().amax(1) if isinstance(threat, Linf) else flat.pow(2).sum(1).sqrt()


@pytest.mark.parametrize(
    ("threat", "text"),
    [
        (Linf(8 / 255), "Linf 8/255"),
        (Linf(4 / 255), "Linf 4/255"),
        (Linf(0.5 / 255), "Linf 0.5/255"),
        (Linf(0.03), "Linf 7.65/255"),
        (Linf(0.031), "Linf 7.905/255"),
        (Linf(0.2), "Linf 51/255"),
        (Linf(0.0), "Linf 0/255"),
        (Linf(1.0), "Linf 255/255"),
        (L2(128 / 255), "L2 128/255"),
        (L2(0.5), "L2 127.5/255"),
        (L2(3.0), "L2 3"),
    ],
)
def test_prints_eps_as_a_fraction_of_255(threat: ThreatModel, text: str) -> None:
    assert str(threat) == text


@pytest.mark.parametrize("kind", [Linf, L2])
@pytest.mark.parametrize("eps", [-0.1, float("nan"), float("inf"), -float("inf")])
def test_impossible_eps_is_refused_in_one_line(kind: type[ThreatModel], eps: float) -> None:
    with pytest.raises(ConfigError, match=r"^eps .*") as error:
        kind(eps)
    assert "\n" not in str(error.value) and str(eps) in str(error.value)


def test_linf_eps_in_grey_levels_is_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match=r"eps=8/255") as error:
        Linf(8)
    assert "\n" not in str(error.value)


def test_is_immutable_comparable_and_built_from_configs() -> None:
    threat = THREATS.build(dict(type="Linf", eps=8 / 255))
    assert threat == Linf(8 / 255) and threat != Linf(4 / 255) and threat != L2(8 / 255)
    with pytest.raises(dataclasses.FrozenInstanceError):
        threat.eps = 0.5


@pytest.mark.parametrize("threat", THREAT_MODELS, ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_projection_is_inside_idempotent_and_keeps_what_is_allowed(threat: ThreatModel, masked: bool) -> None:
    x, far = pixels(6, 3, 5, 5), 3 * pixels(6, 3, 5, 5, seed=1) - 1
    mask = (pixels(6, 1, 5, 5, seed=2) > 0.4) if masked else None
    ball = threat.around(x, mask)
    once = ball.project(far)
    assert once.min() >= 0 and once.max() <= 1
    assert (distance(threat, once - x) <= threat.eps + 1e-12).all()
    assert (once != x).any()
    if masked:
        assert torch.equal(once[~mask.expand_as(x)], x[~mask.expand_as(x)])
    torch.testing.assert_close(ball.project(once), once, rtol=0, atol=1e-12)
    ball.verify(once)
    inside = x + 0.1 * (once - x)
    torch.testing.assert_close(ball.project(inside), inside, rtol=0, atol=1e-12)


def test_linf_projection_is_the_nearest_point() -> None:
    x, far = pixels(4, 3, 5, 5), 3 * pixels(4, 3, 5, 5, seed=1) - 1
    projected = Linf(0.1).around(x).project(far)
    expected = torch.minimum(torch.maximum(far, x - 0.1), x + 0.1).clamp(0, 1)
    torch.testing.assert_close(projected, expected, rtol=0, atol=1e-15)


def test_l2_projection_scales_the_perturbation_and_spares_masked_pixels() -> None:
    x = torch.full((2, 1, 2, 2), 0.5, dtype=torch.float64)
    delta = torch.tensor([[[[0.3, 0.4], [0.0, 0.4]]], [[[0.03, 0.04], [0.0, 0.0]]]], dtype=torch.float64)
    mask = torch.tensor([[[[1, 1], [1, 0]]]] * 2)
    projected = L2(0.25).around(x, mask).project(x + delta)
    # Image 1: (0.3, 0.4, 0) has length 0.5 and is halved; the masked 0.4 does not count. Image 2 is inside.
    expected = torch.tensor([[[[0.15, 0.2], [0.0, 0.0]]], [[[0.03, 0.04], [0.0, 0.0]]]], dtype=torch.float64)
    torch.testing.assert_close(projected - x, expected)


@pytest.mark.parametrize("threat", THREAT_MODELS, ids=str)
def test_starts_fill_the_ball_and_stay_inside(threat: ThreatModel) -> None:
    x = torch.full((200, 3, 4, 4), 0.5, dtype=torch.float64)
    ball = threat.around(x)
    start = ball.start(pixels(200, 3, 4, 4, seed=3), torch.linspace(0, 1, 201)[:-1])
    ball.verify(start)
    assert distance(threat, start - x).max() > 0.9 * threat.eps  # reaches the rim
    assert ((start - x).flatten(1).mean(1)).abs().mean() < 0.2 * threat.eps  # in no preferred direction


def test_linf_start_is_uniform_in_the_box() -> None:
    x, noise = pixels(3, 3, 4, 4), pixels(3, 3, 4, 4, seed=1)
    expected = (x + 0.2 * (2 * noise - 1)).clamp(0, 1)
    torch.testing.assert_close(Linf(0.2).around(x).start(noise, torch.zeros(3)), expected)


def test_l2_starts_are_isotropic_and_their_distance_has_a_draw_of_its_own() -> None:
    """Against closed forms: the distance is the image's own draw times eps, a direction's components are alike."""
    count, shape, eps = 4000, (1, 3, 4), 0.4
    x = torch.full((count, *shape), 0.5, dtype=torch.float64)
    noise = uniform(torch.arange(count), shape, seed=5)
    radius = uniform(torch.arange(count), (), seed=5, stream=1)
    delta = (L2(eps).around(x).start(noise, radius) - x).flatten(1)
    lengths = delta.norm(dim=1)
    torch.testing.assert_close(lengths, radius.double() * eps)
    assert stats.kstest(lengths.numpy() / eps, "uniform").pvalue > 1e-3
    units = delta / lengths[:, None]
    for component in units.unbind(1):  # each of 12 has mean 0, variance 1/12, and tells nothing of the length
        assert abs(float(component.mean())) < 5 / (12 * count) ** 0.5
        assert abs(float(component.square().mean()) * 12 - 1) < 0.15
        assert abs(float(torch.corrcoef(torch.stack([lengths, component]))[0, 1])) < 5 / count**0.5
    # The square of a component of a point on the sphere in d dimensions has a Beta(1/2, (d-1)/2) distribution.
    assert stats.kstest(units[:, 0].square().numpy(), stats.beta(0.5, 5.5).cdf).pvalue > 1e-3


def test_l2_steps_and_starts_have_their_length_inside_the_mask() -> None:
    """What the mask leaves out takes nothing of the length."""
    x, draws = torch.full((8, 3, 4, 4), 0.5, dtype=torch.float64), torch.linspace(0.1, 0.9, 8)
    mask = (pixels(8, 1, 4, 4, seed=2) > 0.5).double()
    ball = L2(0.4).around(x, mask)
    start, step = ball.start(pixels(8, 3, 4, 4, seed=3), draws) - x, ball.steepest(pixels(8, 3, 4, 4, seed=4) - 0.5)
    torch.testing.assert_close(start.flatten(1).norm(dim=1), 0.4 * draws.double())
    torch.testing.assert_close(step.flatten(1).norm(dim=1), torch.ones(8, dtype=torch.float64))
    assert not (step * (1 - mask)).any() and not (start * (1 - mask)).any()


def test_a_ball_without_radius_holds_its_image_alone() -> None:
    x = pixels(2, 3, 4, 4)
    for threat in (Linf(0.0), L2(0.0)):
        assert torch.equal(threat.around(x).project(x), x)


def test_extreme_draws_give_starts_inside_the_ball() -> None:
    """The largest and the smallest of 2^24 draws are not at infinity."""
    x = torch.full((2, 1, 2, 2), 0.5)
    noise = torch.stack([torch.full((1, 2, 2), 1 - 2.0**-24), torch.zeros(1, 2, 2)])
    ball = L2(0.3).around(x)
    start = ball.start(noise, torch.tensor([0.5, 0.5]))
    ball.verify(start)
    torch.testing.assert_close(start[0] - x[0], x[1] - start[1])  # as far in opposite directions


def test_steps_follow_the_sign_or_the_normalised_gradient() -> None:
    x = torch.full((2, 1, 2, 2), 0.5, dtype=torch.float64)
    grad = torch.tensor([[[[3.0, -4.0], [0.0, 0.0]]], [[[0.0, 0.0], [0.0, 0.0]]]], dtype=torch.float64)
    torch.testing.assert_close(Linf(0.3).around(x).steepest(grad), grad.sign())
    l2 = L2(0.3).around(x).steepest(grad)
    torch.testing.assert_close(l2[0], grad[0] / 5)
    assert torch.equal(l2[1], torch.zeros_like(x[1]))  # no gradient: the image stays, and nothing is divided by zero


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.1)], ids=str)
@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ("shape", "shape"),
        ("nan", "not finite"),
        ("infinite", "not finite"),
        ("below", r"left \[0,1\]"),
        ("above", r"left \[0,1\]"),
        ("ball", "left the ball"),
        ("mask", "mask"),
    ],
)
def test_verify_names_each_violation(threat: ThreatModel, harm: str, message: str) -> None:
    x = torch.full((2, 1, 3, 3), 0.5)
    x[0, 0, 0, 0], x[1, 0, 0, 0] = 0.02, 0.98
    mask = torch.ones(2, 1, 3, 3)
    mask[1, 0, 2, 2] = 0
    ball, bad = threat.around(x, mask), x.clone()
    ball.verify(bad)
    if harm == "shape":
        bad = bad[:1]
    elif harm == "nan":
        bad[1, 0, 1, 1] = torch.nan
    elif harm == "infinite":
        bad[1, 0, 1, 1] = torch.inf
    elif harm == "below":
        bad[0, 0, 0, 0] = -0.01
    elif harm == "above":
        bad[1, 0, 0, 0] = 1.01
    elif harm == "ball":
        bad[1, 0, 1, 1] += 0.1 + 1e-3
    elif harm == "mask":
        bad[1, 0, 2, 2] += 1e-3
    with pytest.raises(ConstraintError, match=message):
        ball.verify(bad)


def test_verify_measures_l2_over_the_whole_image() -> None:
    x = torch.full((1, 1, 10, 10), 0.5)
    L2(0.1).around(x).verify(x + 0.0099)  # length 0.099
    with pytest.raises(ConstraintError, match="left the ball"):
        L2(0.1).around(x).verify(x + 0.011)


def test_verify_accepts_an_empty_batch() -> None:
    Linf(0.1).around(torch.empty(0, 3, 4, 4)).verify(torch.empty(0, 3, 4, 4))
