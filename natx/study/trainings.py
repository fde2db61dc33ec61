"""The trainings behind a study's rows: what each is, what must be trained before it, and training it once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import barrier, get_dist_info

from natx.config import TRAINING, fingerprint, frozen_models, load_config, plain_dict, with_options
from natx.errors import ConfigError
from natx.methods import Method
from natx.models.weights import DONE
from natx.runtime.files import read_json, write_json
from natx.runtime.locks import exclusive
from natx.study.rows import Row, Study
from natx.training.build import build_learner
from natx.training.frozen_models import adversary_recipe, needs_training
from natx.training.rehearsal import without_weights
from natx.training.run import train

RECIPE = "recipe.json"  # what a folder was trained as


@dataclass
class Training:
    """One training of one seed.

    Attributes:
        folder: where it runs.
        config: its config, in which frozen models have the weights of ``first``.
        first: the trainings whose best weights it needs.
    """

    folder: Path
    config: Config
    first: list[Training] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether it has finished."""
        return (self.folder / DONE).exists()

    @property
    def state(self) -> str:
        """'done', 'unfinished' or 'to do'."""
        return "done" if self.done else "unfinished" if (self.folder / "last.pth").exists() else "to do"

    def weights(self, checkpoint: str = "best") -> Path:
        """The file of its 'best' or 'last' weights."""
        return self.folder / f"{checkpoint}.safetensors"

    def identity(self) -> str:
        """Fingerprint of the config, and of those of the trainings before it: the same whether these exist or not."""
        copy = Config(plain_dict(self.config))
        identities = {str(first.weights()): first.identity() for first in self.first}
        for entry in frozen_models(copy):
            if entry.get("checkpoint") in identities:
                entry["checkpoint"] = identities[entry["checkpoint"]]
        return fingerprint(copy)

    def foreign(self) -> str | None:
        """Why what lies in the folder is not this training; None where it is, or where nothing says."""
        path = self.folder / RECIPE
        if not path.exists():
            return None
        before, now = read_json(path)["identity"], self.identity()
        if before == now:
            return None
        return f"{self.folder} was trained under other configs or options (fingerprint {before}, now {now})"


def row_training(study: Study, row: Row, work_dir: Path, *, seed: int, options: dict[str, Any] | None) -> Training:
    """A row's training with a seed; ``options`` are for every training, those of frozen models included."""
    home = work_dir / f"seed{seed}"
    config = with_options(row.load(), {"seed": seed, **row.options, **(options or {})}, kind=TRAINING)
    training = Training(home / row.folder, config)
    if row.adversary is not None:
        before = study.row(row.adversary)
        training.first = [row_training(study, before, work_dir, seed=seed, options=options)]
        for entry in frozen_models(config):
            entry.clear()
            entry.update(config=before.config, checkpoint=str(training.first[0].weights()))
            changed = {**before.options, **(options or {})}
            if network := {key: value for key, value in changed.items() if key.split(".")[0] == "task"}:
                entry["options"] = network  # else the config's own network would meet the row's weights
    elif study.table:
        training.first = give_weights(config, run=config, home=home, options=options)
    return training


def check_rows(study: Study, rows: Sequence[Row], work_dir: Path, *, options: dict[str, Any] | None) -> None:
    """Raise ConfigError, before anything is trained, where a row's configs or options say what nothing reads.

    Args:
        study: the study.
        rows: those of its rows that are to be run.
        work_dir: its folder.
        options: see :func:`row_training`.
    """
    for row in rows:
        if row.config is not None:
            row_training(study, row, work_dir, seed=study.seeds[0], options=options)
            for judging in study.judgings:
                judging.config(row)


def give_weights(config: Config, *, run: Config, home: Path, options: dict[str, Any] | None) -> list[Training]:
    """Give each frozen model that a config names by a training config the weights of a training with the run's seed.

    It is trained in a folder beside the rows', that of the row where a row trains exactly this.

    Args:
        config: a training config or an attack config; it is changed.
        run: the training config whose data, precision and seed count.
        home: the seed's folder.
        options: see :func:`row_training`.

    Returns:
        The trainings.
    """
    trainings = []
    for entry in frozen_models(config):
        if not needs_training(entry):
            continue
        recipe = with_options(adversary_recipe(run, entry, home), {"seed": run.seed, **(options or {})})
        alone = with_options(load_config(entry["config"]), {"seed": run.seed, **(options or {})})
        name = Path(entry["config"]).stem
        if fingerprint(recipe) != fingerprint(alone):
            name += f"-{fingerprint(Config({**plain_dict(recipe), 'seed': 0}))[:8]}"
        task = plain_dict(recipe.task)
        training = Training(home / name, recipe)
        training.first = give_weights(recipe, run=recipe, home=home, options=options)
        for key in ("config", "options"):
            entry.pop(key, None)
        entry.update(task=task, checkpoint=str(training.weights()))
        trainings.append(training)
    return trainings


def opponents(
    study: Study, row: Row, attacks: Config, work_dir: Path, *, seed: int, options: dict[str, Any] | None
) -> list[Training]:
    """Give the models that attacks look at besides the row's own the weights of trainings with the same seed.

    In a table every model that the attack config gives by a training config is trained; in another study those whose
    config is that of a row are the row's, and the others are what the attack config says.

    Args:
        study: the study.
        row: the row that is judged.
        attacks: its attack config; it is changed.
        work_dir: the study's folder.
        seed: the row's.
        options: see :func:`row_training`.

    Returns:
        The trainings.
    """
    if study.table:
        run = row_training(study, row, work_dir, seed=seed, options=options).config
        return give_weights(attacks, run=run, home=work_dir / f"seed{seed}", options=options)
    rows, trainings = {other.config: other for other in reversed(study.rows)}, []
    for entry in frozen_models(attacks):
        if (other := rows.get(entry.get("config"))) is None:
            continue
        training = row_training(study, other, work_dir, seed=seed, options=options)
        entry.clear()
        entry.update(task=plain_dict(training.config.task), checkpoint=str(training.weights()))
        trainings.append(training)
    return trainings


def undefended(study: Study, work_dir: Path, *, seed: int, options: dict[str, Any] | None) -> Training | None:
    """The training of the row that the audit takes for an undefended model; None where it has none."""
    if study.audit is None or study.audit.vanilla is None:
        return None
    return row_training(study, study.row(study.audit.vanilla), work_dir, seed=seed, options=options)


def train_first(training: Training, *, device: torch.device) -> None:
    """Train what a training needs and then the training itself, each unless it is done; killed ones go on.

    A second process that needs one of them waits for the first.

    Raises:
        ConfigError: a folder holds a training under another config.
    """
    for before in training.first:
        train_first(before, device=device)
    with _one_process_at_a_time(training.folder):
        if reason := training.foreign():
            raise ConfigError(f"{reason}: use another --work-dir, or the options that it was trained with")
        if training.done:
            return
        if get_dist_info()[0] == 0:
            write_json(training.folder / RECIPE, {"config": training.config.filename, "identity": training.identity()})
        train(training.config, training.folder, device=device, resume=True)


@contextmanager
def _one_process_at_a_time(folder: Path) -> Iterator[None]:
    """Hold a folder's lock, on the first process of a group for all of them; the system frees a killed one's."""
    if get_dist_info()[0] == 0:
        with exclusive(folder / ".lock"):
            barrier()
            yield
    else:
        barrier()
        yield


def passes(config: Config) -> tuple[float, float]:
    """(forwards, backwards) per image and step of a training, counted; no weights or data are needed."""
    return method_of(config).cost()


def method_of(config: Config) -> Method:
    """The method of a training with untrained frozen models: no weights or data are needed."""
    copy = Config(plain_dict(config), filename=config.filename)
    for entry in frozen_models(copy):
        entry.clear()
        entry.update(task=copy.task, state="random")
    return build_learner(without_weights(copy), seed=0).method
