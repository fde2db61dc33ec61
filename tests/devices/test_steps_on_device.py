"""Training steps of every method, term and task on the pretended device: its numbers, and how often the host waits.

A step waits once, where everything that was expected of it is looked at. What waits more often says so here.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from device_steps import stepped

from natx.batch import COPIES, Batch, to_device
from natx.benchmark.training import Trainer
from natx.errors import ConfigError, DataError, NonFiniteError
from natx.registry import ATTACKS, METHODS, OBJECTIVES, TERMS
from natx.task import Task
from natx.testing import TinyCNNTask, TinyDataset
from natx.training.learner import Learner

LINF = {"type": "Linf", "eps": 8 / 255}
BOTH = ("clean", "adv")
LOSS = {"type": "TaskLoss"}
CNN = {"type": "TinyCNNTask", "num_classes": 5}
FROZEN = {"task": {**CNN, "seed": 4}, "state": "random"}


def pgd(**changes: Any) -> dict[str, Any]:
    return {"type": "PGD", "threat": LINF, "steps": 2, "step_size": 4 / 255, **changes}


def adversarial(*terms: dict[str, Any], views: tuple[str, ...] = BOTH, **changes: Any) -> dict[str, Any]:
    method = {"type": "Adversarial", "attack": pgd(), "views": views, **changes}
    return {**method, "terms": list(terms)} if terms else method


def attacked_by(**attack: Any) -> dict[str, Any]:
    return adversarial(views=("adv",), attack={"threat": LINF, **attack})


def following(term: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"type": "Distillation", "method": adversarial(term, **changes), "teacher": FROZEN}


def nasty(frozen: dict[str, Any] = FROZEN, **changes: Any) -> dict[str, Any]:
    return adversarial(LOSS, {"type": "NastyKL", "adversary": frozen}, **changes)


INNER = {"type": "PGD", "steps": 2}
METHOD_CASES: dict[str, dict[str, Any]] = {
    "Standard": {"type": "Standard"},
    "NAT": nasty(),
    "NAT, bounded": adversarial(LOSS, {"type": "NastyKL", "adversary": FROZEN, "cap": 1.0}),
    "eps warm-up": adversarial(eps_warmup=2),
    "two forwards": adversarial(joint_batch=False),
    "TRADES": adversarial(
        {"type": "TaskLoss", "on": ("clean",)},
        {"type": "TRADES"},
        attack=pgd(objective={"type": "KL"}, random_start="normal"),
    ),
    "MART": adversarial({"type": "MART"}),
    "LASSO": adversarial(LOSS, {"type": "LASSO"}),
    "PriorConsistency": {"type": "PriorGuided", "threat": LINF, "terms": [LOSS, {"type": "PriorConsistency"}]},
    "LBGAT": adversarial(LOSS, {"type": "LBGAT", "natural": CNN}),
    "EMR": adversarial(LOSS, {"type": "EMR"}),
    "NNR": adversarial(LOSS, {"type": "NNR"}),
    "AWP": {"type": "AWP", "method": adversarial()},
    "SAM": {"type": "SAM", "method": {"type": "Standard"}},
    "GradAlign": {"type": "GradAlign", "method": attacked_by(type="FGSM")},
    "FreeAdversarial": {"type": "FreeAdversarial", "attack": pgd(steps=1), "replays": 2, "fresh": 0.5},
    "FreeTraining": {"type": "FreeTraining", "threat": LINF, "replays": 2},
    "PriorGuided": {"type": "PriorGuided", "threat": LINF},
    "ATAS": {"type": "ATAS", "threat": LINF},
    "ARD": following({"type": "ARD", "weight": 0.5}),
    "RSLAD": following({"type": "RSLAD"}, attack=pgd(objective={"type": "TeacherKL"})),
    "IAD": following({"type": "IAD"}),
    "KD": following({"type": "KD", "keep": 0.5}),
}
ATTACK_CASES: dict[str, dict[str, Any]] = {
    "FGSM": attacked_by(type="FGSM"),
    "SingleStep": attacked_by(type="SingleStep"),
    "PGD under L2": attacked_by(**pgd(threat={"type": "L2", "eps": 0.5})),
    "PGD with restarts": attacked_by(**pgd(restarts=2)),
    "PGD with momentum": attacked_by(**pgd(momentum=1.0)),
    "PGD on batch statistics": attacked_by(**pgd(bn_mode="train")),
    "AutoPGD": attacked_by(type="AutoPGD", steps=4),
    "WorstOf": attacked_by(type="WorstOf", attacks=[INNER, {"type": "PGD", "steps": 1}], select="batch"),
    "Targeted": attacked_by(type="Targeted", targets=2, attack={**INNER, "objective": {"type": "TargetedMargin"}}),
    "Transfer": attacked_by(type="Transfer", source=FROZEN, attack=INNER, refine=INNER),
    "Copies": attacked_by(type="Copies"),
    "PatchPGD": attacked_by(type="PatchPGD", steps=2, threat={"type": "Patch", "height": 3}),
}
OBJECTIVE_CASES: dict[str, dict[str, Any]] = {
    name: attacked_by(**pgd(objective={"type": name, **settings}))
    for name, settings in {
        "CrossEntropy": {},
        "RescaledCrossEntropy": {},
        "Margin": {},
        "DLR": {},
        "KL": {},
        "NamedLoss": {"name": "loss_ce"},
        "Adaptive": {"adversary": FROZEN, "weight": 0.06},
    }.items()
}
# The strategy's choices are read before the attack, since the host has to know how many steps each image takes.
LAS = {"type": "LAS", "strategy": {"type": "TinyCNNTask", "width": 4}, "interval": 50}
# Each step asks which images are finished: that they leave the batch is what the method is for.
FRIENDLY = attacked_by(type="FriendlyPGD", steps=4, step_size=4 / 255, tau=1)


def small() -> Task:
    return TinyCNNTask(5)


def images() -> Batch:
    batch = TinyDataset(12, noise=0.3, uint8=True).__getitems__(range(12))
    return {**batch, COPIES: (batch["inputs"].int() + 5).clamp(0, 255).to(torch.uint8)}


@pytest.mark.parametrize(
    "method", list({**METHOD_CASES, **ATTACK_CASES, **OBJECTIVE_CASES}.items()), ids=lambda m: m[0]
)
def test_a_step_has_the_cpus_numbers_and_one_wait(device: torch.device, method: tuple[str, dict[str, Any]]) -> None:
    step = stepped(method[1], device, model=small, images=images)
    assert step.agrees(), step.losses
    assert step.waits.total == 1, str(step.waits)


def test_las_waits_for_the_choices_and_for_each_step_of_a_lesson(device: torch.device) -> None:
    step = stepped(LAS, device, model=small, images=images)
    assert step.agrees(), step.losses
    assert step.waits.total == 2, str(step.waits)
    lesson = {**LAS, "interval": 1, "probe": {"type": "PGD", "steps": 3}}
    assert stepped(lesson, device, model=small, images=images, steps=1).agrees()


def test_friendly_steps_wait_once_each(device: torch.device) -> None:
    step = stepped(FRIENDLY, device, model=small, images=images)
    assert step.agrees(), step.losses
    assert step.waits.total <= 1 + 4, str(step.waits)


def test_bfloat16_takes_a_step(device: torch.device) -> None:
    """The pretended device casts nothing: this holds that autocast is asked for by the device's own type."""
    learner = Learner(TinyCNNTask(5), METHODS.build(copy.deepcopy(nasty())), amp="bfloat16").to(device)
    learner.method.prepare(learner.task, device)
    assert float(Trainer(learner)(to_device(images(), device))["loss"].detach()) > 0


def test_what_a_step_expects_is_still_refused(device: torch.device) -> None:
    def step(method: dict[str, Any], **changes: Any) -> None:
        learner = Learner(TinyCNNTask(5), METHODS.build(copy.deepcopy(method))).to(device)
        learner.method.prepare(learner.task, device)
        Trainer(learner)(to_device({**images(), **changes}, device))

    with pytest.raises(DataError, match="do not normalise"):
        step(adversarial(), inputs=torch.full((12, 3, 8, 8), 2.0))
    with pytest.raises(ConfigError, match="are up to 5/255"):
        step(attacked_by(type="Copies", threat={"type": "Linf", "eps": 4 / 255}))
    with pytest.raises(NonFiniteError, match="loss_lasso=inf"):
        step(adversarial(LOSS, {"type": "LASSO", "weight": 1e38}))


def test_every_method_term_attack_and_objective_takes_a_step_here() -> None:
    """A new one gets a case: here, or where its task is."""
    told = str([METHOD_CASES, ATTACK_CASES, OBJECTIVE_CASES, LAS, FRIENDLY])
    elsewhere = {
        "PerImagePGD",  # inside LAS
        "OneOf",  # waits for the rows of each of its attacks; judged on the device
        *("APGD", "AutoAttack", "Square", "Universal"),  # for judging
        *("TargetedCrossEntropy", "TargetedDLR"),  # as TargetedMargin
        "ImageLoss",  # of detectors
    }
    for registry in (METHODS, TERMS, ATTACKS, OBJECTIVES):
        ours = {name for name, kind in registry.module_dict.items() if kind.__module__.startswith("natx.")}
        assert {name for name in ours - elsewhere if f"'{name}'" not in told} == set()
