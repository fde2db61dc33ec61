from __future__ import annotations

import pickle
from collections import Counter
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from natx.data import Part
from natx.errors import ConfigError
from natx.registry import SAMPLERS
from natx.testing import TinyDataset
from tasks.reid import sampler as module
from tasks.reid.sampler import IdentitySampler


class People:
    """So many images of each identity."""

    def __init__(self, *counts: int, classes: tuple[str, ...] | None = None) -> None:
        self.labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        self.labels = self.labels[torch.randperm(len(self.labels), generator=torch.Generator().manual_seed(0))]
        if classes:
            self.classes = classes

    def __len__(self) -> int:
        return len(self.labels)


def batches(sampler: IdentitySampler, epoch: int = 0) -> list[list[int]]:
    sampler.set_epoch(epoch)
    positions = list(sampler)
    assert len(positions) == len(sampler)
    return [positions[i : i + sampler.batch_size] for i in range(0, len(positions), sampler.batch_size)]


def on_rank(monkeypatch: pytest.MonkeyPatch, rank: int, world_size: int, *args: Any, **kwargs: Any) -> IdentitySampler:
    with monkeypatch.context() as patch:
        patch.setattr(module, "get_dist_info", lambda: (rank, world_size))
        return IdentitySampler(*args, **kwargs)


@pytest.mark.parametrize(("batch_size", "instances"), [(8, 4), (12, 2), (6, 1), (20, 5)])
def test_a_batch_is_some_images_of_some_identities(batch_size: int, instances: int) -> None:
    data = People(*([7] * 11))
    sampler = IdentitySampler(data, batch_size, instances=instances)
    assert len(sampler) == 77 // batch_size * batch_size
    for epoch in range(3):
        for batch in batches(sampler, epoch):
            counts = Counter(data.labels[batch].tolist())
            assert set(counts.values()) == {instances} and len(counts) == batch_size // instances
            assert len(set(batch)) == batch_size  # enough images: none twice


@pytest.mark.parametrize(("images", "world_size", "expected"), [(77, 1, 9), (77, 2, 4), (77, 9, 1), (77, 20, 1)])
def test_length(monkeypatch: pytest.MonkeyPatch, images: int, world_size: int, expected: int) -> None:
    sampler = on_rank(monkeypatch, 0, world_size, People(*([7] * 11)), 8)
    assert len(sampler) == expected * 8 == len(list(sampler))


def test_small_sets_give_one_batch() -> None:
    sampler = IdentitySampler(People(1, 2, 1), 12)
    assert len(sampler) == 12 and len(batches(sampler)) == 1


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_share_one_sequence(monkeypatch: pytest.MonkeyPatch, world_size: int) -> None:
    data = People(*([9] * 13))
    for epoch in (0, 4):
        alone = batches(IdentitySampler(data, 8, seed=5), epoch)
        parts = [batches(on_rank(monkeypatch, rank, world_size, data, 8, seed=5), epoch) for rank in range(world_size)]
        together = [batch for step in zip(*parts) for batch in step]
        assert together == alone[: len(together)] and len(together) == len(data) // (8 * world_size) * world_size
        for step in zip(*parts):
            assert len(set(sum(step, []))) == 8 * world_size  # no image on two processes


def test_the_draw_depends_on_seed_and_epoch_only() -> None:
    data, state = People(*([6] * 9)), torch.get_rng_state()
    sampler = IdentitySampler(data, 8, seed=1)
    epochs = [batches(sampler, epoch) for epoch in range(4)]
    assert all(epochs[i] != epochs[j] for i in range(4) for j in range(i))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert batches(sampler, 2) == batches(IdentitySampler(data, 8, seed=1), 2) == epochs[2]
    torch.set_rng_state(state)
    assert batches(IdentitySampler(data, 8, seed=2), 0) not in epochs
    assert batches(IdentitySampler(data, 8, seed=2), 0) != batches(IdentitySampler(data, 8, seed=1), 1)


def test_identities_and_images_come_in_passes() -> None:
    data = People(*([8] * 10))
    positions = sum(batches(IdentitySampler(data, 12)), [])  # 3 of 10 identities a batch: passes end inside batches
    shown = [int(data.labels[i]) for i in positions[::4]]
    counts = Counter(shown)
    assert len(shown) == 18 and set(counts) == set(range(10)) and max(counts.values()) - min(counts.values()) <= 1
    images = Counter(positions)
    assert set(images.values()) == {1}  # at most 8 images an identity were asked for: none twice


def test_every_image_comes_in_few_epochs() -> None:
    data = People(3, 5, 8, 13, 21)
    sampler, seen = IdentitySampler(data, 8), Counter()
    for epoch in range(40):
        seen.update(sum(batches(sampler, epoch), []))
    assert set(seen) == set(range(50))


def test_identities_with_few_images_repeat_them() -> None:
    data = People(1, 2, 3, 4, 9)
    for epoch in range(3):
        for batch in batches(IdentitySampler(data, 20), epoch):
            images = Counter(batch)
            by_label = {label: [images[i] for i in images if data.labels[i] == label] for label in range(5)}
            assert by_label[0] == [4] and by_label[1] == [2, 2] and sorted(by_label[2]) == [1, 1, 2]
            assert by_label[3] == by_label[4] == [1] * 4


def test_notes() -> None:
    assert IdentitySampler(People(4, 5, 6), 8).notes() == []
    assert IdentitySampler(People(4, 2, 6), 8).notes() == [
        "1 of 3 identities has fewer than 4 images: its images are repeated in a batch"
    ]
    people = People(4, 2, 6, 1, classes=("3", "5", "8", "12"))
    assert IdentitySampler(people, 8).notes() == [
        "2 of 4 identities have fewer than 4 images: theirs are repeated in a batch; 1 has a single image and gives "
        "the triplet loss no positive pair (identity 12)"
    ]
    [note] = IdentitySampler(People(1, 1, 6, 1, 1, 1), 8).notes()
    assert "5 have a single image and give the triplet loss no positive pair (identities 0, 1, 3 and 2 more)" in note


def test_parts_of_a_set() -> None:
    data = TinyDataset(60, num_classes=6)
    part = Part(data, [i for i in range(60) if i % 6 in (1, 2, 5)])
    part.dataset.classes = tuple("abcdef")
    sampler = IdentitySampler(part, 6, instances=3)
    assert len(sampler) == 30 and sampler.labels == [1, 2, 5]
    for batch in batches(sampler):
        labels = part.__getitems__(batch)["data_samples"]
        assert len(labels.unique()) == 2 and set(labels.tolist()) <= {1, 2, 5}
    [note] = IdentitySampler(Part(data, [0, 6, 1, 7, 3]), 4, instances=2).notes()
    assert "(identity d)" in note


def test_in_a_loader() -> None:
    data = TinyDataset(60, num_classes=6)
    sampler = SAMPLERS.build(dict(type="IdentitySampler", dataset=data, batch_size=6, instances=3, seed=2))
    loader = DataLoader(data, 6, sampler=sampler, drop_last=True, collate_fn=lambda batch: batch)
    assert len(loader) == 10 and all(len(batch["data_samples"].unique()) == 2 for batch in loader)
    again = pickle.loads(pickle.dumps(sampler))
    again.set_epoch(3), sampler.set_epoch(3)
    assert list(again) == list(sampler)


@pytest.mark.parametrize(
    ("counts", "batch_size", "instances", "parts"),
    [
        ((4, 4, 4), 10, 4, ("batch_size=10", "instances=4", "multiple")),
        ((4, 4, 4), 0, 4, ("batch_size=0",)),
        ((4, 4, 4), 4, 0, ("instances=0",)),
        ((4, 4, 4), -4, 4, ("batch_size=-4",)),
        ((4, 4, 4), 16, 4, ("batch of 16", "needs 4 identities", "has 3", "lower batch_size")),
    ],
)
def test_batches_that_cannot_be(
    counts: tuple[int, ...], batch_size: int, instances: int, parts: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as caught:
        IdentitySampler(People(*counts), batch_size, instances=instances)
    text = str(caught.value)
    assert "\n" not in text and all(part in text for part in parts), text


def test_data_without_labels_is_refused() -> None:
    with pytest.raises(ConfigError, match="labels; list has none"):
        IdentitySampler([1, 2], 4)
