"""Which wrong class each class is to become."""

from __future__ import annotations

from torch import Tensor


def other_classes(draws: Tensor, present: Tensor) -> Tensor:
    """A class for each class, drawn from those that are not ``present``; another one where all are.

    Args:
        draws: uniform draws ``[C, C]``.
        present: classes, int64 ``[n]``.

    Returns:
        int64 ``[C]``.
    """
    draws = draws.clone()
    # One that is present is taken only where nothing else is left, and a class never becomes itself.
    draws[:, present] -= 1
    return draws.fill_diagonal_(-2).argmax(1)


def distinct_classes(draws: Tensor, present: Tensor) -> Tensor:
    """The same with another wrong class for each class that is present, as ``generate_mapping.m`` of DAG's code draws.

    The classes that are not present are put in random order and dealt to those that are, from the lowest on. Where
    there are fewer of them (their code stops there), they are dealt again; where there are none, see
    :func:`other_classes`.
    """
    wrong, classes = other_classes(draws, present), present.unique()
    order = draws[0].argsort(stable=True)
    absent = order[~(order[:, None] == classes).any(1)]
    if len(absent):
        places = classes.new_tensor(range(len(classes))) % len(absent)
        wrong[classes] = absent[places]
    return wrong
