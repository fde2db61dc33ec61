"""Class names are compared, and labels matched by name, wherever a model meets a data set."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from natx.data import Part
from natx.data.base import InMemory
from natx.data.classes import align_classes, check_classes, first_difference
from natx.errors import DataError

MODEL = ("ant", "bee", "cat", "dog")
NUMBERS = ("0", "1", "2", "3")


def images(classes: Sequence[str]) -> InMemory:
    """Two images of each class, owner pixels tell the class by the place of its name in the alphabet."""
    labels = torch.arange(2 * len(classes)) % len(classes)
    pixels = torch.tensor([ord(classes[label][0]) for label in labels.tolist()])
    return InMemory(pixels.view(-1, 1, 1, 1).to(torch.uint8), labels, classes=classes)


@pytest.mark.parametrize(
    ("here", "there", "difference"),
    [
        (MODEL, MODEL, None),
        (None, MODEL, None),
        (MODEL, (), None),
        (MODEL, NUMBERS, None),  # a set without names of its own
        (NUMBERS, ("0", "1"), None),
        (("ant", "cat", "bee", "dog"), MODEL, "class 1 is 'bee' there and 'cat' here"),
        (("3", "2", "1", "0"), NUMBERS, "class 0 is '0' there and '3' here"),  # numbers that are names
        (("ant", "bee"), MODEL, "class 2, 'cat', is there only"),
        (MODEL, ("ant",), "class 1, 'bee', is here only"),
    ],
)
def test_the_first_difference(here: Sequence[str] | None, there: Sequence[str], difference: str | None) -> None:
    assert first_difference(here, there) == difference


@pytest.mark.parametrize("classes", [("dog", "cat", "bee", "ant"), ("cat", "ant"), ("dog",), MODEL])
@pytest.mark.parametrize("part", [False, True])
def test_labels_are_matched_by_name(classes: Sequence[str], part: bool) -> None:
    dataset = images(classes)
    aligned, notes = align_classes(Part(dataset, [1, 0]) if part and len(classes) > 1 else dataset, MODEL)
    batch = aligned.__getitems__(range(len(aligned)))
    assert [MODEL[label][0] for label in batch["data_samples"].tolist()] == list(map(chr, batch["inputs"].flatten()))
    assert (tuple(aligned.classes), aligned.num_classes) == (MODEL, 4)
    assert torch.equal(aligned.labels, batch["data_samples"])
    assert bool(notes) == (tuple(classes) != MODEL)
    assert aligned.fingerprint() == dataset.fingerprint()
    assert dataset.classes == tuple(classes)


@pytest.mark.parametrize(
    ("here", "there"),
    [
        (("bee", "ant", "ant", "dog"), MODEL),
        (("crane", "ant"), ("ant", "crane", "bee", "crane")),
        (("ant", "ant"), MODEL),
    ],
)
def test_classes_that_share_a_name_are_not_matched_by_it(here: Sequence[str], there: Sequence[str]) -> None:
    with pytest.raises(DataError, match="two are called '(ant|crane)', which no name tells apart"):
        align_classes(images(here), there)
    assert align_classes(images(here), here)[1] == []  # the same list
    assert align_classes(images(("bee", "ant")), ("ant", "crane", "bee", "crane"))[0].labels.tolist() == [2, 0, 2, 0]


def test_the_remark_says_what_was_done() -> None:
    assert (
        "4 classes in another order than the model (class 0 is 'ant'" in align_classes(images(MODEL[::-1]), MODEL)[1][0]
    )
    assert "2 of the 4 classes of the model" in align_classes(images(MODEL[1:3]), MODEL)[1][0]


def test_names_that_the_model_lacks_are_refused_and_not_blamed_on_the_head() -> None:
    with pytest.raises(DataError) as error:
        align_classes(images(("ant", "bee", "elk", "fox")), MODEL)
    assert "class 2 is 'cat' there and 'elk' here; the model has no class 'elk' and 1 more" in str(error.value)
    assert "num_classes" not in str(error.value)


def test_a_set_that_cannot_be_renumbered_is_refused() -> None:
    class Bare:
        classes = MODEL[::-1]

    with pytest.raises(DataError, match="numbered otherwise .* class 0 is 'ant' there and 'dog' here"):
        align_classes(Bare(), MODEL)


def test_checking_changes_nothing() -> None:
    check_classes(images(MODEL), MODEL, owner="x", remedy="y")
    with pytest.raises(DataError, match="not those of the start: class 0 is 'ant' there and 'dog' here; do it"):
        check_classes(images(MODEL[::-1]), MODEL, owner="the start", remedy="do it")
