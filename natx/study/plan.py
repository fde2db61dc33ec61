"""What a study would train and judge, and what that costs, without starting it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from natx.runtime.progress import amount
from natx.study.rows import Row, Study
from natx.study.run import REPORT
from natx.study.trainings import Training, opponents, passes, row_training, undefended

STATES = ("done", "unfinished", "to do")


def describe_study(
    study: Study, rows: Sequence[Row], work_dir: Path, *, options: dict[str, Any] | None = None
) -> list[str]:
    """Lines that say what is to be trained and judged, in order; costs are counted and need no data.

    Args:
        study: the study.
        rows: those of its rows that are to be run.
        work_dir: its folder.
        options: overrides of every training config.
    """
    judged = [f"attacks: {judging.attacks} on {judging.images}" for judging in study.judgings]
    lines = [
        study.title,
        f"work dir: {work_dir}; seeds: {' '.join(map(str, study.seeds))}",
        *(judged or ["epochs are timed, nothing is judged"]),
    ]
    lines += [missing] if (missing := study.missing()) else []
    listed: set[str] = set()  # folders of trainings that have a line
    key = None
    for row in rows:
        if row.key != key:
            key = row.key
            lines += ["", f"{key}" + (f" ({row.group})" if row.group else "")]
        if row.config is None:
            lines.append(f"  {row.name}: {row.reason}, not run")
            continue
        by_seed = [_needed(study, row, work_dir, seed=seed, options=options) for seed in study.seeds]
        for same in zip(*by_seed):
            if same[0].folder.name not in listed:
                listed.add(same[0].folder.name)
                lines.append(_training_line(same, study.seeds))
        if study.judgings:
            folders = [study.report_folder(row, judging) for judging in study.judgings]
            reports = [[trainings[-1].folder / folder / REPORT for folder in folders] for trainings in by_seed]
            states = ["done" if all(report.exists() for report in several) else "to do" for several in reports]
            lines.append(f"  judge {row.name}: {_by_state(study.seeds, states)}")
    return [*lines, "", f"trainings: {len(listed)} x {len(study.seeds)} seed(s)"]


def _needed(study: Study, row: Row, work_dir: Path, *, seed: int, options: dict[str, Any] | None) -> list[Training]:
    """Every training that a row takes with a seed, in the order of running, its own last."""
    training = row_training(study, row, work_dir, seed=seed, options=options)
    before = []
    if study.judgings and not study.missing():
        for judging in study.judgings:
            before += opponents(study, row, judging.config(row), work_dir, seed=seed, options=options)
        before += [one for one in [undefended(study, work_dir, seed=seed, options=options)] if one]
    others = [one for start in (*before, training) for one in _in_order(start) if one.folder != training.folder]
    return [*{one.folder: one for one in others}.values(), training]


def _in_order(training: Training) -> Iterator[Training]:
    for before in training.first:
        yield from _in_order(before)
    yield training


def _training_line(trainings: Sequence[Training], seeds: Sequence[int]) -> str:
    """One training with every seed: its config, its cost and how far it is."""
    folder, config = trainings[0].folder, trainings[0].config
    (forwards, backwards), epochs = passes(config), config.train_cfg.max_epochs
    name = Path(config.filename).name
    progress = _by_state(seeds, [one.state for one in trainings])
    return (
        f"  train {folder.name}{'' if f'{folder.name}.py' == name else f' ({name})'}: {amount(forwards)} forwards "
        f"and {amount(backwards)} backwards per image and step, {epochs} epochs: {amount(forwards * epochs, ',.0f')} "
        f"and {amount(backwards * epochs, ',.0f')} per training image; {progress}"
    )


def _by_state(seeds: Sequence[int], states: Sequence[str]) -> str:
    """The seeds of each state, such as ``done: seeds 0 1; to do: seeds 2``."""
    by_state = {state: [str(seed) for seed, other in zip(seeds, states) if other == state] for state in STATES}
    return "; ".join(f"{state}: seeds {' '.join(numbers)}" for state, numbers in by_state.items() if numbers)
