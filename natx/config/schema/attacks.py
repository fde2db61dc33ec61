"""What an attack config may say."""

from __future__ import annotations

from typing import Literal

from natx.config.schema.parts import Attacks, FrozenModel, Threat
from natx.config.schema.section import Section, entry
from natx.config.schema.training import Imports


class AttackConfig(Section):
    """An attack config (`--attacks`)."""

    attacks: Attacks = entry("the attacks, one or more columns of the table each; the cheapest first saves time")
    threat: Threat = entry("threat model of attacks that name none", default=None)
    success: Literal["any", "last"] = entry(
        "`'any'` counts an image as broken at any step, `'last'` (the paper's convention) at the last", default="any"
    )
    pool: bool = entry("only the worst case is wanted: each attack on the images that are still right", default=False)
    on_unsupported: Literal["refuse", "skip"] = entry(
        "attacks that cannot attack the model end the judging, or are skipped: 'not applicable' in their columns",
        default="refuse",
    )
    batch_size: int | None = entry(
        "images a step; by default 250, for detectors fewer, by their kind; `--batch-size` is over it",
        default=None,
        gt=0,
    )
    sources: dict[str, FrozenModel] = entry("models by name, for `source` and `adversary` of attacks", default={})
    paper: dict[str, dict[str, str]] = entry("the paper's rows: cells by column, shown beside ours", default={})
    custom_imports: Imports | None = entry("modules to import", default=None)
