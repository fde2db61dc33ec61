"""Parts that stand in several places: frozen models, threat models, the classes that classes are built from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from natx.config.schema.built import PARTS, Built
from natx.config.schema.section import Keys, Section, entry
from natx.registry import ATTACKS, METHODS, OBJECTIVES, TASKS, TERMS, THREATS

Task = Annotated[Any, Built(TASKS)]
Threat = Annotated[Any, Built(THREATS)]
Attack = Annotated[Any, Built(ATTACKS)]
OptionalAttack = Annotated[Any, Built(ATTACKS, optional=True)]
Attacks = Annotated[Any, Built(ATTACKS, several=True)]
Method = Annotated[Any, Built(METHODS)]


class FrozenModel(Section):
    """An adversary, a teacher, a source of copies or of transferred attacks: a model whose weights stay as they are."""

    config: str | None = entry(
        "a training config: the model's architecture and, without `checkpoint`, the training that runs first",
        default=None,
    )
    options: dict[str, Any] | None = entry("overrides of that config, by dotted key", default=None)
    checkpoint: str | Path | None = entry("its weights; without them `config` is trained first, once", default=None)
    task: Task = entry("the model itself, in place of `config`", default=None)
    state: Literal["random"] | None = entry("`'random'`: weights as they are drawn", default=None)
    ema: bool = entry("take the average of the weights that `checkpoint` holds beside them", default=False)
    members: list[FrozenModel] | None = entry("several models instead, whose logits are averaged", default=None)


# Arguments that hold a part in every class that takes them.
PARTS |= {
    **dict.fromkeys(("adversary", "teacher", "source"), Keys(FrozenModel)),
    **dict.fromkeys(("attack", "refine"), Built(ATTACKS)),
    **dict.fromkeys(("task", "natural", "strategy"), Built(TASKS)),
    "attacks": Built(ATTACKS, several=True),
    "objective": Built(OBJECTIVES),
    "terms": Built(TERMS, several=True),
    "method": Built(METHODS),
    "threat": Built(THREATS),
}
