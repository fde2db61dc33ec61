"""Best and last checkpoints, chosen on held-out images, and resuming from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.dist import barrier
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from natx.errors import CheckpointError
from natx.models.checkpoint import load_into, load_state, save_state, save_weights
from natx.registry import HOOKS
from natx.runtime.files import clear_unfinished
from natx.task import Task
from natx.training.hooks.ema import EMA
from natx.training.learner import Learner
from natx.training.selection import Selection


@HOOKS.register_module()
class Checkpoints(Hook):
    """After each epoch: score the model on held-out images, keep the best weights, write the state to resume from.

    Files, each replaced atomically: ``best.safetensors``, ``last.safetensors``, ``last.pth``. ``last.pth`` is written
    last: a process killed in between resumes from the epoch before and writes the same files again.

    With an average of the weights it is the average that is scored and that all three files hold as the weights;
    ``last.pth`` then has the weights that training goes on with under ``live``.

    Args:
        selection: scores an epoch; None keeps the last weights as the best.
        meta: plain values stored with the weights (model, classes, config fingerprint).
        resume: go on from ``last.pth`` in the work_dir where it exists.
        ema: the run's average of the weights.
    """

    priority = "VERY_LOW"

    def __init__(
        self, selection: Selection | None, *, meta: dict[str, Any], resume: bool, ema: EMA | None = None
    ) -> None:
        self.selection, self.meta, self.resume, self.ema = selection, meta, resume, ema
        self.best: dict[str, Any] = {}

    def restore(self, runner: Runner) -> None:
        """Restore weights, optimiser, schedules, epoch and the best score so far (called by the runner)."""
        path = Path(runner.work_dir) / "last.pth"
        if not (self.resume and path.exists()):
            return
        if runner.rank == 0:
            clear_unfinished(path.parent)
        state = load_state(path)
        learner = _learner(runner)
        meta = state["meta"]
        if meta["fingerprint"] != self.meta["fingerprint"]:
            raise CheckpointError(
                f"{path} was written under another config (fingerprint {meta['fingerprint']}, now "
                f"{self.meta['fingerprint']}): resume with that run's config and options, or use another --work-dir"
            )
        if meta["world_size"] != runner.world_size:
            runner.logger.warning(
                f"resuming on {runner.world_size} process(es) a run of {meta['world_size']}: it will differ from one "
                "that was not stopped"
            )
        load_into(learner.task.upstream, state["live" if self.ema else "weights"], source=str(path))
        if self.ema:
            load_into(self.ema.task.upstream, state["weights"], source=str(path))
        _load_method(learner, state["method"], source=str(path))
        runner.optim_wrapper.load_state_dict(state["optimizer"])
        for scheduler, saved in zip(runner.param_schedulers, state["schedulers"]):
            scheduler.load_state_dict(saved)
        self.best = state["best"]
        runner.train_loop._epoch, runner.train_loop._iter = meta["epoch"], meta["iter"]
        runner.logger.info(f"resumed from {path}: {meta['epoch']} of {runner.max_epochs} epochs done")

    def after_train_epoch(self, runner: Runner) -> None:
        """Score and write.

        Raises:
            CheckpointError: weights that are not finite; nothing is scored or written.
        """
        learner, epoch = _learner(runner), runner.epoch + 1
        if not bool(torch.stack([torch.isfinite(p).all() for p in learner.task.parameters()]).all()):
            raise CheckpointError(f"weights are not finite after epoch {epoch}: the checkpoint before it is kept")
        judged = self.ema.task if self.ema else learner.task
        scores = self._score(runner, judged, epoch)
        score = None if scores is None or self.selection is None else scores[self.selection.metric]
        better = self.selection is None or (score is not None and (not self.best or score > self.best["score"]))
        if better:
            self.best = {"epoch": epoch, "score": score, "scores": scores or {}}
        if runner.rank == 0:
            self._write(runner, learner, epoch, better)
        barrier()

    def _score(self, runner: Runner, judged: Task, epoch: int) -> dict[str, float] | None:
        if self.selection is None or (epoch % self.selection.every and epoch != runner.max_epochs):
            return None
        scores = self.selection(judged)
        runner.logger.info(
            f"epoch {epoch}: " + ", ".join(f"{k} {v:.2f} %" for k, v in scores.items()) + f" on {self.selection.name}"
        )
        runner.visualizer.add_scalars({f"select/{k}": v for k, v in scores.items()}, step=epoch)
        return scores

    def _write(self, runner: Runner, learner: Learner, epoch: int, better: bool) -> None:
        work_dir = Path(runner.work_dir)
        meta = {**self.meta, "epoch": epoch, "best": self.best}
        judged = self.ema.task if self.ema else learner.task
        live = {"live": learner.task.upstream.state_dict()} if self.ema else {}
        if better:
            save_weights(work_dir / "best.safetensors", judged, meta=meta)
        save_weights(work_dir / "last.safetensors", judged, meta=meta)
        save_state(
            work_dir / "last.pth",
            {
                "weights": judged.upstream.state_dict(),
                **live,
                "method": learner.method.state_dict(),
                "optimizer": runner.optim_wrapper.state_dict(),
                "schedulers": [schedule_state(scheduler) for scheduler in runner.param_schedulers],
                "best": self.best,
                "meta": {
                    **self.meta,
                    "epoch": epoch,
                    "iter": runner.iter,
                    "world_size": runner.world_size,
                },
            },
        )


def schedule_state(scheduler: Any) -> dict[str, Any]:
    """A schedule's state without the functions in it, which a schedule built from the config has again (OneCycleLR)."""
    return {key: value for key, value in scheduler.state_dict().items() if not callable(value)}


def _load_method(learner: Learner, state: dict[str, Any], *, source: str) -> None:
    """Restore what the method trains or counts itself; raises CheckpointError where the file has something else."""
    try:
        learner.method.load_state_dict(state)
    except (RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{source} does not hold the state of this method's own models ({reason}): resume with the run's config"
        ) from error


def _learner(runner: Runner) -> Learner:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model
