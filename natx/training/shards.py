"""One optimiser's memory shared out among the processes of a data-parallel training (ZeRO, stage 1)."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.registry import OPTIMIZERS
from torch.distributed.optim import ZeroRedundancyOptimizer


class ShardedOptimizer(ZeroRedundancyOptimizer):
    """An optimiser of which each process keeps the memory (momentum, second moments) of its share of the parameters.

    Each process updates its share and hands the new values to the others, so that all have the whole network, and all
    gradients, as without it: attacks, weight perturbations, averages and clipped gradients need nothing else. A step
    is that of the optimiser itself, parameter by parameter. Shares are whole tensors, the largest dealt out first.

    Its state is that of the optimiser on one process: what is written with it is resumed without it, and the other
    way round.

    Args:
        params: parameters, or dicts of them with settings.
        optimizer_type: name of the optimiser, one that moves each parameter by its own gradient alone.
        **settings: the optimiser's own arguments.

    Raises:
        TypeError, ValueError: settings that are not the optimiser's; parameters of several types.

    Source: Rajbhandari et al. 2020, by torch's ZeroRedundancyOptimizer. Deviation: torch keeps the gathered state on
    the first process after it was written, and the restored state twice; neither is kept here.
    """

    def __init__(self, params: Any, optimizer_type: str, **settings: Any) -> None:
        super().__init__(params, OPTIMIZERS.get(optimizer_type), **settings)
        self.defaults = self.optim.defaults  # with those that the config does not name, as mmengine writes them down

    def state_dict(self) -> dict[str, Any]:
        """The whole state on the first process, an empty dict on the others; all processes take part."""
        self.consolidate_state_dict()
        state = super().state_dict() if is_main_process() else {}
        self._all_state_dicts: list[dict[str, Any]] = []
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take this process's share of a whole state, which is left as it is."""
        super().load_state_dict({**state_dict, "state": dict(state_dict["state"])})
        self.state.clear()  # torch's own copy; the share is the local optimiser's

    def share(self) -> int:
        """Bytes of the memory that this process keeps."""
        tensors = [value for memory in self.optim.state.values() for value in memory.values()]
        return sum(value.nbytes for value in tensors if isinstance(value, torch.Tensor))
