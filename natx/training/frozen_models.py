"""The frozen models that a training needs: how each is trained, and where it is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.config import Config

from natx.config import MODEL, TRAINING, fingerprint, frozen_models, load_config, plain_dict, with_options
from natx.data import build_dataset
from natx.models.weights import SOURCES, STORE


def needs_training(entry: dict[str, Any]) -> bool:
    """Whether an adversary is given by a training config alone, without weights or a state."""
    return "config" in entry and entry.get("checkpoint") is None and entry.get("state") is None


def adversary_recipe(config: Config, entry: dict[str, Any], store: Path) -> Config:
    """An adversary's training config: on the run's data, with its precision, launcher, log settings and ``store``.

    A counterpart of the same architecture takes the run's task settings (input size, classes); the weights that it
    starts from, its schedule, batch size and seed are its own. Where both draw batches by the same kind of sampler, the
    run's batch size and sampler are taken: how many identities fit into a batch is a matter of the images. ``options``
    of the entry override everything. A classifier whose backbone is to start another task keeps its task and images.
    """
    recipe = load_config(entry["config"], kind=TRAINING)
    recipe.adversary_dir = str(store)  # a teacher trained by NAT has an adversary of its own
    for key in ("amp", "launcher", "vis_backends", "log_interval"):
        if key in config:
            recipe[key] = config[key]
    if entry.get("part") == "backbone":
        return with_options(recipe, entry["options"], kind=TRAINING) if entry.get("options") else recipe
    if all(recipe.task.get(key) == config.task.get(key) for key in ("type", "model")):
        start = {key: recipe.task[key] for key in SOURCES if key in recipe.task}
        recipe.task = {key: value for key, value in config.task.items() if key not in SOURCES} | start
    for key in ("train", "test", "heldout", "num_workers", "augments"):
        if key in config.data:
            recipe.data[key] = config.data[key]
    if _sampler(config) is not None and _sampler(config) == _sampler(recipe):
        recipe.data.batch_size, recipe.data.sampler = config.data.batch_size, config.data.sampler
    if entry.get("options"):
        recipe = with_options(recipe, entry["options"], kind=TRAINING)
    return recipe


def _sampler(config: Config) -> Any:
    """The class of a config's sampler, or None."""
    return (config.data.get("sampler") or {}).get("type")


def task_of(entry: dict[str, Any]) -> dict[str, Any]:
    """The task config of a frozen model given by its task or by a training config."""
    if "task" in entry:
        return entry["task"]
    return plain_dict(load_config(entry["config"], kind=MODEL, options=entry.get("options")).task)


def adversary_store(config: Config, work_dir: Path) -> Path:
    """Where a run's frozen models are stored: ``adversary_dir``, or ``adversaries`` beside the work_dir."""
    return Path(config.get("adversary_dir") or work_dir.parent / STORE)


def stored_folder(config: Config, store: Path) -> Path:
    """The folder in ``store`` of a model trained by ``config``: named after the config, its data, and its own needs."""
    config = Config(plain_dict(config), filename=config.filename)
    for entry in frozen_models(config):
        if needs_training(entry):  # counts by what it is trained as, and not by the name of its config
            entry["config"] = stored_folder(adversary_recipe(config, entry, store), store).name
    data = build_dataset(plain_dict(config.data.train)).fingerprint()
    return store / f"{Path(config.filename or 'model').stem}-{fingerprint(config, data=data)}"
