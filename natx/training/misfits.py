"""Settings that fit a config and not one another: a schedule of another length than the training, and the like."""

from __future__ import annotations

from typing import Any

from mmengine.config import Config

from natx.config import plain_dict
from natx.registry import THREATS
from natx.training.images import replayed, training_threat

ENDLESS = float("inf")
ALIKE = 0.05  # of two radii: 0.031 is meant as 8/255
# Schedules that spread a change over their length, which mmengine takes for 10^9 where nothing says it.
SPREAD = ("Linear", "Poly", "CosineAnnealing", "OneCycle")


def misfits(config: Config, *, steps: int) -> list[str]:
    """Remarks on settings of a training that undo one another, a line each; none where they fit.

    Args:
        config: a training config.
        steps: iterations of an epoch.
    """
    epochs, schedules = config.train_cfg.max_epochs, plain_dict(config).get("param_scheduler", ())
    schedules = [schedules] if isinstance(schedules, dict) else list(schedules)
    return [
        *schedule_misfits(schedules, epochs=epochs, steps=steps),
        *_accumulated_replays(config),
        *_other_threat(config),
    ]


def schedule_misfits(schedules: list[dict[str, Any]], *, epochs: int, steps: int) -> list[str]:
    """Remarks on schedules of a config that end after the training, or all before it."""
    lines, ends, run = [], [], f"the training has {epochs} epochs"
    for schedule in schedules:
        by_epoch = schedule.get("by_epoch", True)
        length, unit = (epochs, "epoch") if by_epoch else (epochs * steps, "iteration")
        begin, end = schedule.get("begin", 0), _end(schedule)
        if end == ENDLESS and schedule["type"].startswith(SPREAD):
            lines.append(f"{schedule['type']} has no end and no length: it changes next to nothing; set end={length}")
        late = [str(milestone) for milestone in schedule.get("milestones", ()) if milestone >= length]
        if begin >= length:
            lines.append(f"{schedule['type']} begins at {unit} {begin} and {run}: it does nothing")
        elif end > length and end != ENDLESS:
            lines.append(f"{schedule['type']} ends at {unit} {end} and {run}: it is cut off before its end")
        if late:
            lines.append(f"{schedule['type']} has milestones at {unit} {', '.join(late)} and {run}: they never come")
        # One step before the end the last value is taken already.
        ends.append(end / length if end < length - 1 else ENDLESS)
    if ends and max(ends) < 1:
        lines.append(
            f"the last schedule ends after {max(ends):.0%} of the training: what it sets stays so, or goes back"
        )
    return [f"param_scheduler: {line}" for line in lines]


def _end(schedule: dict[str, Any]) -> float:
    """When a schedule has come to its end, in its own unit; ENDLESS where it has none."""
    if "end" in schedule:
        return schedule["end"]
    length = next((schedule[key] for key in ("T_max", "total_steps") if schedule.get(key) is not None), ENDLESS)
    return schedule.get("begin", 0) + length


def _accumulated_replays(config: Config) -> list[str]:
    """A remark on gradients that are accumulated over iterations which show the same images."""
    count, replays = config.optim_wrapper.get("accumulative_counts", 1), replayed(config.method)[0]
    if count == 1 or replays == 1:
        return []
    return [
        f"accumulative_counts={count} adds up gradients of iterations that show the same images (replays={replays}): "
        f"an update has {config.data.batch_size} images, and the images are attacked further without one in between"
    ]


def _other_threat(config: Config) -> list[str]:
    """A remark where the method trains against another threat model than the config's own, which its file may mean."""
    threats = [training_threat(plain_dict(config.method)), config.get("threat")]
    named, own = (THREATS.build(plain_dict(threat)) if isinstance(threat, dict) else threat for threat in threats)
    if named is None or own is None or named == own:
        return []
    if type(named) is type(own) and abs(named.radius / own.radius - 1) < ALIKE:
        return []
    return [f"the method trains against {named}, which its attack names; threat, {own}, is that of other attacks"]
