"""Models that attacks look at, named once in an attack config."""

from __future__ import annotations

import pytest
from mmengine.config import Config

from natx.attacks.sources import with_sources
from natx.config import frozen_models
from natx.errors import ConfigError

PLAIN, OTHER = {"config": "plain.py", "checkpoint": "a.safetensors"}, {"config": "other.py", "checkpoint": "b"}


def test_names_become_models_wherever_they_stand() -> None:
    attacks = [
        {"type": "PGD", "name": "plain", "objective": {"type": "Adaptive", "adversary": "plain"}},
        {"type": "WorstOf", "attacks": [{"type": "Transfer", "source": "other", "attack": {"type": "FGSM"}}]},
        {"type": "Transfer", "source": {"config": "third.py"}},
    ]
    assert with_sources(attacks, {"plain": PLAIN, "other": OTHER}) == [
        {"type": "PGD", "name": "plain", "objective": {"type": "Adaptive", "adversary": PLAIN}},
        {"type": "WorstOf", "attacks": [{"type": "Transfer", "source": OTHER, "attack": {"type": "FGSM"}}]},
        {"type": "Transfer", "source": {"config": "third.py"}},
    ]
    assert attacks[0]["objective"]["adversary"] == "plain"  # the given ones are left as they were


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="no model is called vt; sources of the attack config: plain, other"):
        with_sources([{"source": "vt"}], {"plain": PLAIN, "other": OTHER})
    with pytest.raises(ConfigError, match="sources of the attack config: none"):
        with_sources([{"source": "vt"}], {})


def test_sources_are_frozen_models_of_the_config() -> None:
    config = Config({"sources": {"plain": dict(PLAIN)}, "attacks": [{"source": "plain"}, {"source": dict(OTHER)}]})
    assert list(frozen_models(config)) == [PLAIN, OTHER]
