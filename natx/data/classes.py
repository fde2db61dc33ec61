"""Class names: whether two sides number the same classes alike, and a data set in the order of a model's classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from natx.errors import DataError

Names = Sequence[str] | None


def first_difference(names: Names, reference: Names) -> str | None:
    """Where class names part from a reference ("there"), in words; None where they agree or a side has no names.

    Sets without names number their classes (``"0"``, ``"1"``, ...): such a list counts as names only beside one that
    has some of the same.
    """
    if not names or not reference or list(names) == list(reference):
        return None
    counted = _counted(names) + _counted(reference)
    if counted == 2 or (counted and not set(names) & set(reference)):
        return None
    for i, (name, other) in enumerate(zip(names, reference)):
        if name != other:
            return f"class {i} is {other!r} there and {name!r} here"
    longer, side = (names, "here") if len(names) > len(reference) else (reference, "there")
    i = min(len(names), len(reference))
    return f"class {i}, {longer[i]!r}, is {side} only"


def _counted(names: Sequence[str]) -> bool:
    """Whether class names only count the classes."""
    return list(names) == [str(i) for i in range(len(names))]


def check_classes(dataset: Any, classes: Names, *, owner: str, remedy: str) -> None:
    """Raise DataError where a data set's classes are not those of ``owner``, in the same order."""
    difference = first_difference(getattr(dataset, "classes", None), classes)
    if difference is not None:
        raise DataError(f"the data set's classes are not those of {owner}: {difference}; {remedy}")


def align_classes(dataset: Any, classes: Names, *, owner: str = "the model") -> tuple[Any, list[str]]:
    """A data set with its labels numbered as ``classes`` are, by name, and remarks on what was changed.

    Args:
        dataset: anything; one without ``classes`` is left as it is.
        classes: names in label order, or None where they are not known.
        owner: whose they are, for remarks and errors.

    Raises:
        DataError: the set has a class that is none of them, or is numbered otherwise and cannot be renumbered, as where
            two classes share a name.
    """
    names = getattr(dataset, "classes", None)
    difference = first_difference(names, classes)
    if difference is None or names is None or classes is None:
        return dataset, []
    most = Counter(names) | Counter(classes)
    if double := next((name for name in names if most[name] > 1), None):
        raise DataError(
            f"the data set's classes are not those of {owner} ({difference}), and two are called {double!r}, which no "
            "name tells apart: give every class a name of its own"
        )
    unknown = [name for name in names if name not in classes]
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise DataError(
            f"the data set's classes are not those of {owner}: {difference}; {owner} has no class "
            f"{unknown[0]!r}{more}: give the classes the names that they had in training, or leave them out"
        )
    if not hasattr(dataset, "with_classes"):
        raise DataError(
            f"the data set's classes are numbered otherwise than those of {owner}: {difference}; give its labels the "
            "same order"
        )
    count = len(names) if len(names) == len(classes) else f"{len(names)} of the {len(classes)}"
    order = "in another order than" if len(names) == len(classes) else "of"
    return dataset.with_classes(classes), [
        f"the data set has {count} classes {order} {owner} ({difference}): labels were matched by name"
    ]
