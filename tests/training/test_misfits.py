"""Remarks on settings that undo one another: schedules of another length than the training, accumulated replays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import tiny_config

from natx.errors import ConfigError
from natx.training.build import build_learner, build_runner
from natx.training.misfits import misfits, schedule_misfits
from natx.training.plan import describe_plan

CPU = torch.device("cpu")
LINF = {"type": "Linf", "eps": 8 / 255}
SGD = {"optimizer": {"type": "SGD", "lr": 0.05}}


@pytest.mark.parametrize(
    "schedules",
    [
        [{"type": "MultiStepLR", "milestones": [5, 9]}],
        [{"type": "LinearLR", "end": 2}, {"type": "CosineAnnealingLR", "T_max": 8, "begin": 2, "end": 10}],
        [{"type": "LinearLR", "end": 2}, {"type": "CosineAnnealingLR", "T_max": 8, "begin": 2}],
        [{"type": "LinearLR", "end": 2}, {"type": "StepLR", "step_size": 3}],
        [{"type": "OneCycleLR", "total_steps": 40, "by_epoch": False}],
        [{"type": "CosineAnnealingLR", "T_max": 9}],  # the last epoch has the last value
        [{"type": "ExponentialLR", "gamma": 0.9}],
        [],
    ],
)
def test_schedules_that_end_with_the_training_need_no_remark(schedules: list[dict[str, Any]]) -> None:
    assert schedule_misfits(schedules, epochs=10, steps=4) == []


@pytest.mark.parametrize(
    ("schedules", "parts"),
    [
        ([{"type": "MultiStepLR", "milestones": [5, 10, 15]}], ["milestones at epoch 10, 15"]),
        ([{"type": "MultiStepLR", "milestones": [30, 50], "by_epoch": False}], ["milestones at iteration 50"]),
        ([{"type": "CosineAnnealingLR", "T_max": 30}], ["CosineAnnealingLR ends at epoch 30", "cut off"]),
        *(
            (
                [{"type": "LinearLR", "end": 2}, {"type": "StepLR", "begin": begin, "step_size": 1}],
                [f"StepLR begins at epoch {begin}", "does nothing"],
            )
            for begin in (10, 12)
        ),
        ([{"type": "LinearLR", "end": 2}, {"type": "LinearLR", "begin": 2, "end": 5}], ["ends after 50% of"]),
        ([{"type": "CosineAnnealingLR", "T_max": 4}], ["ends after 40% of"]),
        ([{"type": "LinearLR", "start_factor": 0.1}], ["LinearLR has no end and no length", "set end=10"]),
        ([{"type": "CosineAnnealingLR", "by_epoch": False}], ["no end and no length", "set end=40"]),
    ],
)
def test_schedules_of_another_length_are_told(schedules: list[dict[str, Any]], parts: list[str]) -> None:
    (line,) = schedule_misfits(schedules, epochs=10, steps=4)
    assert line.startswith("param_scheduler: ") and all(part in line for part in parts)


@pytest.mark.parametrize(
    ("threat", "told"),
    [
        ({"type": "Linf", "eps": 0.1}, False),
        ({"type": "Linf", "eps": 0.099}, False),
        ({"type": "Linf", "eps": 0.05}, True),
        ({"type": "L2", "eps": 0.1}, True),
        (None, False),
    ],
)
def test_another_threat_model_than_the_methods_is_told(threat: dict[str, Any] | None, told: bool) -> None:
    """A file that sets ``threat`` on top of a shipped config has not changed what the method trains against."""
    attack = {"type": "PGD", "threat": {"type": "Linf", "eps": 0.1}, "steps": 1}
    config = tiny_config({"type": "AWP", "gamma": 0.01, "method": {"type": "Adversarial", "attack": attack}})
    config.threat = threat
    remarks = [line for line in misfits(config, steps=4) if "the method trains against" in line]
    assert len(remarks) == told and all("Linf 25.5/255" in line for line in remarks)


def test_accumulating_over_replays_is_told_in_the_plan(tmp_path: Path) -> None:
    free = {"type": "FreeTraining", "threat": LINF, "replays": 4}
    config = tiny_config(free, optim_wrapper={**SGD, "accumulative_counts": 2})
    (line,) = misfits(config, steps=4)
    assert f"note: {line}" in describe_plan(config, tmp_path, device=CPU)
    assert "same images (replays=4): an update has 12 images" in line
    for method, count in ((free, 1), ({"type": "Standard"}, 2)):
        assert misfits(tiny_config(method, optim_wrapper={**SGD, "accumulative_counts": count}), steps=4) == []


@pytest.mark.parametrize(
    ("wrapper", "part"),
    [
        (
            {"paramwise_cfg": {"custom_keys": {"backbone": {"lr_mult": 0.1}}}},
            "'backbone' is in the name of no parameter",
        ),
        ({"paramwise_cfg": {"flat_decay_mult": 0.0}}, "weight_decay"),
    ],
)
def test_settings_of_no_parameter_are_refused(wrapper: dict[str, Any], part: str, tmp_path: Path) -> None:
    config = tiny_config({"type": "Standard"}, optim_wrapper={**SGD, **wrapper})
    with pytest.raises(ConfigError, match=part):
        build_runner(config, tmp_path, device=CPU, rehearsal=True).build_everything()


@pytest.mark.parametrize("name", ["ReduceOnPlateauLR", "ReduceOnPlateauMomentum"])
def test_a_schedule_that_waits_for_scores_is_refused(name: str, tmp_path: Path) -> None:
    config = tiny_config({"type": "Standard"}, param_scheduler=[{"type": name, "monitor": "loss"}])
    with pytest.raises(ConfigError, match="waits for the scores of a validation"):
        build_runner(config, tmp_path, device=CPU, rehearsal=True).build_everything()


def test_keys_that_are_in_a_name_are_followed(tmp_path: Path) -> None:
    wrapper = {**SGD, "paramwise_cfg": {"custom_keys": {"net.0": {"lr_mult": 0.1}}}}
    runner = build_runner(
        tiny_config({"type": "Standard"}, optim_wrapper=wrapper), tmp_path, device=CPU, rehearsal=True
    )
    runner.build_everything()
    assert sorted({group["lr"] for group in runner.optim_wrapper.param_groups}) == pytest.approx([0.005, 0.05])


def test_blends_that_change_from_replay_to_replay_are_refused() -> None:
    attack = {"type": "PGD", "threat": LINF, "steps": 2}
    data = {**tiny_config({}).data, "augments": [{"type": "Mixup", "num_classes": 5}]}
    for fresh in (0.0, 0.5):
        free = {"type": "FreeAdversarial", "attack": attack, "replays": 2, "fresh": fresh}
        config = tiny_config({"type": "AWP", "method": free}, data=data)
        if not fresh:
            build_learner(config, seed=0)
            continue
        with pytest.raises(ConfigError, match=r"Mixup blends an image .* fresh=0.5"):
            build_learner(config, seed=0)
