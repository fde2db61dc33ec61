"""A task as it would be after one more training step, without taking the step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from natx.batch import Batch
from natx.task import Output, Task


class TaskAt(Task):
    """A task at other weights and buffers, through ``functional_call``: nothing of the task itself is changed.

    Modes are the task's own, so what puts this into eval mode and back does the same to the task.

    Args:
        task: the task.
        tensors: parameters and buffers by name; those not named are the task's own.
    """

    def __init__(self, task: Task, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        self.call = _Network(task)
        self.tensors = {f"task.{name}": tensor for name, tensor in tensors.items()}
        self.num_classes, self.input_size = task.num_classes, task.input_size
        self.per_image_success = task.per_image_success

    def pixels(self, batch: Batch) -> Tensor:
        """See :meth:`Task.pixels`."""
        return self.call.task.pixels(batch)

    def network(self, x: Tensor, batch: Batch) -> Any:
        """See :meth:`Task.network`."""
        return functional_call(self.call, self.tensors, (x, batch))

    def read(self, raw: Any, batch: Batch, *, rows: Any = None) -> Output:
        """See :meth:`Task.read`."""
        return self.call.task.read(raw, batch, rows=rows)

    def perturbable(self, batch: Batch) -> Tensor | None:
        """See :meth:`Task.perturbable`."""
        return self.call.task.perturbable(batch)

    def correct(self, output: Output) -> Tensor:
        """See :meth:`Task.correct`."""
        return self.call.task.correct(output)


class _Network(nn.Module):
    """A task's network as a module's forward, which is what ``functional_call`` can run."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    def forward(self, x: Tensor, batch: Batch) -> Any:
        return self.task.network(x, batch)


def after_one_step(task: Task, batch: Batch, x: Tensor, *, lr: float, weight_decay: float) -> TaskAt:
    """The task after one step of plain SGD on its training losses of pixels ``x`` ``[N, C, H, W]``.

    The step is taken in the modes that the task is in; where these are training's, the batch-norm statistics of the
    result have seen ``x`` too. The task's own weights, buffers and gradients stay as they are.
    """
    leaves = {
        name: parameter.detach().requires_grad_()
        for name, parameter in task.named_parameters()
        if parameter.requires_grad
    }
    buffers = {name: buffer.clone() for name, buffer in task.named_buffers()}
    with torch.enable_grad():
        output = task.read(TaskAt(task, {**leaves, **buffers}).network(x, batch), batch)
        loss = torch.stack(list(output.losses.values())).sum()
        gradients = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
    with torch.no_grad():
        moved = {
            name: weight - lr * (gradient + weight_decay * weight)
            for (name, weight), gradient in zip(leaves.items(), gradients)
        }
    return TaskAt(task, {**moved, **buffers})
