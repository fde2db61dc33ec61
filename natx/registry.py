"""The registries of natx: the only place where registries are made.

Each is a child of an mmengine registry (scope ``natx``) where mmengine has the same notion, so configs written as
mmengine configs resolve natx classes by bare class name. A class registers itself under its own name; a task adds
its classes by being named in the config's ``custom_imports``.
"""

import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

from mmengine.registry import DATA_SAMPLERS as MMENGINE_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import Registry as MMEngineRegistry

from natx.errors import ConfigError

MOST = 20  # names in a message


def require_known(registry: MMEngineRegistry, name: str) -> None:
    """Raise ConfigError, with the closest names, where a registry has no class of a name."""
    if registry.get(name) is not None:
        return
    names = sorted({*registry.module_dict, *(registry.parent.module_dict if registry.parent else {})})
    close = get_close_matches(name, names, n=3, cutoff=0.5)
    listed = f"close: {', '.join(close)}" if close else f"known: {', '.join(names[:MOST]) or 'none'}"
    listed += f" and {len(names) - MOST} more" if not close and len(names) > MOST else ""
    raise ConfigError(f"unknown {registry.name} {name!r}; {listed} (name other modules in custom_imports)")


def _close(kind: Any, error: TypeError) -> str:
    """What a misspelt argument may have been meant as, for the end of a message; empty for other errors."""
    misspelt = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    if misspelt is None or not isinstance(kind, type):
        return ""
    parameters = {name for one in kind.__mro__ if "__init__" in vars(one) for name in inspect.signature(one).parameters}
    close = get_close_matches(misspelt[1], sorted(parameters - {"args", "kwargs"}), n=3)
    return f"; close: {', '.join(close)}" if close else ""


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

    def build(self, cfg: Any, *args: Any, **kwargs: Any) -> Any:
        """Build from a config; a name nobody registered and arguments that do not fit raise ConfigError."""
        name = cfg.get("type") if hasattr(cfg, "get") else None
        if name is None:
            raise ConfigError(f"a {self.name} is given as dict(type='...', ...); got {cfg!r}")
        if isinstance(name, str):
            require_known(self, name)
        try:
            return super().build(cfg, *args, **kwargs)
        except TypeError as error:
            raise ConfigError(f"{self.name} {name} cannot be built: {error}{_close(self.get(name), error)}") from error


TASKS = Registry("task", scope="natx")
THREATS = Registry("threat model", scope="natx", locations=["natx.threat", "natx.attacks.patch"])
OBJECTIVES = Registry("objective", scope="natx", locations=["natx.objectives"])
ATTACKS = Registry("attack", scope="natx", locations=["natx.attacks"])
TERMS = Registry("term", scope="natx", locations=["natx.terms"])
METHODS = Registry("method", scope="natx", locations=["natx.methods"])
AUGMENTS = Registry("augment", scope="natx", locations=["natx.data.augment"])
DATASETS = Registry("dataset", scope="natx", parent=MMENGINE_DATASETS, locations=["natx.data"])
SAMPLERS = Registry("sampler", scope="natx", parent=MMENGINE_SAMPLERS, locations=["natx.data"])
HOOKS = Registry("hook", scope="natx", parent=MMENGINE_HOOKS, locations=["natx.training.hooks"])
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
    "SAMPLERS",
    "HOOKS",
    "METRICS",
    "Registry",
]
