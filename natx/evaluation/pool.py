"""The worst case over a pool of attacks, without each attack's own number: cheapest first, on what is still right."""

from __future__ import annotations

import math
from collections.abc import Sequence

from natx.attacks import Attack, AutoAttack


def cheapest_first(attacks: Sequence[Attack]) -> list[Attack]:
    """The attacks by the forwards and backwards that they spend on an image which does not break.

    Those whose cost depends on the model (of a library) come after the others, AutoAttack last; ties keep their order.
    """

    def rank(attack: Attack) -> tuple[bool, float]:
        cost = attack.cost_per_image()
        return (isinstance(attack, AutoAttack), math.inf if cost is None else sum(cost))

    return sorted(attacks, key=rank)
