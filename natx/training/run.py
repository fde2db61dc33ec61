"""From a training config to a trained model: trains what it needs first, then runs mmengine's Runner."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import barrier, get_dist_info

from natx.config import TRAINING, check, fingerprint, frozen_models, plain_dict
from natx.errors import CheckpointError, ConfigError, DataError
from natx.models.weights import DONE
from natx.runtime.files import sha256, write_json
from natx.runtime.locks import exclusive, sole_use
from natx.runtime.progress import say
from natx.runtime.provenance import provenance
from natx.runtime.stop import StopRequest, stop_requests
from natx.training.build import build_runner
from natx.training.frozen_models import (
    adversary_recipe,
    adversary_store,
    needs_training,
    stored_folder,
)
from natx.training.rehearsal import rehearse


def train(config: Config, work_dir: Path, *, device: torch.device, resume: bool = False) -> Path:
    """Train what a config describes; its adversaries first, where they do not exist yet.

    Writes ``best.safetensors``, ``last.safetensors``, ``last.pth``, the config, logs and, at the end, ``done.json``
    into ``work_dir``.

    Args:
        config: a training config.
        work_dir: where to write; never deleted.
        device: where to train.
        resume: go on from ``work_dir/last.pth`` where it exists.

    Returns:
        The path of the best weights.

    Raises:
        UserError: anything in the config or data that does not fit.
        Stopped: SIGTERM or SIGUSR1 came; the state is written, ``resume`` goes on from there.
    """
    check(config, TRAINING)
    with stop_requests() as stop, sole_use(work_dir, work="a training"):
        return _train(config, work_dir, device=device, resume=resume, stop=stop)


def _train(config: Config, work_dir: Path, *, device: torch.device, resume: bool, stop: StopRequest) -> Path:
    finished, state = (work_dir / DONE).exists(), work_dir / "last.pth"
    if finished and not state.exists():
        raise ConfigError(
            f"{work_dir} holds a finished run without its last.pth, whose weights would be lost: use another "
            f"--work-dir, or remove {work_dir / DONE}"
        )
    if not resume and state.exists():
        raise ConfigError(f"{work_dir} holds a run already: add --resume to go on with it, or use another --work-dir")
    if any(map(needs_training, frozen_models(config))):  # refused now, and not after hours of training an adversary
        for _ in rehearse(config, work_dir, device=torch.device("cpu")):
            pass
    config = prepare_adversaries(config, work_dir, device=device)
    runner = build_runner(config, work_dir, device=device, resume=resume)
    runner.stop = stop
    runner.train()
    best = work_dir / "best.safetensors"
    if runner.rank == 0 and not finished:  # which says on what it was trained
        write_json(
            work_dir / DONE,
            {"best": sha256(best), "fingerprint": fingerprint(config), "provenance": provenance(device)},
        )
    runner.visualizer.close()
    barrier()
    return best


def prepare_adversaries(config: Config, work_dir: Path, *, device: torch.device) -> Config:
    """A copy of the config in which every model of :func:`frozen_models` that a training config gives has a checkpoint.

    It is trained once per resolved config and data, under ``adversary_dir`` (default: ``adversaries`` beside
    the work_dir), in a folder named after both; a killed training goes on where it was, a changed config trains anew.
    """
    config = Config(plain_dict(config), filename=config.filename)
    for entry in frozen_models(config):
        if not needs_training(entry):
            continue
        store = adversary_store(config, work_dir)
        recipe = adversary_recipe(config, entry, store)
        try:
            folder = train_once(recipe, store, device=device)
        except (ConfigError, DataError) as error:
            raise type(error)(f"{entry['config']}, which is to be trained first: {error}") from error
        except CheckpointError as error:
            raise CheckpointError(
                f"{entry['config']}, which is to be trained first: {error}; its start is its own: set it in "
                "its options (options={'task.checkpoint': FILE}), or give its trained weights as checkpoint=FILE"
            ) from error
        for key in ("config", "options"):
            entry.pop(key, None)
        entry.update(task=plain_dict(recipe.task), checkpoint=str(folder / "best.safetensors"))
    return config


def train_once(config: Config, store: Path, *, device: torch.device) -> Path:
    """Train a config into ``store/<config name>-<fingerprint>`` unless that is done; returns the folder.

    A second process that needs the same model waits for the first; a killed one loses its lock.
    """
    folder = stored_folder(config, store)
    with exclusive(folder / ".lock") if get_dist_info()[0] == 0 else nullcontext():
        barrier()
        if (folder / DONE).exists() and (folder / "best.safetensors").exists():
            say(f"reusing {folder}")
            return folder
        say(f"training {config.filename} into {folder} (once; later runs reuse it)")
        train(config, folder, device=device, resume=True)
        say(f"done: {folder}")
    return folder
