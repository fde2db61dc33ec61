"""What a training will do and cost, said without starting it."""

from __future__ import annotations

from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dist import get_dist_info

from natx.attacks import build_attack
from natx.config import plain_dict, require
from natx.data import build_dataset
from natx.training.build import COPIES, build_learner, build_loader, build_selection, with_generated
from natx.training.frozen import DONE, adversary_recipe, adversary_store, frozen_models, needs_training, stored_folder

# Task settings under which a model is built without reading or downloading weights.
_UNLOADED = {"pretrained": False, "checkpoint": None}


def describe_plan(config: Config, work_dir: Path, *, device: torch.device) -> list[str]:
    """Lines that say what a training will do and cost, without starting it, training adversaries or loading weights."""
    lines = [f"config: {config.filename}", f"work dir: {work_dir}", f"device: {device}, {_precision(config)}"]
    return lines + _plan_lines(config, work_dir, said=set())


def _plan_lines(config: Config, work_dir: Path, *, said: set[Path]) -> list[str]:
    """What is trained before a config's own training, and what both cost; ``said`` are folders known by now."""
    lines, copy = [], Config(plain_dict(config), filename=config.filename)
    store = adversary_store(config, work_dir)
    for own in frozen_models(copy):
        if not needs_training(own):
            continue
        recipe = adversary_recipe(config, own, store)
        folder = stored_folder(recipe, store)
        known = (folder / DONE).exists()
        if folder not in said:
            said.add(folder)
            lines.append(
                f"frozen model: {own['config']}, "
                + (f"reused from {folder}" if known else f"trained first into {folder}")
            )
            lines += [] if known else [f"  {line}" for line in _plan_lines(recipe, folder, said=said)]
        for key in ("config", "options"):
            own.pop(key, None)
        own.update(task=plain_dict(recipe.task), state="random")
    return lines + _cost_lines(copy)


def _cost_lines(config: Config) -> list[str]:
    """What the training itself costs, from counting (the time follows after the first iterations)."""
    config = without_weights(config)
    learner = build_learner(config, seed=config.seed)
    whole = build_dataset(plain_dict(config.data.train))
    learner.task.check_data(whole)
    learner.method.prepare(learner.task, torch.device("cpu"))  # an adversary that does not fit is refused here already
    forwards, backwards = learner.method.cost()
    batch, epochs, world_size = config.data.batch_size, config.train_cfg.max_epochs, get_dist_info()[1]
    dataset, _ = build_selection(config, whole)
    dataset = with_generated(config, dataset, whole)
    steps = len(build_loader(config, dataset))
    count = steps * batch * world_size * epochs
    made = config.data.get("copies")
    copies = [] if made is None else [_copies_line(config, len(whole))]
    parameters = sum(p.numel() for p in learner.task.parameters())
    model = config.task.get("model", config.task.type)
    model = model if isinstance(model, str) else model.type
    return [
        f"model: {model}, {parameters / 1e6:.2f} M parameters; {len(dataset)} training images",
        f"method: {_method(config.method)}, views {' + '.join(learner.method.views)}, "
        f"terms {' + '.join(type(t).__name__ for t in learner.method.terms)}",
        f"cost: {forwards:g} forwards and {backwards:g} backwards per image and step "
        f"(inner attack, views, adversary); {epochs} epochs x {steps} steps of {batch * world_size} images = "
        f"{count * forwards:,.0f} forwards and {count * backwards:,.0f} backwards of one image",
        *copies,
    ]


def _method(settings: ConfigDict) -> str:
    """A method's name; one around another names both, as ``AWP(Adversarial)``."""
    inner = settings.get("method")
    return f"{settings.type}({_method(inner)})" if isinstance(inner, dict) else settings.type


def without_weights(config: Config) -> Config:
    """A copy of the config whose task is built without reading or downloading weights."""
    config = Config(plain_dict(config), filename=config.filename)
    config.task.update({key: value for key, value in _UNLOADED.items() if key in config.task})
    return config


def _copies_line(config: Config, count: int) -> str:
    require(config, COPIES, path=config.filename or "config")
    attack = build_attack(plain_dict(config.data.copies.attack), threat=config.get("threat"))
    forwards, backwards = attack.cost_per_image() or (0, 0)
    return (
        f"adversarial copies, made once before training: {count} images, {count * (1 + forwards):,.0f} forwards and "
        f"{count * backwards:,.0f} backwards of one image"
    )


def _precision(config: Config) -> str:
    return "bfloat16 autocast" if config.get("amp") else "float32"
