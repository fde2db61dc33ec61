"""Adversary: a frozen model (or ensemble) beside the target: NAT pushes away from one, a teacher is followed."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from natx.batch import Batch
from natx.config import MODEL, load_config
from natx.data.classes import first_difference
from natx.errors import ConfigError
from natx.models.checkpoint import load_weights
from natx.models.weights import without_weights
from natx.registry import TASKS
from natx.runtime.precision import full_precision
from natx.task import Task


class Adversary:
    """One or more frozen tasks; an ensemble's logits are the mean of its members' (App. I).

    It is no ``nn.Module`` on purpose: a method holds it without it showing up in ``state_dict``, the optimiser or an
    EMA, and without ``train()`` ever reaching its batch-norm layers. The price is that it must be moved explicitly.

    Args:
        tasks: the members; they are set to eval and their parameters stop asking for gradients.
        origin: where the weights come from, for logs and reports.
        role: what errors call it, 'adversary' or 'teacher'.
    """

    def __init__(self, tasks: Sequence[Task], *, origin: str = "given", role: str = "adversary") -> None:
        if not tasks:
            raise ConfigError(f"the {role} needs at least one model")
        self.tasks = list(tasks)
        self.origin, self.role = origin, role
        for task in self.tasks:
            task.eval().requires_grad_(False)

    def __len__(self) -> int:
        return len(self.tasks)

    def to(self, device: torch.device | str) -> Adversary:
        """Move all members."""
        for task in self.tasks:
            task.to(device)
        return self

    def check(self, target: Task) -> None:
        """Raise ConfigError where a member's classes or input size differ, or it cannot score the target's rows."""
        for task in self.tasks:
            if task.num_classes != target.num_classes:
                raise ConfigError(
                    f"the {self.role} has {task.num_classes} classes, the target {target.num_classes}: "
                    f"train the {self.role} on the target's classes"
                )
            if (difference := first_difference(target.classes, task.classes)) is not None:
                raise ConfigError(
                    f"the {self.role} was trained on other classes ({difference}): "
                    "both must number the same classes in the same order"
                )
            sizes = (task.input_size, target.input_size)
            if None not in sizes and sizes[0] != sizes[1]:
                raise ConfigError(
                    f"the {self.role} takes inputs of {sizes[0]}, the target of {sizes[1]} (channels, height, width): "
                    f"both see the same pixels, so train the {self.role} at the target's size"
                )
            target.check_adversary(task)

    def logits(self, batch: Batch, x: Tensor, *, rows: Any = None, differentiable: bool = False) -> Tensor:
        """Class logits ``[M, C]`` in fp32 of the target's rows for pixels ``x``.

        Args:
            batch: the target's batch.
            x: pixels in [0,1]; each network normalises by itself.
            rows: the rows the target scored (:attr:`natx.task.Output.rows`).
            differentiable: let gradients flow to ``x`` (Eq. 14); training never needs it.
        """
        with torch.set_grad_enabled(differentiable and torch.is_grad_enabled()):
            members = [full_precision(t.read(t.network(x, batch), batch, rows=rows).logits) for t in self.tasks]
        return members[0] if len(members) == 1 else torch.stack(members).mean(0)


def build_adversary(config: Adversary | dict[str, Any], *, role: str = "adversary") -> Adversary:
    """An adversary, or with another ``role`` a teacher, from its config.

    One of::

        dict(config="configs/cls/r18_cifar10_vt.py")                  # trained first where it does not exist yet
        dict(config="configs/cls/r18_cifar10_vt.py", checkpoint=...)  # that architecture, these weights
        dict(..., checkpoint=..., ema=True)                           # the average that the file holds beside them
        dict(task=dict(type=...), checkpoint=...)                     # a task given in place
        dict(task=dict(type=...), state="random")                     # an untrained network (Table 8)
        dict(members=[dict(...), dict(...)])                          # ensemble, mean of logits (Table 7)

    ``config`` without ``checkpoint`` is resolved by :func:`natx.training.run.prepare_adversaries` before a run.

    Raises:
        ConfigError: none or several sources given.
        CheckpointError: the checkpoint does not load or fit.
    """
    if isinstance(config, Adversary):
        return config
    if not isinstance(config, dict):
        raise ConfigError(f"{role} is a dict such as dict(config=<training config>); got {config!r}")
    if "members" in config:
        parts = [build_adversary(member, role=role) for member in config["members"]]
        return Adversary([t for p in parts for t in p.tasks], origin=" + ".join(p.origin for p in parts), role=role)
    task_config, checkpoint = config.get("task"), config.get("checkpoint")
    if ("task" in config and "config" in config) or (checkpoint is not None and config.get("state") == "random"):
        raise ConfigError(f"{role} has two sources ({sorted(config)}): give config or task, and checkpoint or state")
    if task_config is None and "config" in config:
        task_config = load_config(config["config"], kind=MODEL, options=config.get("options")).task
    if task_config is None or (checkpoint is None and config.get("state") != "random"):
        raise ConfigError(
            f"{role} needs config=<training config>, checkpoint=<file> or state='random'; got {sorted(config)}"
        )
    task_config = copy.deepcopy(dict(task_config))
    if checkpoint is not None or config.get("state") == "random":
        # The weights are loaded below (or meant to be random): no pretrained download for them.
        task_config = without_weights(task_config)
    task = TASKS.build(task_config)
    if checkpoint is not None:
        load_weights(task, checkpoint, ema=bool(config.get("ema", False)))
    return Adversary([task], origin=str(checkpoint or "random weights"), role=role)
