from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from natx.data.split import Part, hold_out, subset
from natx.errors import ConfigError
from natx.testing import TinyDataset


class Unbalanced(TinyDataset):
    def __init__(self) -> None:
        super().__init__(100, num_classes=3)
        self.labels = torch.tensor([0] * 70 + [1] * 20 + [2] * 10)


@pytest.mark.parametrize("count", [1, 13, 50, 99])
def test_parts_are_disjoint_and_complete(count: int) -> None:
    train, held = hold_out(TinyDataset(100), count, seed=3)
    assert len(held) == count and len(train) == 100 - count
    assert sorted([*train.positions, *held.positions]) == list(range(100))


@pytest.mark.parametrize("count", [5, 12, 50])
def test_held_out_images_are_balanced(count: int) -> None:
    _, held = hold_out(TinyDataset(100), count)
    counts = torch.bincount(held.dataset.labels[held.positions], minlength=5)
    assert counts.max() - counts.min() <= 1


def test_held_out_images_are_balanced_as_far_as_classes_last() -> None:
    _, held = hold_out(Unbalanced(), 45)
    counts = torch.bincount(held.dataset.labels[held.positions], minlength=3)
    assert counts[2] == 10 and abs(int(counts[0]) - int(counts[1])) <= 1  # the rare class is used up


def test_draw_depends_on_the_seed_only() -> None:
    first = hold_out(TinyDataset(100), 20, seed=3)[1].positions
    state = torch.get_rng_state()
    with torch.random.fork_rng():
        torch.manual_seed(1234)
        torch.rand(5)
        assert hold_out(TinyDataset(100), 20, seed=3)[1].positions == first
    assert torch.equal(torch.get_rng_state(), state)
    assert hold_out(TinyDataset(100), 20, seed=4)[1].positions != first
    assert first != list(range(20))


def test_data_without_labels_can_be_split() -> None:
    class Plain(TinyDataset):
        labels = None

        def __init__(self) -> None:
            pass

        def __len__(self) -> int:
            return 30

    train, held = hold_out(Plain(), 10)
    assert sorted([*train.positions, *held.positions]) == list(range(30))


@pytest.mark.parametrize("count", [0, -1, 100, 101])
def test_a_part_without_images_is_refused(count: int) -> None:
    with pytest.raises(ConfigError, match=f"heldout={count}.*100"):
        hold_out(TinyDataset(100), count)


def test_a_part_keeps_the_index_of_the_whole_set() -> None:
    data = TinyDataset(20)
    batch = Part(data, [7, 3, 19]).__getitems__([2, 0])
    assert batch["index"].tolist() == [19, 7]
    assert torch.equal(batch["inputs"], data.images[[19, 7]])
    assert torch.equal(batch["data_samples"], data.labels[[19, 7]])


def test_a_part_answers_for_its_data_set() -> None:
    data = TinyDataset(20)
    part = Part(data, [1])
    assert part.num_classes == 5 and part.fingerprint() == data.fingerprint() and len(part) == 1
    with pytest.raises(AttributeError):
        _ = part.no_such_thing


def test_subset_is_the_first_images() -> None:
    data = TinyDataset(20)
    assert subset(data, None) is data
    assert subset(data, 6).__getitems__(range(6))["index"].tolist() == list(range(6))
    for count in (0, -3, 21):
        with pytest.raises(ConfigError, match=str(count)):
            subset(data, count)


def test_subset_of_images_sorted_by_class_has_all_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    data = TinyDataset(100, num_classes=5)
    data.labels = torch.arange(5).repeat_interleave(20)
    monkeypatch.setattr(data, "sorted_by_class", True, raising=False)
    part = subset(data, 10)
    assert torch.bincount(part.labels, minlength=5).tolist() == [2] * 5
    assert subset(data, 100).positions == list(range(100))


def test_labels_of_a_part_are_those_of_its_images() -> None:
    data = TinyDataset(20)
    assert Part(data, [7, 3]).labels.tolist() == [int(data.labels[7]), int(data.labels[3])]


class Views(TinyDataset):
    """A set that shows its images brighter in an evaluation."""

    def for_evaluation(self) -> Views:
        view = copy.copy(self)
        view.images = self.images / 2 + 0.5
        return view


def test_a_part_of_a_part_holds_out_its_own_images() -> None:
    data = Views(40)
    part = Part(data, range(1, 40, 2))
    rest, held = hold_out(part, 6)
    here, there = rest.__getitems__(range(14)), held.__getitems__(range(6))
    assert sorted(here["index"].tolist() + there["index"].tolist()) == list(range(1, 40, 2))
    torch.testing.assert_close(here["inputs"], data.images[here["index"]])
    torch.testing.assert_close(there["inputs"], data.images[there["index"]] / 2 + 0.5)


@pytest.mark.parametrize("divide", [subset, hold_out])
def test_a_part_of_what_divides_itself_is_not_divided(divide: Any) -> None:
    class Whole(TinyDataset):
        hold_out = subset = None  # of identities, say

    with pytest.raises(ConfigError, match="a part of Whole cannot be divided further"):
        divide(Part(Whole(20), range(10)), 3)
