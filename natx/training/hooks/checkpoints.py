"""Best and last checkpoints, chosen on held-out images, and the state to resume from, inside an epoch too."""

from __future__ import annotations

import json
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, barrier
from mmengine.hooks import Hook
from mmengine.runner import Runner

from natx.errors import CheckpointError, Stopped, StorageError
from natx.models.checkpoint import load_state, save_state, save_weights
from natx.registry import HOOKS
from natx.runtime.files import clear_unfinished
from natx.runtime.stop import GO_ON
from natx.task import Task
from natx.training import state
from natx.training.fingerprints import differing_keys
from natx.training.guard import Guard, Look
from natx.training.hooks.ema import EMA
from natx.training.hooks.values import LogValues
from natx.training.learner import learner_of
from natx.training.selection import Selection

BEST, LAST = "best.safetensors", "last.safetensors"
STATE = "last.pth"  # what a run is resumed from
RAW, AVERAGE = "raw", "average"  # which weights a file holds
NAMES = {RAW: "the weights themselves", AVERAGE: "their average"}
GOOD = "good.pth"  # the state of the last epoch that the guard found good
LOOK = 10  # several processes agree on a stop or a checkpoint every so many iterations: it is a wait for all of them
UNSCORED = 60.0  # seconds of training since the last write that are kept before an epoch is scored, which takes a while


@HOOKS.register_module()
class Checkpoints(Hook):
    """After each epoch: score the model on held-out images, keep the best weights, write the state to resume from.

    Files, each replaced atomically: ``best.safetensors``, ``last.safetensors``, ``last.pth``. ``last.pth`` is written
    last: a process killed in between resumes from the epoch before and writes the same files again. It is written
    inside an epoch too, every so many seconds and where the run is asked to stop, so a kill loses no more than that.

    With an average of the weights both are scored, and ``best.safetensors`` holds the better of the two; its metadata
    says which (``holds``: 'average' or 'raw'). ``last.safetensors`` and ``last.pth`` hold the average as the weights;
    ``last.pth`` then has the weights that training goes on with under ``live``.

    With a guard, an epoch that it finds overfitted is never the best where another one is. Where the guard knows
    stronger settings, the state of the last good epoch is kept in ``good.pth``, and the training goes on from there
    with them; ``last.pth`` is written after that, so a process killed in between looks and goes back again.

    Args:
        selection: scores an epoch; None keeps the last weights as the best.
        meta: plain values stored with the weights (model, classes, config fingerprint).
        settings: what in the config decides the weights, to name what differs where a resume is refused.
        ema: the run's average of the weights.
        guard: looks for catastrophic overfitting after each epoch.
        every: seconds between two states inside an epoch; None for none.
    """

    priority = "VERY_LOW"

    def __init__(
        self,
        selection: Selection | None,
        *,
        meta: dict[str, Any],
        settings: dict[str, Any] | None = None,
        ema: EMA | None = None,
        guard: Guard | None = None,
        every: float | None = None,
    ) -> None:
        self.selection, self.meta, self.settings, self.ema, self.every = selection, meta, settings or {}, ema, every
        self.guard = guard
        self.best: dict[str, Any] = {}
        # Epochs that overfitted, the last one that did not, how often the training went back, and the iterations that
        # were done then ("since").
        self.guarded: dict[str, Any] = {"overfitted": [], "good": 0, "back": 0}
        self._found: tuple[Path, dict[str, Any]] | None = None
        self._written = 0.0
        self._unscored = False  # the state holds an epoch that is trained and not scored

    def read(self, path: Path, *, world_size: int) -> None:
        """Read the state of a run to go on with, before anything is written.

        Raises:
            CheckpointError: it is that of another config, version or number of processes, or files that belong to it
                are gone; the message says what differs.
        """
        saved = load_state(path)
        meta = saved["meta"]
        if "processes" not in saved:
            raise CheckpointError(f"{path} is the state of an earlier natx: finish the run with that version")
        if meta["fingerprint"] != self.meta["fingerprint"]:
            differences = differing_keys(json.loads(saved["settings"]), self.settings)
            what = ", ".join(differences) or "the same config: the data or the weights that it starts from are others"
            raise CheckpointError(
                f"{path} was written under another config ({what}): resume with that run's config and options, or use "
                "another --work-dir"
            )
        if meta["world_size"] != world_size:
            raise CheckpointError(
                f"{path} was written by {meta['world_size']} process(es) and is resumed by {world_size}: a step would "
                "see another number of images at the same learning rate; start as many as before, or use another "
                "--work-dir"
            )
        needed = [*([BEST] if saved["best"] else []), *([GOOD] if self._can_go_back else [])]
        if absent := [name for name in needed if not (path.parent / name).exists()]:
            raise CheckpointError(
                f"{path.parent} lacks {absent[0]} beside {path.name}, which the run may end with or go back to: put it "
                "back, or use another --work-dir"
            )
        self._found = (path, saved)

    def restore(self, runner: Runner) -> None:
        """Go on from the state that :meth:`read` found, if it did (called by the runner)."""
        if self._found is None:
            return
        (path, saved), self._found = self._found, None
        if runner.rank == 0:
            clear_unfinished(path.parent)
        self.guarded = saved.get("guard", self.guarded)
        if self.guarded["back"] and self.guard is not None:
            learner_of(runner).method = self.guard.method_after(self.guarded["back"])
        state.restore(runner, self.ema.task if self.ema else None, saved, source=path)
        self.best, meta = saved["best"], saved["meta"]
        inside = f" and {meta['batches']} batches of the next" if meta["batches"] else ""
        runner.logger.info(f"resumed from {path}: {meta['epoch']} of {runner.max_epochs} epochs done{inside}")

    def before_train(self, runner: Runner) -> None:
        """Start the clock; from now on a stop waits for the end of the iteration."""
        self._count_updates(runner)
        if self._can_go_back and runner.iter == 0:
            self._write_state(runner, epoch=0, batches=0, iteration=0, name=GOOD)
        self._written = time.monotonic()
        runner.stop.deferred = True

    def after_train(self, runner: Runner) -> None:
        """From now on a stop need not wait."""
        runner.stop.deferred = False

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Write the state where it is due; stop where that is asked for.

        Raises:
            Stopped: after the state is written.
        """
        last = batch_idx + 1 == len(runner.train_dataloader)
        stop, due = self._agreed(runner, last=last)
        self._unscored = last and (stop or due)
        if not (stop or due):
            return
        self._write_state(runner, epoch=runner.epoch, batches=batch_idx + 1, iteration=runner.iter + 1)
        if stop:
            raise Stopped(
                f"stopped by {runner.stop.signal or 'a signal to another process'} in epoch {runner.epoch + 1} after "
                f"iteration {batch_idx + 1}, which {Path(runner.work_dir) / 'last.pth'} holds; {GO_ON}"
            )

    def after_train_epoch(self, runner: Runner) -> None:
        """Score and write.

        Raises:
            CheckpointError: weights that are not finite; nothing is scored or written.
        """
        learner, epoch = learner_of(runner), runner.epoch + 1
        self._check_finite(runner, f"epoch {epoch}")
        tasks = {RAW: learner.task} if self.ema is None else {AVERAGE: self.ema.task, RAW: learner.task}
        with runner.stop.at_once() if self._unscored else nullcontext():
            scores = self._score(runner, tasks, epoch)
            look = self._guard(runner, learner.task, epoch, scores=scores.get(RAW))
        overfitted = look is not None and look.overfitted
        kind, score = self._kept(scores, tasks)
        if self._better(score, overfitted=overfitted):
            kept = {"epoch": epoch, "score": score, "scores": scores.get(kind, {}), "weights": kind}
            self.best = {**kept, "overfitted": overfitted}
            self._write_weights(runner, tasks[kind], epoch, BEST, kind=kind)
        self._end_of_look(runner, epoch, look)
        kind, task = next(iter(tasks.items()))
        self._write_weights(runner, task, epoch, LAST, kind=kind)
        if self._can_go_back and not overfitted:
            self._write_state(runner, epoch=epoch, batches=0, iteration=runner.iter, name=GOOD)
        self._write_state(runner, epoch=epoch, batches=0, iteration=runner.iter)

    def _kept(self, scores: dict[str, dict[str, float]], tasks: dict[str, Task]) -> tuple[str, float | None]:
        """Which weights of this epoch score highest, the average where they score alike, and their score."""
        if self.selection is None or not scores:
            return next(iter(tasks)), None
        metric = self.selection.metric
        kind = max(scores, key=lambda name: scores[name][metric])
        return kind, scores[kind][metric]

    @property
    def _can_go_back(self) -> bool:
        return self.guard is not None and bool(self.guard.stronger)

    def _better(self, score: float | None, *, overfitted: bool) -> bool:
        """Whether an epoch with this score is the best so far."""
        if self.selection is None:
            return True
        if score is None or not self.best:
            return score is not None
        if overfitted != self.best.get("overfitted", False):
            return not overfitted
        return score > self.best["score"]

    def _guard(self, runner: Runner, task: Task, epoch: int, *, scores: dict[str, float] | None) -> Look | None:
        """Look for catastrophic overfitting of the weights that are trained, and log what was seen."""
        if self.guard is None:
            return None
        look = self.guard(task, robust=None if scores is None else scores.get("robust"))
        runner.logger.info(f"epoch {epoch}: guard: FGSM {look.fgsm:.2f} %, PGD-10 {look.pgd:.2f} %")
        runner.visualizer.add_scalars({"guard/fgsm": look.fgsm, "guard/pgd": look.pgd}, step=epoch)
        return look

    def _end_of_look(self, runner: Runner, epoch: int, look: Look | None) -> None:
        """Tell of an epoch that overfitted, and go back where that is asked for."""
        if self.guard is None or look is None:
            return
        if not look.overfitted:
            self.guarded = {**self.guarded, "good": epoch}
            return
        good, times = self.guarded["good"], self.guarded["back"]
        best = self.best["epoch"] if self.best and not self.best.get("overfitted") else None
        remark = self.guard.remark(look, best=best, good=good if self._can_go_back else None, times=times)
        runner.logger.warning(f"epoch {epoch}: {remark}")
        self.guarded = {**self.guarded, "overfitted": [*self.guarded["overfitted"], epoch]}
        if self._can_go_back:
            self.guarded["back"] = times + 1
            path = _folder(runner) / GOOD
            learner_of(runner).method = self.guard.method_after(times + 1)
            state.go_back(runner, self.ema.task if self.ema else None, load_state(path), source=path)
            self.guarded["since"] = runner.iter
            self._count_updates(runner)

    def _count_updates(self, runner: Runner) -> None:
        """Where gradients are accumulated, an update after going back takes none of the iterations before it."""
        since = self.guarded.get("since", 0)
        runner.optim_wrapper.initialize_count_status(runner.model, runner.iter - since, runner.max_iters - since)

    def _agreed(self, runner: Runner, *, last: bool) -> tuple[bool, bool]:
        """(whether to stop, whether a state is due), the same on all processes."""
        elapsed = time.monotonic() - self._written
        due = self.every is not None and elapsed >= (min(self.every, UNSCORED) if last else self.every)
        stop = runner.stop.signal is not None
        if runner.world_size == 1:
            return stop, due
        if (runner.iter + 1) % LOOK and not last:
            return False, False
        flags = torch.tensor([int(stop), int(due)])
        all_reduce(flags, op="max")
        return bool(flags[0]), bool(flags[1])

    def _check_finite(self, runner: Runner, where: str) -> None:
        if not state.finite(learner_of(runner).task):
            raise CheckpointError(f"weights are not finite after {where}: the checkpoint before it is kept")

    def _score(self, runner: Runner, tasks: dict[str, Task], epoch: int) -> dict[str, dict[str, float]]:
        """The scores of each of an epoch's weights; none where the epoch is not looked at."""
        if self.selection is None or (epoch % self.selection.every and epoch != runner.max_epochs):
            return {}
        scores = {kind: self.selection(task) for kind, task in tasks.items()}
        parts = []
        for kind, values in scores.items():
            prefix = "" if len(tasks) == 1 else f"{NAMES[kind]}: "
            parts.append(prefix + ", ".join(f"{k} {v:.2f} %" for k, v in values.items()))
            if kind == RAW:
                runner.visualizer.add_scalars({f"select/{k}": v for k, v in values.items()}, step=epoch)
            else:
                runner.visualizer.add_scalars({f"select/average/{k}": v for k, v in values.items()}, step=epoch)
        kept = "" if len(tasks) == 1 else f"; better: {NAMES[self._kept(scores, tasks)[0]]}"
        runner.logger.info(f"epoch {epoch}: {'; '.join(parts)} on {self.selection.name}{kept}")
        return scores

    def _write_weights(self, runner: Runner, task: Task, epoch: int, name: str, *, kind: str) -> None:
        """Write weights on the first process; the file says which they are."""
        if runner.rank != 0:
            return
        guarded = {} if self.guard is None else {"guard": self.guarded}
        meta = {**self.meta, "epoch": epoch, "best": self.best, "holds": kind, **guarded}
        if kind == RAW:
            meta.pop("ema", None)  # whoever asks the file for an average is told that it has none
        save_weights(_folder(runner) / name, task, meta=meta)

    def _write_state(self, runner: Runner, *, epoch: int, batches: int, iteration: int, name: str = STATE) -> None:
        """Write ``last.pth``, or the same under another name; all processes take part."""
        if batches:
            self._check_finite(runner, f"epoch {epoch + 1}, iteration {batches}")
        for hook in runner.hooks:
            if isinstance(hook, LogValues):
                hook.read(runner)  # values that wait on the device belong to what is logged so far
        captured = state.capture(runner, self.ema.task if self.ema else None, batches=batches)
        if captured is not None:
            position = {"epoch": epoch, "batches": batches, "iter": iteration, "world_size": runner.world_size}
            settings = json.dumps(self.settings, default=str)
            meta = {**self.meta, **position}
            own = {"best": self.best, "guard": self.guarded, "settings": settings, "meta": meta}
            save_state(_folder(runner) / name, {**captured, **own})
        barrier()  # a process that ends now would take the first one with it, which is still writing
        self._written = time.monotonic()


def _folder(runner: Runner) -> Path:
    """The run's folder; StorageError where somebody removed it."""
    folder = Path(runner.work_dir)
    if not folder.is_dir():
        raise StorageError(f"the work dir {folder} is gone, and with it what the run had written: start it anew")
    return folder
