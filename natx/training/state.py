"""The state that a run resumes from: all that the next iteration depends on, and nothing that has to be unpickled."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_dist_info
from mmengine.runner import Runner
from torch import Tensor, nn

from natx.errors import CheckpointError
from natx.models.checkpoint import load_into
from natx.runtime.device import generator_state, set_generator_state
from natx.task import Task
from natx.training.learner import Learner, learner_of

HISTORY = 200  # values of each logged quantity that are kept: more than any log line averages over


def capture(runner: Runner, average: Task | None, *, batches: int) -> dict[str, Any] | None:
    """The state after the current iteration; None on all processes but the first.

    Processes add what they do not share: generators, gradients that wait for an update, what losses remember, and
    inside an epoch buffers and perturbations that a method carries on.

    Args:
        runner: the run.
        average: the average of the weights, which is what ``weights`` then are.
        batches: batches of the current epoch that are done; 0 at its end.
    """
    learner = learner_of(runner)
    device = next(learner.parameters()).device
    own = {"generators": _generators(device), **_of_this_process(learner, inside=batches > 0)}
    processes = all_gather_object(own)
    optimizer = runner.optim_wrapper.state_dict()  # gathered where each process has a share of it
    if runner.rank != 0:
        return None
    upstream = learner.task.upstream.state_dict()
    return {
        "weights": upstream if average is None else average.upstream.state_dict(),
        **({} if average is None else {"live": upstream}),
        "method": learner.method.state_dict(),
        "optimizer": optimizer,
        "schedulers": [schedule_state(scheduler) for scheduler in runner.param_schedulers],
        "processes": processes,
        "logs": _logs(runner),
    }


def restore(runner: Runner, average: Task | None, state: dict[str, Any], *, source: Path) -> None:
    """Put a run where :func:`capture` found it.

    Raises:
        CheckpointError: the state does not fit the model or the method.
    """
    learner, meta = learner_of(runner), state["meta"]
    device = next(learner.parameters()).device
    _load_weights(learner, average, state, source=str(source))
    _load_method(learner, state["method"], source=str(source))
    runner.optim_wrapper.load_state_dict(state["optimizer"])
    for scheduler, settings in zip(runner.param_schedulers, state["schedulers"]):
        scheduler.load_state_dict(settings)
    own = state["processes"][runner.rank]
    _load_of_this_process(learner, own)
    for name, (values, counts) in state["logs"].items():
        for value, count in zip(values.tolist(), counts.tolist()):
            runner.message_hub.update_scalar(name, value, count)
    runner.train_loop.go_on(
        epoch=meta["epoch"],
        batches=meta["batches"],
        iteration=meta["iter"],
        generators=partial(_set_generators, own["generators"], device) if meta["batches"] else None,
    )


def go_back(runner: Runner, average: Task | None, state: dict[str, Any], *, source: Path) -> None:
    """Take weights, their average, the optimiser's memory and the method's own state from the end of an earlier epoch.

    Learning rates and all else that schedules set stay as they are now, and so do counters and logs: the training goes
    on, and does not begin again. A method with another kind of state than the earlier one keeps its own. Gradients that
    waited for an update are nobody's: those of now are of weights that are given up, those of then of another method.

    Raises:
        CheckpointError: the state does not fit the model.
    """
    learner, optimizer = learner_of(runner), runner.optim_wrapper
    _load_weights(learner, average, state, source=str(source))
    if learner.method.state_dict().keys() == state["method"].keys():
        _load_method(learner, state["method"], source=str(source))
    learner.method.go_back(state["meta"]["epoch"])
    scheduled = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(state["optimizer"])
    for group, settings in zip(optimizer.param_groups, scheduled):
        group.update(settings)
    optimizer.zero_grad()
    learner.task.recall(state["processes"][runner.rank].get("memory", {}))


def finite(module: nn.Module) -> bool:
    """Whether all weights are finite numbers; one wait for the device."""
    return bool(torch.stack([torch.isfinite(parameter).all() for parameter in module.parameters()]).all())


def _of_this_process(learner: Learner, *, inside: bool) -> dict[str, Any]:
    """What another process need not have: nothing but gradients and what losses remember at the end of an epoch."""
    gradients = {name: p.grad.cpu() for name, p in learner.named_parameters() if p.grad is not None}
    always = {"gradients": gradients, "memory": learner.task.memory()}
    if not inside:
        return always
    alone = get_dist_info()[1] == 1
    carried = {k: v for k, v in learner.method.state_dict().items() if k.endswith("_extra_state")}
    buffers = {} if alone else {name: buffer.cpu() for name, buffer in learner.named_buffers()}
    return {**always, "buffers": buffers, "carried": {} if alone else carried}


def _load_of_this_process(learner: Learner, state: dict[str, Any]) -> None:
    parameters, buffers = dict(learner.named_parameters()), dict(learner.named_buffers())
    for name, gradient in state["gradients"].items():
        parameters[name].grad = gradient.to(parameters[name].device)
    learner.task.recall(state.get("memory", {}))
    with torch.no_grad():
        for name, buffer in state.get("buffers", {}).items():
            buffers[name].copy_(buffer)
    if state.get("carried"):
        learner.method.load_state_dict(state["carried"], strict=False)


def _load_weights(learner: Learner, average: Task | None, state: dict[str, Any], *, source: str) -> None:
    load_into(learner.task.upstream, state["weights" if average is None else "live"], source=source)
    if average is not None:
        load_into(average.upstream, state["weights"], source=source)


def _load_method(learner: Learner, state: dict[str, Any], *, source: str) -> None:
    """Restore what the method trains or counts itself; raises CheckpointError where the file has something else."""
    try:
        learner.method.load_state_dict(state)
    except (RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{source} does not hold the state of this method's own models ({reason}): resume with the run's config"
        ) from error


def schedule_state(scheduler: Any) -> dict[str, Any]:
    """What changes in a schedule: numbers and lists. Functions (OneCycleLR) and milestones come from the config."""
    kinds = (bool, int, float, str, list, tuple, type(None))
    return {name: value for name, value in scheduler.state_dict().items() if isinstance(value, kinds)}


def _logs(runner: Runner) -> dict[str, tuple[Tensor, Tensor]]:
    """The last values of every logged quantity and how often each counts."""
    histories = {name: buffer.data for name, buffer in runner.message_hub.log_scalars.items()}
    return {
        name: (torch.from_numpy(values[-HISTORY:].copy()), torch.from_numpy(counts[-HISTORY:].copy()))
        for name, (values, counts) in histories.items()
    }


def _generators(device: torch.device) -> dict[str, Any]:
    """The states of torch's, numpy's and Python's generators."""
    numpy_state: Any = np.random.get_state()
    kind, keys, position, has_gauss, gauss = numpy_state
    version, words, next_gauss = random.getstate()
    states: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss],
        "python": [version, torch.tensor(words, dtype=torch.int64), next_gauss],
    }
    if device.type != "cpu":
        states[device.type] = generator_state(device)
    return states


def _set_generators(states: dict[str, Any], device: torch.device) -> None:
    torch.set_rng_state(states["torch"])
    kind, keys, position, has_gauss, gauss = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    version, words, next_gauss = states["python"]
    random.setstate((version, tuple(words.tolist()), next_gauss))
    if device.type in states:  # else the run began on a device of another kind
        set_generator_state(device, states[device.type])
