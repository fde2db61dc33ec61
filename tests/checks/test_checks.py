"""Each check fires on a model made to deserve it, at its real threshold, and none on an honest one."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from natx.attacks import APGD, FGSM, PGD, Square
from natx.benchmark.audit_subjects import BriefAutoAttack
from natx.benchmark.masks import Bytes, Detached, InAnotherSpace, NoisyLogits, Normalised, OfTheBatch, Quantised, Scale
from natx.checks import CHECKS, AuditOptions, Verdict, audit, audited
from natx.checks.base import Check, Finding
from natx.checks.chance import LEVEL
from natx.checks.text import markdown_checks, wording
from natx.data.split import subset
from natx.errors import ConfigError
from natx.evaluation import Evaluation, evaluate
from natx.evaluation.robust import AttackResult
from natx.judging.judge import judge
from natx.report.text import markdown
from natx.testing import TinyCNNTask, TinyDataset, WrappedTask
from natx.threat import Linf

TRAINING_EPS, EPS = 51 / 255, 45 / 255  # at 8/255 not even an undefended net breaks on 8x8 pixels
STEP = EPS / 4
MEAN, STD = 0.3, 0.4


class Digits:
    """scikit-learn's digits, 8x8 pixels in [0,1]; every fifth one is for testing."""

    num_classes = 10

    def __init__(self, *, train: bool, count: int | None = None) -> None:
        pixels, labels = load_digits(return_X_y=True)
        rows = [i for i in range(len(labels)) if (i % 5 != 0) == train][:count]
        self.images = torch.tensor(pixels[rows] / 16, dtype=torch.float32).view(-1, 1, 8, 8)
        self.labels = torch.tensor(labels[rows])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, rows: Any) -> dict[str, Tensor]:
        rows = torch.as_tensor(rows)
        return {"inputs": self.images[rows], "data_samples": self.labels[rows], "index": rows}


def wrapped(net: nn.Module, task: type[WrappedTask] = WrappedTask) -> WrappedTask:
    return task(net, 10, mean=MEAN, std=STD).eval()


def train(*, epochs: int, adversarial: bool) -> nn.Module:
    """A small convolutional network, trained on clean images or on PGD-7's."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.Identity() if adversarial else nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.Identity() if adversarial else nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 10),
    )
    data, optimiser = Digits(train=True), torch.optim.Adam(net.parameters(), lr=3e-3)
    for epoch in range(epochs):
        optimiser.param_groups[0]["lr"] = 3e-3 * (1 - epoch / epochs)
        for rows in torch.randperm(len(data)).split(64):
            x, y = data.images[rows], data.labels[rows]
            x_adv = x
            if adversarial:
                x_adv = (x + TRAINING_EPS * (2 * torch.rand_like(x) - 1)).clamp(0, 1)
                for _ in range(7):
                    x_adv.requires_grad_()
                    (grad,) = torch.autograd.grad(F.cross_entropy(net((x_adv - MEAN) / STD), y), x_adv)
                    x_adv = x_adv.detach() + TRAINING_EPS / 4 * grad.sign()
                    x_adv = x_adv.clamp(x - TRAINING_EPS, x + TRAINING_EPS).clamp(0, 1)
            optimiser.zero_grad()
            F.cross_entropy(net((x_adv - MEAN) / STD), y).backward()
            optimiser.step()
    return net.requires_grad_(False).eval()


@dataclass
class Trained:
    robust: nn.Module
    plain: nn.Module
    test: Digits


@pytest.fixture(scope="module")
def trained() -> Trained:
    with torch.random.fork_rng():
        return Trained(
            train(epochs=12, adversarial=True), train(epochs=6, adversarial=False), Digits(train=False, count=120)
        )


def pgd(steps: int = 20, **settings: Any) -> PGD:
    return PGD(Linf(EPS), steps, step_size=STEP, **settings)


def ask(task: WrappedTask, dataset: Any, *, attacks: Any = None, **settings: Any) -> dict[str, Verdict]:
    """The verdicts by id; few images and random points are enough to see."""
    attacks = [pgd()] if attacks is None else attacks
    settings = {"images": 40, "draws": 100, **settings}
    return {verdict.id: verdict for verdict in audit(task, dataset, attacks=attacks, **settings)}


def red(verdicts: dict[str, Verdict]) -> set[str]:
    return {key for key, verdict in verdicts.items() if verdict.verdict == "red"}


@pytest.fixture(scope="module")
def honest(trained: Trained) -> dict[str, Verdict]:
    """All columns that checks read, AutoAttack's (in a short form) included, on the adversarially trained net."""
    attacks = [
        FGSM(Linf(EPS)),
        pgd(100, milestones=(10, 20, 50, 100)),
        pgd(30, objective=dict(type="Margin"), name="C&W"),
        Square(Linf(EPS), queries=200),
        APGD(Linf(EPS), steps=5, loss="dlr"),
        BriefAutoAttack(Linf(EPS)),
    ]
    task, part = wrapped(trained.robust), subset(trained.test, 100)
    evaluation = evaluate(task, part, attacks)
    assert evaluation.accuracy("Clean") > 90 and 40 < evaluation.accuracy("AA") < evaluation.accuracy("FGSM") < 90
    columns = ask(task, part, attacks=attacks, evaluation=evaluation, vanilla=wrapped(trained.plain), images=20)
    alone = ask(task, trained.test, attacks=attacks, vanilla=wrapped(trained.plain), images=120, draws=500)
    return {key: columns[key] if alone[key].verdict == "not applicable" else alone[key] for key in columns}


def test_ids_are_the_sixteen_and_the_flags() -> None:
    ids = [check.id for check in CHECKS]
    assert ids[:16] == [f"G{i}" for i in range(1, 17)] and all(i.startswith("AA-") for i in ids[16:])
    assert len(set(ids)) == len(ids) == 22


@pytest.mark.parametrize("check", [check.id for check in CHECKS])
def test_silent_on_an_honest_trained_net(honest: dict[str, Verdict], check: str) -> None:
    assert honest[check].verdict == "green", honest[check].reason
    assert honest[check].figure is not None


# Models made to deserve it.


def test_saturated_logits(trained: Trained) -> None:
    found = ask(wrapped(nn.Sequential(trained.robust, Scale(1000))), trained.test)
    assert red(found) >= {"G9", "G10", "G16"}
    assert found["G16"].figure > 30 and found["G9"].figure > 1 and found["G10"].figure > 1


@pytest.mark.parametrize("where", ["input", "features"])
def test_quantisation_and_layers_without_gradient(trained: Trained, where: str) -> None:
    layers, at = list(trained.robust), 0 if where == "input" else 3
    net = nn.Sequential(*layers[:at], Quantised(2), *layers[at:])
    found = ask(wrapped(net), trained.test)
    assert red(found) >= {"G6", "G9", "G12", "G13"}
    assert found["G9"].figure == 100 and found["G12"].figure == 0


def test_a_detached_tensor_is_no_crash(trained: Trained) -> None:
    found = ask(wrapped(nn.Sequential(Detached(), *trained.robust)), trained.test, attacks=[], threat=Linf(EPS))
    assert red(found) == {"G9"} and "no path" in found["G9"].reason
    assert found["G6"].verdict == found["G13"].verdict == "not applicable"


def test_randomised_outputs(trained: Trained) -> None:
    task = wrapped(nn.Sequential(trained.robust, NoisyLogits()))
    attacks = [APGD(Linf(EPS), steps=2)]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        evaluation = evaluate(task, trained.test, attacks)
    found = ask(task, trained.test, attacks=attacks, evaluation=evaluation)
    assert {"G14", "AA-RAND"} <= red(found) and "randomised" in found["G14"].reason


def test_probabilities_instead_of_logits(trained: Trained) -> None:
    task = wrapped(nn.Sequential(trained.robust, nn.Softmax(1)))
    attacks = [APGD(Linf(EPS), steps=2)]
    found = ask(task, trained.test, attacks=attacks, evaluation=evaluate(task, trained.test, attacks))
    assert {"G14", "AA-PROB"} <= red(found) and "probabilities" in found["G14"].reason


class Larger(InAnotherSpace):
    factor = 1 / STD


@pytest.mark.parametrize("kind", [Normalised, Larger, Bytes])
def test_eps_in_another_space(trained: Trained, kind: type[PGD]) -> None:
    attack = kind(Linf(EPS), 10, step_size=STEP)
    found = ask(wrapped(trained.robust), trained.test, attacks=[attack])
    assert "G14" in red(found)
    assert ("left the ball" if kind is Larger else "another space") in found["G14"].reason


def test_an_undefended_model_that_a_weak_pipeline_does_not_break(trained: Trained) -> None:
    task, vanilla = wrapped(trained.robust), wrapped(trained.plain)
    attack = Bytes(Linf(EPS), 10, step_size=STEP)
    verdict = ask(task, trained.test, attacks=[attack], vanilla=vanilla)["G5"]
    assert verdict.verdict == "red" and verdict.figure > 50 and "the pipeline is wrong" in verdict.reason


def test_an_eps_that_breaks_no_model_of_these_images(trained: Trained) -> None:
    small = PGD(Linf(4 / 255), 10, step_size=1 / 255)
    verdict = ask(wrapped(trained.robust), trained.test, attacks=[small], vanilla=wrapped(trained.plain))["G5"]
    assert verdict.verdict == "not applicable" and "Linf 4/255 does not break" in verdict.reason


class Stubborn(TinyCNNTask):
    """Never leaves training mode."""

    def train(self, mode: bool = True) -> Stubborn:
        return super().train(True)


def test_training_mode_while_attacked() -> None:
    dataset = TinyDataset(40)
    attack = PGD(Linf(8 / 255), 3)
    found = ask(Stubborn(seed=1), dataset, attacks=[attack])["G14"]
    assert found.verdict == "red" and "BatchNorm2d, Conv2d, Dropout" in found.reason
    statistics = PGD(Linf(8 / 255), 3, bn_mode="train")
    found = ask(TinyCNNTask(seed=1).eval(), dataset, attacks=[statistics])["G14"]
    assert "BatchNorm2d in training mode while attacked" in found.reason


def test_outputs_that_depend_on_the_batch_and_labels_of_other_classes(trained: Trained) -> None:
    found = ask(wrapped(nn.Sequential(trained.robust, OfTheBatch())), trained.test)["G14"]
    assert found.verdict == "red" and "other images of its batch" in found.reason
    moved = copy.deepcopy(trained.test)
    moved.labels = (moved.labels + 1) % 10
    verdicts = ask(wrapped(trained.robust), moved, images=60)
    assert "labels or normalisation" in verdicts["G14"].reason
    assert verdicts["G10"].verdict == "not applicable" and "guessing gives 10.0 %" in verdicts["G10"].reason


def test_an_attack_that_stops_too_soon(trained: Trained) -> None:
    slow = PGD(Linf(EPS), 10, step_size=EPS / 40)
    verdict = ask(wrapped(trained.robust), trained.test, attacks=[slow])["G13"]
    assert verdict.verdict == "red" and 5 < verdict.figure < 50


def test_a_start_that_is_luck_and_random_points_that_do_better(trained: Trained) -> None:
    """Without gradient every start is a random point: more of them break more."""
    net, wide = nn.Sequential(Quantised(2), *trained.plain), PGD(Linf(2 * EPS), 20, step_size=2 * STEP)
    found = ask(wrapped(net), Digits(train=False), attacks=[wide], images=200, draws=200)
    assert red(found) >= {"G11", "G15"}


# Checks that read columns, on outcomes made up.

COUNT = 1000


def outcomes(success: str = "any", **right: int) -> Evaluation:
    """An evaluation in which the first so many of 1,000 images are right in each column."""
    settings = {
        "FGSM": {"type": "FGSM", "objective": "CrossEntropy"},
        "Square": {"type": "Square"},
        "AA": {"type": "AutoAttack"},
        "CW": {"type": "PGD", "objective": "Margin", "steps": 30},
        **{f"PGD{k}": {"type": "PGD", "objective": "CrossEntropy", "steps": k} for k in (10, 20, 50, 100)},
    }
    correct = {"Clean": torch.ones(COUNT, dtype=torch.bool)}
    correct.update({name: torch.arange(COUNT) < count for name, count in right.items()})
    results = [AttackResult({"type": "Clean"}, ["Clean"])]
    results += [AttackResult({**settings[name], "threat": "Linf 45/255"}, [name]) for name in right]
    return Evaluation(correct, results, success)


@pytest.mark.parametrize(
    ("check", "weaker", "columns"),
    [
        ("G1", "PGD20", dict(success="last", PGD10=500, PGD50=400)),
        ("G2", "PGD20", dict(AA=500, PGD100=500)),
        ("G3", "CW", dict(PGD20=500, PGD50=480)),
        ("G4", "AA", dict(PGD20=500)),
        ("G7", "PGD100", dict(FGSM=500, PGD20=520)),
        ("G8", "PGD20", dict(Square=500)),
    ],
)
def test_columns_are_red_from_the_limit_that_is_printed(
    trained: Trained, check: str, weaker: str, columns: dict[str, Any]
) -> None:
    """The column that moves is the stronger attack's by name; one image turns green into red, and never back."""
    task, [asked] = wrapped(trained.robust), [c for c in CHECKS if c.id == check]
    verdicts = [asked(_Case(task, outcomes(**{**columns, weaker: 500 + more}))) for more in range(130)]
    colours = [verdict.verdict for verdict in verdicts]
    first = colours.index("red")
    assert set(colours[:first]) == {"green"} and set(colours[first:]) == {"red"}
    for more, verdict in enumerate(verdicts):
        if check != "G1":  # whose figure is that of the most telling pair
            assert verdict.figure == pytest.approx(more / 10)
        assert (verdict.verdict == "red") == (verdict.figure >= verdict.threshold), verdict
        assert verdict.level == LEVEL and (verdict.verdict == "red") == (verdict.p_value <= LEVEL)
    assert verdicts[first].figure > asked.tolerance + 0.8
    shown = verdicts[first].limit
    assert shown == f"at {verdicts[first].threshold:.4g} points or above"


def test_a_gap_to_autoattack_needs_a_hundred_images(trained: Trained) -> None:
    [asked] = [c for c in CHECKS if c.id == "G2"]
    evaluation = outcomes(PGD20=400, AA=0)
    evaluation.correct = {name: right[:99] for name, right in evaluation.correct.items()}
    found = asked(_Case(wrapped(trained.robust), evaluation))
    assert found.verdict == "not applicable" and found.reason == "99 images are too few, it takes 100"


def test_a_figure_that_is_no_number_is_red() -> None:
    class Undefined(Check):
        id, title = "X", "nothing"

        def measure(self, case: Any) -> Finding:
            return Finding(float("nan"), float("nan") > 1.0, "0 of 0", limit=1.0)

    assert Undefined()(None).verdict == "red"


class _Case:
    """As much of a case as those checks look at."""

    threat = Linf(EPS)

    def __init__(self, task: WrappedTask, evaluation: Evaluation | None) -> None:
        self.task, self.evaluation = task, evaluation

    def accuracy(self, right: Tensor) -> float:
        return 100 * float(right.double().mean())


def test_columns_of_another_eps_do_not_count(trained: Trained) -> None:
    evaluation, [asked] = outcomes(PGD20=400, AA=500), [c for c in CHECKS if c.id == "G4"]
    evaluation.attacks[1].settings["threat"] = "Linf 102/255"
    found = asked(_Case(wrapped(trained.robust), evaluation))
    assert found.verdict == "not applicable" and found.reason == "no other attack was run"


# Settings that support no check, or not all.


def test_three_classes_have_no_autoattack() -> None:
    dataset = TinyDataset(30, num_classes=3)
    found = ask(TinyCNNTask(3, seed=1).eval(), dataset, attacks=[PGD(Linf(8 / 255), 3)], images=10, draws=10)
    for check in ("G2", "G4", "AA-CLASSES"):
        assert found[check].verdict == "not applicable" and "at least 4 classes" in found[check].reason
    assert found["G16"].verdict == "green"


def test_what_was_not_run_is_said(trained: Trained) -> None:
    found = ask(wrapped(trained.robust), trained.test, images=10, draws=10)
    assert found["G2"].reason == "AutoAttack was not run" and found["G5"].reason == "no undefended model was given"
    assert "was not run" in found["G3"].reason and "Square" in found["G8"].reason
    assert found["AA-RAND"].verdict == "not applicable" and found["G2"].figure is None


def test_what_ran_for_the_worst_case_alone_is_not_said_not_to_have_run(trained: Trained) -> None:
    evaluation = outcomes(PGD20=400, AA=350)
    clean = evaluation.correct["Clean"]
    evaluation = replace(evaluation, correct={"Clean": clean}, survivors=clean)
    case = _Case(wrapped(trained.robust), evaluation)
    for check in (check for check in CHECKS if check.id in ("G2", "G3", "G4", "G8")):
        verdict = check(case)
        assert verdict.verdict == "not applicable" and verdict.reason.startswith("the worst case alone was asked for")


def test_set_level_tasks_support_no_check() -> None:
    task = TinyCNNTask(seed=1)
    task.per_image_success = False
    verdicts = audit(task, TinyDataset(5), attacks=[])
    assert len(verdicts) == len(CHECKS) and {v.verdict for v in verdicts} == {"not applicable"}
    report = audited(verdicts)
    assert report["robust_wording"] is False and "none of the 22 checks applies" in wording(report)


def test_audits_without_images_or_threat_are_refused() -> None:
    task = TinyCNNTask(seed=1)
    with pytest.raises(ConfigError, match="at least 1 image; got 0"):
        audit(task, TinyDataset(5), attacks=[PGD(Linf(8 / 255), 3)], images=0)
    with pytest.raises(ConfigError, match="needs the attacks of the evaluation"):
        audit(task, TinyDataset(5))


def test_the_model_is_left_as_it_was_and_verdicts_repeat() -> None:
    task, dataset = Stubborn(seed=1), TinyDataset(12)
    task.net[0].bias.requires_grad_(False)
    flags, tensors = [p.requires_grad for p in task.parameters()], copy.deepcopy(task.state_dict())
    modes, state = [m.training for m in task.modules()], torch.get_rng_state()
    first, second = (ask(task, dataset, attacks=[PGD(Linf(8 / 255), 3)], images=12, draws=20) for _ in range(2))
    assert [m.training for m in task.modules()] == modes
    assert [p.requires_grad for p in task.parameters()] == flags
    assert all(torch.equal(value, tensors[key]) for key, value in task.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert first == second


# The report.


def test_a_red_verdict_withholds_the_word(honest: dict[str, Verdict]) -> None:
    report = audited(list(honest.values()))
    assert report["robust_wording"] is True and "withheld" not in wording(report)
    unasked = {**honest, "G2": Verdict("G2", "a gap", "not applicable", None, None, "", "", "AutoAttack was not run")}
    report = audited(list(unasked.values()))
    assert report["robust_wording"] is False
    assert wording(report).endswith("PGD was not held against AutoAttack (G2: AutoAttack was not run).")
    honest = {**honest, "G9": Verdict("G9", "a title", "red", 40.0, 1.0, "%", "above 1 %", "because | of this")}
    report = audited(list(honest.values()))
    assert report["robust_wording"] is False
    assert wording(report) == 'The word "robust" is withheld from this model: G9 (a title): because | of this.'
    lines = markdown_checks(report)
    assert lines[0] == "## Checks" and wording(report) in lines
    assert "| G9 | a title | **red** | 40 % | above 1 % | because \\| of this |" in lines
    assert markdown_checks({}) == []


def test_the_judge_audits_and_the_report_says_so(tmp_path: Path) -> None:
    """A net that was trained on nothing: its own config calls it undefended, so it is G5's model."""
    task = TinyCNNTask(seed=1)
    save_file(task.upstream.state_dict(), tmp_path / "net.safetensors")
    config = Config(
        {
            "task": {"type": "TinyCNNTask", "num_classes": 5, "seed": 2},
            "data": {"test": {"type": "TinyDataset", "count": 12}},
            "method": {"type": "Standard"},
        }
    )
    attacks = Config({"threat": {"type": "Linf", "eps": 8 / 255}, "attacks": [{"type": "PGD", "steps": 3}]})
    given = dict(device=torch.device("cpu"), batch_size=5)
    checks = AuditOptions(images=6, draws=10)
    report = judge(config, tmp_path / "net.safetensors", attacks, checks=checks, **given)
    assert [check["id"] for check in report["checks"]] == [check.id for check in CHECKS]
    assert "## Checks" in markdown(report) and wording(report) in markdown(report)
    assert "no undefended model" not in report["checks"][4]["reason"]
    assert "checks" not in judge(config, tmp_path / "net.safetensors", attacks, **given)
