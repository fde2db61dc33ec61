"""The Square attack (Andriushchenko et al. 2020) through pyautoattack: score-based, no gradients."""

from __future__ import annotations

from typing import Any

from natx.attacks.autoattack import LibraryAttack
from natx.registry import ATTACKS


@ATTACKS.register_module()
class Square(LibraryAttack):
    """Random search with square patches on the margin.

    Args:
        threat: Linf or L2.
        queries: forwards per image at most (Table 5 uses 5,000).
    """

    information = "outputs"

    def __init__(self, threat: Any, *, queries: int = 5000, **kwargs: Any) -> None:
        super().__init__(threat, **kwargs)
        self.queries = queries
        self.members, self.options = ["square"], {"queries": queries}
