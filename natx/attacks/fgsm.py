"""The fast gradient sign method (Goodfellow et al. 2015)."""

from __future__ import annotations

from typing import Any

from natx.attacks.pgd import PGD
from natx.errors import ConfigError
from natx.registry import ATTACKS


@ATTACKS.register_module()
class FGSM(PGD):
    """One step of length eps from the clean image; other step sizes and random starts are :class:`PGD`."""

    def __init__(self, threat: Any, **kwargs: Any) -> None:
        forbidden = {"steps", "step_size", "random_start", "restarts", "momentum", "milestones"} & set(kwargs)
        if forbidden:
            raise ConfigError(f"FGSM is one step of eps without random start; for {sorted(forbidden)} use PGD")
        super().__init__(threat, 1, random_start=False, **kwargs)
        self.step_size = self.threat.radius

    def default_name(self) -> str:
        """``FGSM``."""
        return "FGSM"
