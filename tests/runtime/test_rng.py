from __future__ import annotations

import math

import pytest
import torch

from natx.runtime.rng import keys_in_batch, uniform


def lowbias32(h: int) -> int:
    """Wellons' hash on unsigned Python integers: independent of the tensor version's signed tricks."""
    h ^= h >> 16
    h = h * 0x7FEB352D & 0xFFFFFFFF
    h ^= h >> 15
    h = h * 0x846CA68B & 0xFFFFFFFF
    return h ^ h >> 16


def reference(index: int, position: int, *, seed: int, epoch: int, stream: int) -> float:
    keys = []
    for salt in (0x243F6A88, 0x13198A2E):
        key = lowbias32(index & 0xFFFFFFFF ^ salt)
        for word in (seed & 0xFFFFFFFF, seed >> 32, epoch, stream):
            key = lowbias32(key ^ word * 0x9E3779B1 + 0x7F4A7C15 & 0xFFFFFFFF)
        keys.append(key)
    bits = lowbias32(lowbias32(position + keys[0] & 0xFFFFFFFF) ^ keys[1])
    return (bits >> 8) / 2**24


@pytest.mark.parametrize("index", [0, 1, 49_999, 2**31 - 1, 2**31, 2**32 - 1])
@pytest.mark.parametrize(("seed", "epoch", "stream"), [(0, 0, 0), (7, 300, 2), (2**31 + 5, 1, 0), (2**40 + 3, 0, 9)])
def test_equals_the_hash_on_unsigned_integers(index: int, seed: int, epoch: int, stream: int) -> None:
    drawn = uniform(torch.tensor([index]), (2, 3), seed=seed, epoch=epoch, stream=stream).flatten().tolist()
    expected = [reference(index, p, seed=seed, epoch=epoch, stream=stream) for p in range(6)]
    assert drawn == expected


def test_an_image_keeps_its_draw_in_any_batch() -> None:
    whole = uniform(torch.arange(50), (3, 4, 4), seed=3, epoch=2)
    chosen = torch.tensor([41, 3, 3, 17])
    assert torch.equal(uniform(chosen, (3, 4, 4), seed=3, epoch=2), whole[chosen])


@pytest.mark.parametrize("change", [{"seed": 1}, {"seed": 2**32}, {"epoch": 1}, {"stream": 1}])
def test_seed_epoch_and_stream_give_unrelated_draws(change: dict[str, int]) -> None:
    first = uniform(torch.arange(8), (1000,), seed=0).flatten()
    second = uniform(torch.arange(8), (1000,), **{"seed": 0, **change}).flatten()
    correlation = torch.corrcoef(torch.stack([first, second]))[0, 1]
    assert abs(float(correlation)) < 5 / math.sqrt(8000)


def test_words_do_not_stand_in_for_each_other() -> None:
    settings = [(s, e, t) for s in range(4) for e in range(4) for t in range(4)]
    draws = {tuple(uniform(torch.tensor([5]), (4,), seed=s, epoch=e, stream=t)[0].tolist()) for s, e, t in settings}
    assert len(draws) == len(settings)


def test_uniform_in_the_half_open_interval() -> None:
    draw = uniform(torch.arange(100), (3, 32, 32), seed=11).double()  # 307,200 numbers
    n = draw.numel()
    assert draw.dtype == torch.float64 and draw.min() >= 0 and draw.max() < 1
    assert abs(float(draw.mean()) - 0.5) < 5 * math.sqrt(1 / 12 / n)
    counts = torch.histc(draw, bins=64, min=0, max=1)
    chi_square = float(((counts - n / 64) ** 2 / (n / 64)).sum())
    assert chi_square < 63 + 5 * math.sqrt(2 * 63)
    # every image by itself, neighbouring pixels and neighbouring images
    assert (draw.flatten(1).mean(1) - 0.5).abs().max() < 5 * math.sqrt(1 / 12 / 3072)
    centred = draw - 0.5
    for a, b in [(centred[..., 1:], centred[..., :-1]), (centred[1:], centred[:-1])]:
        assert abs(float((a * b).mean()) * 12) < 5 / math.sqrt(a.numel())


def test_result_has_shape_and_precision_of_pixels() -> None:
    drawn = uniform(torch.tensor([4, 9]), (3, 5, 7), seed=0)
    assert drawn.shape == (2, 3, 5, 7) and drawn.dtype == torch.float32
    assert uniform(torch.tensor([], dtype=torch.int64), (3, 5, 7), seed=0).shape == (0, 3, 5, 7)


def test_leaves_the_index_and_the_global_generator_alone() -> None:
    index, state = torch.arange(4), torch.get_rng_state()
    first = uniform(index, (10,), seed=0)
    assert torch.equal(index, torch.arange(4)) and torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    assert torch.equal(uniform(index, (10,), seed=0), first)


def test_repeats_of_an_image_in_a_batch_draw_numbers_of_their_own() -> None:
    index = torch.tensor([7, 3, 7, 7, 0, 3])
    keys = keys_in_batch(index)
    assert torch.equal(keys[[0, 1, 4]], index[[0, 1, 4]]) and len(set(keys.tolist())) == 6
    assert torch.equal(keys_in_batch(index[2:]), torch.stack([*keys[[0, 2]], *keys[[4, 1]]]))  # counted in the batch
    assert torch.equal(keys_in_batch(torch.tensor([5, 2, 9])), torch.tensor([5, 2, 9]))
    draws = uniform(keys, (20,), seed=0)
    assert torch.equal(draws[0], uniform(torch.tensor([7]), (20,), seed=0)[0])
    assert all((draws[i] != draws[j]).any() for i in range(6) for j in range(i))
    whole = torch.arange(2**27 - 4, 2**27).repeat(32)  # the last images of the largest set, 32 times
    assert len(torch.unique(keys_in_batch(whole) & 0xFFFFFFFF)) == len(whole)
