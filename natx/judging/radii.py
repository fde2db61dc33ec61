"""An attack config at another radius: for ``--eps``, and for curves over several."""

from __future__ import annotations

from typing import Any

from mmengine.config import Config

from natx.config import ATTACKS, check, plain_dict
from natx.config.schema.built import PARTS, Built
from natx.errors import ConfigError
from natx.registry import ATTACKS as CLASSES
from natx.threat import pixel_fraction


def at_radius(attacks: Config, eps: float) -> Config:
    """A copy of an attack config whose threat models all have a radius; step sizes that it names grow alike.

    Args:
        attacks: an attack config; it is not changed.
        eps: the radius, in pixel units of [0,1].

    Raises:
        ConfigError: a radius that is not above 0, or attacks of several radii or of none.
    """
    if not eps > 0:
        raise ConfigError(f"--eps is a radius above 0; got {eps:g}")
    check(attacks, ATTACKS)
    content = plain_dict(attacks)
    content.pop("paper", None)  # numbers of another radius
    radii = {(entry.get("threat") or content.get("threat") or {}).get("eps") for entry in content["attacks"]}
    if len(radii) != 1 or not (radius := next(iter(radii))):
        named = ", ".join(sorted("none" if one is None else pixel_fraction(one) for one in radii))
        raise ConfigError(f"--eps is for attacks of one radius; {attacks.filename or 'the attack config'} has {named}")
    if "threat" in content:
        content["threat"] = {**content["threat"], "eps": eps}
    content["attacks"] = [_scaled(entry, eps, factor=eps / radius) for entry in content["attacks"]]
    return Config(content, filename=attacks.filename)


def _scaled(attack: Any, eps: float, *, factor: float) -> Any:
    """An attack's config, and those of the attacks within it, at another radius."""
    if isinstance(attack, (list, tuple)):
        return type(attack)(_scaled(entry, eps, factor=factor) for entry in attack)
    if not isinstance(attack, dict):
        return attack
    copy = dict(attack)
    for name, value in attack.items():
        part = PARTS.get(name)
        if name == "threat" and isinstance(value, dict):
            copy[name] = {**value, "eps": eps}
        elif name == "step_size" and value is not None:
            copy[name] = value * factor
        elif isinstance(part, Built) and part.registry is CLASSES:
            copy[name] = _scaled(value, eps, factor=factor)
    return copy
