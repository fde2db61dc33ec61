"""Which attacks can attack a task at all, and what their settings leave undone, asked before the first image."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from natx.attacks import Attack
from natx.errors import ConfigError, UnsupportedError
from natx.task import Task

OnUnsupported = Literal["refuse", "skip"]


def applicable(
    attacks: Sequence[Attack], task: Task, *, on_unsupported: OnUnsupported
) -> tuple[list[Attack], dict[str, str]]:
    """The attacks that can attack a task, and by column why the others cannot.

    Args:
        attacks: attacks.
        task: the model.
        on_unsupported: 'refuse' raises at the first that cannot, 'skip' leaves it out.

    Raises:
        ConfigError: another ``on_unsupported``; or what an attack refuses (:meth:`natx.attacks.Attack.check`).
        UnsupportedError: none of the attacks is left: a worst case without an attack would be the clean figure.
    """
    if on_unsupported not in ("refuse", "skip"):
        raise ConfigError(f"on_unsupported is 'refuse' or 'skip'; got {on_unsupported!r}")
    able, reasons = [], dict[str, str]()
    for attack in attacks:
        try:
            attack.check(task)
        except UnsupportedError as error:
            if on_unsupported == "refuse":
                raise
            reasons.update(dict.fromkeys(attack.columns(), str(error)))
        else:
            able.append(attack)
    if reasons and not able:
        texts = "; ".join(f"{column}: {why}" for column, why in reasons.items())
        raise UnsupportedError(f"none of the attacks is applicable, so there is nothing to judge by ({texts})")
    return able, reasons


def applied(attacks: Sequence[Attack], not_applicable: Collection[str]) -> list[Attack]:
    """The attacks of an evaluation that could attack its task, by the columns of those that could not."""
    return [attack for attack in attacks if not set(not_applicable) & set(attack.columns())]


def settings_remarks(attack: Attack) -> list[str]:
    """What a report should say of an attack's settings: what keeps it from its ball, or judges another model."""
    if attack.bn_mode == "eval":
        return attack.shortfalls()
    statistics = (
        f"{attack.name}: with bn_mode='train' an image is judged with the batch statistics of the images beside it, "
        "not by the model as it is deployed: leave bn_mode out"
    )
    return [*attack.shortfalls(), statistics]
