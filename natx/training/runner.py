"""mmengine's Runner with the three things it does not do: CPU-distributed wrapping, safe resuming, quiet start-up."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import broadcast
from mmengine.logging import MMLogger
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import OPTIMIZERS, VISBACKENDS
from mmengine.runner import Runner
from torch import Tensor, nn

from natx.errors import ConfigError, NonFiniteError
from natx.registry import require_known
from natx.runtime.files import STORAGE, storage_error
from natx.runtime.memory import explained
from natx.runtime.precision import quick_float32
from natx.runtime.stop import StopRequest
from natx.training.hooks import Checkpoints
from natx.training.learner import learner_of
from natx.training.loop import ResumableLoop
from natx.training.shards import ShardedOptimizer

# Of a resumed run with gradient accumulation: its gradients are restored.
UNTRUE = "Resumed iteration number is not divisible"
UNCLIPPED = "is non-finite, so it cannot be clipped"  # of torch's error under clip_grad.error_if_nonfinite
# What mmengine's writers of logs import, when a run has begun.
PACKAGES = {
    "AimVisBackend": "aim",
    "ClearMLVisBackend": "clearml",
    "DVCLiveVisBackend": "dvclive",
    "MLflowVisBackend": "mlflow",
    "NeptuneVisBackend": "neptune",
    "WandbVisBackend": "wandb",
}


class NatxRunner(Runner):
    """A Runner whose loops, hooks and logging are mmengine's.

    Differences: the device is given instead of guessed; gloo processes on CPUs work (mmengine passes a GPU index);
    ``compile`` of a config is natx's own; resuming goes through :class:`natx.training.hooks.Checkpoints`, which
    unpickles nothing and runs no config text; the environment and the config go to the log file, not to the console.

    Args:
        *args: mmengine's.
        device: where the model lives.
        quiet: log warnings alone, for a runner that will not train.
        **kwargs: mmengine's.
    """

    _train_loop: Any
    optim_wrapper: Any
    param_schedulers: Any

    stop = StopRequest()  # nobody asks; a training puts its own in its place

    def __init__(self, *args: Any, device: torch.device, quiet: bool = False, **kwargs: Any) -> None:
        self.device, self.quiet = device, quiet
        super().__init__(*args, log_level="WARNING" if quiet else "INFO", **kwargs)

    def build_everything(self) -> None:
        """Build what :meth:`train` builds when it begins; a config value that does not fit raises ConfigError."""
        self._train_loop = self.build_train_loop(self._train_loop)
        self.optim_wrapper = self.build_optim_wrapper(self.optim_wrapper)
        self.param_schedulers = self.build_param_scheduler(self.param_schedulers)

    def train(self) -> nn.Module:
        """mmengine's loop.

        Raises:
            NonFiniteError: a loss that is NaN or infinite, or such a gradient where ``clip_grad.error_if_nonfinite`` is
                set. Nothing was updated by it, and it comes before the epoch's checkpoint is written, so the last good
                checkpoint stays.
            StorageError: a file cannot be written; what was written before stays.
            MemoryShortage: a step does not fit into memory.
        """
        loader = self.train_dataloader
        lower = f"data.batch_size (now {loader.batch_size}; accumulative_counts keeps the step), or use --amp"
        try:
            with quick_float32(self.device), explained(lower=lower, workers=loader.num_workers):
                return super().train()
        except OSError as error:  # a log; checkpoints say it themselves
            if error.errno in STORAGE or not Path(self.work_dir).is_dir():
                raise storage_error(Path(error.filename or f"{self.work_dir}/log"), error) from error
            raise
        except (NonFiniteError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and UNCLIPPED not in str(error):
                raise
            reason = error if isinstance(error, NonFiniteError) else "the norm of the gradient is not finite"
            step = self.iter % len(loader)
            raise NonFiniteError(
                f"training stopped at epoch {self.epoch + 1}, iteration {step + 1}: {reason}. The last good checkpoint "
                f"in {self.work_dir} is kept; lower the learning rate, clip gradients or run without --amp"
            ) from error

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """mmengine's logger without remarks that tell a user of natx nothing."""
        logger = super().build_logger(*args, **kwargs)
        logger.addFilter(_useful)
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler):
                handler.handleError = _raise  # type: ignore[method-assign]  # logging alone would go on without a log
        return logger

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Move to the device; wrap for distributed training."""
        model = model.to(self.device)
        if not self.distributed:
            return model
        if self.cfg.get("sync_bn"):
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        ids = None if self.device.type == "cpu" else [self.device.index]
        return MMDistributedDataParallel(module=model, device_ids=ids, broadcast_buffers=False)

    def build_optim_wrapper(self, optim_wrapper: Any) -> Any:
        """mmengine's; what does not fit in the config raises ConfigError."""
        optimizer = optim_wrapper.get("optimizer", {})
        name = optimizer.get("type")
        if isinstance(name, str):
            require_known(OPTIMIZERS, name)
        self._check_paramwise(optim_wrapper.get("paramwise_cfg") or {}, optimizer)
        with _fitting("optim_wrapper", optim_wrapper):
            if self.cfg.get("shard_optimizer") and self.distributed:
                optimizer = {**optimizer, "type": ShardedOptimizer, "optimizer_type": name}
            return super().build_optim_wrapper({**optim_wrapper, "optimizer": optimizer})

    def _check_paramwise(self, settings: dict[str, Any], optimizer: dict[str, Any]) -> None:
        """Raise ConfigError for what mmengine would pass over without a word."""
        names = [name for name, _ in learner_of(self).named_parameters()]
        for key in settings.get("custom_keys") or {}:
            if not any(key in name for name in names):
                raise ConfigError(
                    f"optim_wrapper.paramwise_cfg.custom_keys: {key!r} is in the name of no parameter; they are called "
                    f"{names[0]}, ..., {names[-1]}"
                )
        if settings.get("flat_decay_mult") is not None and optimizer.get("weight_decay") is None:
            raise ConfigError(
                "optim_wrapper.paramwise_cfg.flat_decay_mult multiplies optimizer.weight_decay: set that too"
            )

    def build_param_scheduler(self, scheduler: Any) -> Any:
        """mmengine's; what does not fit in the config, or would change nothing, raises ConfigError."""
        with _fitting("param_scheduler", scheduler):
            schedules = super().build_param_scheduler(scheduler)
        if idle := [type(one).__name__ for one in schedules if getattr(one, "need_val_args", False)]:
            raise ConfigError(
                f"param_scheduler: {idle[0]} waits for the scores of a validation that no training here hands out, and "
                "would change nothing: name the epochs by MultiStepLR, or use CosineAnnealingLR"
            )
        return schedules

    def build_train_loop(self, loop: Any) -> Any:
        """A loop that can begin inside an epoch; what does not fit in the config raises ConfigError."""
        with _fitting("train_cfg", loop):
            return loop if isinstance(loop, ResumableLoop) else ResumableLoop(self, self._train_dataloader, **loop)

    def build_visualizer(self, visualizer: Any = None) -> Any:
        """mmengine's; what does not fit in the config, and a tracker that is not installed, raises ConfigError."""
        for backend in visualizer["vis_backends"] if isinstance(visualizer, dict) else ():
            try:
                require_known(VISBACKENDS, backend["type"])
            except ConfigError as error:
                raise ConfigError(f"vis_backends: {error}") from error
            package = PACKAGES.get(backend["type"])
            if package is not None and find_spec(package) is None:
                raise ConfigError(f"vis_backends: {backend['type']} needs {package}: pip install {package}")
        with _fitting("visualizer", visualizer):
            if self.quiet:  # what will not train begins no run with a tracker
                for backend in visualizer["vis_backends"]:
                    VISBACKENDS.build(dict(backend, save_dir=self.work_dir))
                visualizer = dict(visualizer, vis_backends=[])
            return super().build_visualizer(visualizer)

    def _maybe_compile(self, target: str) -> None:
        """Nothing: the network is compiled in place (:mod:`natx.models.compiled`), not the whole step around it."""

    def _init_model_weights(self) -> None:
        """Give all processes the first one's weights; mmengine's stops at state that is no tensor (a perturbation)."""
        for value in self.model.state_dict().values():
            if isinstance(value, Tensor):
                broadcast(value)

    def dump_config(self) -> None:
        """Nothing yet: a resume that is refused must not overwrite the config of the run in the folder."""

    def load_or_resume(self) -> None:
        """Resume through the Checkpoints hook; then write the config into the work_dir."""
        for hook in self.hooks:
            if isinstance(hook, Checkpoints):
                hook.restore(self)
        super().dump_config()

    def _log_env(self, env_cfg: dict) -> None:
        if not self.quiet:
            with _file_only(self.logger):
                super()._log_env(env_cfg)


def _useful(record: logging.LogRecord) -> bool:
    """Drop mmengine's remarks that tell a user of natx nothing."""
    noise = ("Exp name:", "Hooks will be executed", "Dataset ", "init_weights of Learner", UNTRUE)
    return not str(record.msg).startswith(noise)


def _raise(record: logging.LogRecord) -> None:
    """Let the error through that logging is about to print."""
    raise


@contextmanager
def _fitting(key: str, config: Any) -> Iterator[None]:
    """Turn what torch and mmengine raise for a config value into one line."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AssertionError) as error:
        # mmengine's assertions say nothing but their condition.
        reason = str(error) or traceback.extract_tb(error.__traceback__)[-1].line
        raise ConfigError(f"{key}={config} cannot be built: {reason}") from error


class _file_only:
    """Keep what is logged inside out of the console; the log file still gets it."""

    def __init__(self, logger: logging.Logger) -> None:
        self.streams = [h for h in logger.handlers if type(h) is logging.StreamHandler]

    def __enter__(self) -> None:
        self.levels = [h.level for h in self.streams]
        for handler in self.streams:
            handler.setLevel(logging.WARNING)

    def __exit__(self, *_: object) -> None:
        for handler, level in zip(self.streams, self.levels):
            handler.setLevel(level)
