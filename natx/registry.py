"""The registries of natx: the only place where registries are made.

Each is a child of an mmengine registry (scope ``natx``) where mmengine has the same notion, so configs written as
mmengine configs resolve natx classes by bare class name. A class registers itself under its own name; a task adds
its classes by being named in the config's ``custom_imports``.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import Registry as MMEngineRegistry


class Registry(MMEngineRegistry):
    """An mmengine registry that looks in itself and its parents, whatever default scope a Runner has set.

    mmengine switches to the current default scope's registry first, so a second training in one process (an adversary,
    then the target) would no longer find natx classes by bare name.
    """

    @contextmanager
    def switch_scope_and_registry(self, scope: str | None) -> Iterator[MMEngineRegistry]:
        """Stay in this registry unless a scope is asked for."""
        if scope is None:
            yield self
        else:
            with super().switch_scope_and_registry(scope) as registry:
                yield registry


TASKS = Registry("task", scope="natx")
THREATS = Registry("threat model", scope="natx", locations=["natx.threat"])
OBJECTIVES = Registry("objective", scope="natx", locations=["natx.objectives"])
ATTACKS = Registry("attack", scope="natx", locations=["natx.attacks"])
TERMS = Registry("term", scope="natx", locations=["natx.terms"])
METHODS = Registry("method", scope="natx", locations=["natx.methods"])
AUGMENTS = Registry("augment", scope="natx")
DATASETS = Registry("dataset", scope="natx", parent=MMENGINE_DATASETS, locations=["natx.data"])
HOOKS = Registry("hook", scope="natx", parent=MMENGINE_HOOKS, locations=["natx.hooks"])
METRICS = Registry("metric", scope="natx", parent=MMENGINE_METRICS, locations=["natx.evaluation"])

__all__ = [
    "TASKS",
    "THREATS",
    "OBJECTIVES",
    "ATTACKS",
    "TERMS",
    "METHODS",
    "AUGMENTS",
    "DATASETS",
    "HOOKS",
    "METRICS",
    "Registry",
]
