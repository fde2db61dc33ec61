"""Auto-PGD (Croce & Hein 2020) through pyautoattack."""

from __future__ import annotations

from typing import Any

from natx.attacks.autoattack import LibraryAttack
from natx.errors import ConfigError
from natx.registry import ATTACKS

_MEMBERS = {"ce": "apgd-ce", "dlr": "apgd-dlr", "targeted": "apgd-t"}


@ATTACKS.register_module()
class APGD(LibraryAttack):
    """Parameter-free PGD on cross-entropy, DLR or (for up to nine targets) targeted DLR.

    Args:
        threat: Linf or L2.
        loss: 'ce', 'dlr' or 'targeted'.
        steps: iterations.
    """

    def __init__(self, threat: Any, *, loss: str = "ce", steps: int = 100, **kwargs: Any) -> None:
        if loss not in _MEMBERS:
            raise ConfigError(f"APGD's loss is one of {list(_MEMBERS)}; got {loss!r}")
        self.loss, self.steps = loss, steps
        super().__init__(threat, **kwargs)
        self.members, self.options = [_MEMBERS[loss]], {"iterations": steps}

    def default_name(self) -> str:
        """``APGD-CE``, ``APGD-DLR`` or ``APGD-T``."""
        return "APGD-T" if self.loss == "targeted" else f"APGD-{self.loss.upper()}"
