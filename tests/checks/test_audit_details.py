"""Details that decide what may be believed: which images an audit sees, who only guesses, what reports tell of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from safetensors.torch import save_file
from torch import Tensor, nn

from natx.attacks import APGD, FGSM, PGD, Attack, Square, Targeted, Transfer, WorstOf
from natx.batch import select
from natx.checks import CHECKS, AuditOptions, Verdict, audit, audited
from natx.checks.case import Case
from natx.checks.columns import BlackBoxWeaker
from natx.checks.pipeline import RandomSearch
from natx.checks.text import wording
from natx.data import subset
from natx.errors import ConfigError
from natx.evaluation import Evaluation, evaluate
from natx.evaluation.robust import AttackResult
from natx.judging.judge import judge
from natx.models.adversary import Adversary
from natx.models.mode import attack_mode
from natx.registry import ATTACKS
from natx.report.compare import compare, read_runs
from natx.testing import LinearTask, TinyCNNTask, TinyDataset, WrappedTask, fit
from natx.threat import Linf

EPS = 0.05
LINF = Linf(EPS)


def red(verdicts: Sequence[Verdict]) -> set[str]:
    return {verdict.id for verdict in verdicts if verdict.verdict == "red"}


def verdict_of(check: str, verdicts: Sequence[Verdict]) -> Verdict:
    return next(verdict for verdict in verdicts if verdict.id == check)


# Which images are attacked again.


class Watched(TinyDataset):
    """Five classes one after another; remembers which positions it was asked for."""

    def __init__(self, count: int, *, sorted_by_class: bool) -> None:
        super().__init__(count, shape=(1, 3, 3))
        order = self.labels.argsort(stable=True)
        self.images, self.labels = self.images[order], self.labels[order]
        self.sorted_by_class, self.seen = sorted_by_class, set()

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        self.seen |= set(indices)
        return super().__getitems__(indices)


def linear() -> LinearTask:
    return LinearTask(torch.randn(5, 9, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize(
    ("spaced", "images", "positions"),
    [
        (True, 10, {0, 9, 19, 28, 38, 47, 57, 66, 76, 85}),
        (False, 10, set(range(10))),
        (True, 200, set(range(95))),
        (False, 200, set(range(95))),
    ],
)
def test_audited_images_are_spread_over_a_set_that_is_sorted_by_class(
    spaced: bool, images: int, positions: set[int]
) -> None:
    data = Watched(95, sorted_by_class=spaced)
    audit(linear(), data, attacks=[PGD(LINF, 2)], images=images, draws=1)
    assert data.seen == positions
    if spaced:
        assert set(data.labels[sorted(positions)].tolist()) == set(range(5))


def test_audited_images_are_spread_over_a_part_of_such_a_set() -> None:
    data = Watched(100, sorted_by_class=True)
    audit(linear(), subset(data, 50), attacks=[PGD(LINF, 2)], images=5, draws=1)
    assert data.seen == {0, 20, 40, 60, 80}


@pytest.mark.parametrize("spaced", [True, False])
def test_random_points_are_tried_around_images_of_all_classes(spaced: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []
    monkeypatch.setattr(
        RandomSearch, "_breaks", lambda check, case, batch: tried.append(int(batch["data_samples"][0])) or False
    )
    data = Watched(100, sorted_by_class=spaced)
    task = fit(TinyCNNTask(channels=1, dropout=0.0), data)
    right = int(evaluate(task, data, []).correct["Clean"].sum())
    assert right > 60
    audit(task, data, attacks=[PGD(LINF, 2)], images=100, draws=1)
    assert 9 <= len(tried) <= 40  # it stops where the others cannot change its verdict
    assert len(set(tried)) > 3 if spaced else set(tried) <= {0, 1, 2}  # of 20 images a class the first 40


def test_a_search_that_may_stop_soon_is_not_short_of_images() -> None:
    """PGD broke all images, so that nothing that random points do could make the check red."""
    data = TinyDataset(60, num_classes=3, shape=(1, 3, 3))
    task = LinearTask(torch.eye(3, 9)).eval()
    data.labels = task.logits(data.images).argmax(1)  # all are right
    with attack_mode(task):
        verdicts = [
            RandomSearch()(Case(task, data, attacks=[], threat=Linf(0.9), images=images, draws=1)) for images in (60, 5)
        ]
    assert [verdict.verdict for verdict in verdicts] == ["green", "not applicable"]
    assert "whatever the other 39 do is no surprise" in verdicts[0].reason and "of 1 images" in verdicts[0].reason
    assert verdicts[1].reason.startswith("too few images to tell a fault from chance (of 1 images ")


def test_one_image_makes_no_check_green_that_tests() -> None:
    data = TinyDataset(60, num_classes=3, shape=(1, 3, 3))
    task = LinearTask(torch.randn(3, 9, generator=torch.Generator().manual_seed(0))).eval()
    data.labels = task.logits(data.images).argmax(1)
    for images, checks in ((1, {"G6", "G12", "G13"}), (2, set())):
        verdicts = {v.id: v for v in audit(task, data, attacks=[PGD(LINF, 10)], images=images, draws=1)}
        assert {key for key in ("G6", "G12", "G13") if "too few images" in verdicts[key].reason} == checks
        assert "inf" not in verdicts["G12"].reason


class OffTheGrid(nn.Module):
    """Class 0 for pixels that are whole 255ths, and no number at all for others."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor([1.0, 0.0, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        off = ((255 * x - (255 * x).round()).abs() > 1e-2).flatten(1).any(1, keepdim=True)
        return torch.where(off, torch.nan, self.bias + 0 * x.flatten(1).sum(1, keepdim=True))


def test_random_points_without_a_prediction_are_broken() -> None:
    """As the judge counts them; argmax takes logits that are NaN for class 0."""
    task, data = WrappedTask(OffTheGrid(), 3), TinyDataset(6, num_classes=3, shape=(1, 3, 3), uint8=True)
    data.labels = torch.zeros(6, dtype=torch.int64)
    case = Case(task, data, attacks=[], threat=LINF, images=6, draws=2)
    assert case.right.all()
    assert all(RandomSearch()._breaks(case, select(case.batch, torch.tensor([row]))) for row in range(6))
    images = data.images.float() / 255
    data.images = (images + 0.002).clamp(0, 1)  # nothing is predicted, and no label is right
    assert not Case(task, data, attacks=[], threat=LINF, images=6).right.any()


def test_clean_outcomes_are_compared_at_the_audited_images() -> None:
    task, data = linear(), Watched(200, sorted_by_class=True)
    evaluation = evaluate(task, data, [PGD(LINF, 2)])
    assert 1 < evaluation.accuracy("Clean") < 99

    def reason() -> str:
        verdicts = audit(task, data, attacks=[PGD(LINF, 2)], evaluation=evaluation, images=100, draws=1)
        return verdict_of("G14", verdicts).reason

    assert "clean outcomes differ" not in reason()
    evaluation.correct["Clean"][1::2] ^= True  # not among the audited: 0, 2, ..., 198
    assert "clean outcomes differ" not in reason()
    evaluation.correct["Clean"][[50, 90]] ^= True  # kernels depend on the batch size
    assert "clean outcomes differ" not in reason()
    evaluation.correct["Clean"][100:120:2] ^= True
    assert "12 of 100 clean outcomes differ from those of the evaluation" in reason()


# Models that guess.


class Labelled(TinyDataset):
    """Images of class 0, so many, and others."""

    def __init__(self, count: int, zeros: int, *, num_classes: int) -> None:
        super().__init__(count, num_classes=num_classes, shape=(1, 2, 2))
        self.labels = torch.where(torch.arange(count) < zeros, 0, 1 + torch.arange(count) % (num_classes - 1))


def constant(classes: int) -> LinearTask:
    """Says class 0 whatever it sees, with a small gradient that is honest."""
    weight = 1e-3 * torch.randn(classes, 4, generator=torch.Generator().manual_seed(0))
    return LinearTask(weight, torch.arange(classes) == 0).eval()


def unbroken(data: TinyDataset) -> Evaluation:
    """Outcomes of PGD-20 and AutoAttack on a constant model: those without attack."""
    right = data.labels == 0
    settings = [{"type": "PGD", "objective": "CrossEntropy", "steps": 20}, {"type": "AutoAttack"}]
    results = [AttackResult({**s, "threat": str(LINF)}, [n]) for s, n in zip(settings, ("PGD-20", "AA"))]
    return Evaluation({"Clean": right, "PGD-20": right, "AA": right}, results, "any")


@pytest.mark.parametrize(("classes", "most"), [(2, 525), (4, 287), (10, 145), (100, 59)])
def test_a_model_that_guesses_has_nothing_to_break(classes: int, most: int) -> None:
    """Of 1,000 images: a twentieth of the way from guessing (1 of C) to perfect is 1/C + (1 - 1/C) / 20."""
    assert most / 1000 <= 1 / classes + (1 - 1 / classes) / 20 < (most + 1) / 1000
    for zeros, guesses in ((most, True), (most + 1, False)):
        task, data = constant(classes), Labelled(1000, zeros, num_classes=classes)
        case = Case(task, data, attacks=[PGD(LINF, 5)], threat=LINF, evaluation=unbroken(data), images=1000)
        with attack_mode(task):
            verdicts = [check(case) for check in CHECKS if check.id in ("G2", "G10")]
        asked = verdicts if classes >= 4 else verdicts[1:]  # G2 needs AutoAttack, which needs four classes
        assert {v.verdict for v in asked} == {"not applicable" if guesses else "green"}
        if guesses:
            told = f"without attack {zeros / 10:.1f} % are right, guessing gives {100 / classes:.1f} %"
            assert all(v.reason == f"{told}: there is nothing to break" for v in asked)


def test_a_model_that_guesses_is_never_called_robust() -> None:
    """No attack breaks an image of it, and no check is red: there is nothing to break."""
    task, data = constant(10), Labelled(100, 14, num_classes=10)
    attacks = [PGD(LINF, 20, step_size=EPS / 4)]
    evaluation = unbroken(data)
    assert torch.equal(evaluate(task, data, attacks).correct["PGD-20"], evaluation.correct["PGD-20"])
    verdicts = audit(task, data, attacks=attacks, evaluation=evaluation, images=100, draws=10)
    report = audited(verdicts)
    assert red(verdicts) == set() and report["robust_wording"] is False
    assert "withheld" in wording(
        report
    ) and "PGD was not held against AutoAttack (G2: without attack 14.0 %" in wording(report)


# Models whose gradient is cut.


class Cut(nn.Module):
    """Logits ``W x``, cut off from the pixels."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.weight = nn.Parameter(torch.randn(5, 9, generator=torch.Generator().manual_seed(2)))

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "detach":
            return x.detach().flatten(1) @ self.weight.T  # its weights still ask for a gradient
        with torch.no_grad():
            return x.flatten(1) @ self.weight.T


@pytest.mark.parametrize("how", ["detach", "no_grad"])
def test_an_audit_says_that_a_gradient_is_cut(how: str) -> None:
    """Red in two checks and no crash, whatever the attacks; what needs a gradient does not apply."""
    task = WrappedTask(Cut(how), 5).eval()
    data = TinyDataset(30, shape=(1, 3, 3))
    data.labels = task.predict(data.__getitems__(range(30)))
    attacks: list[Attack] = [PGD(LINF, 5), PGD(LINF, 5, name="again"), FGSM(LINF), Square(LINF, queries=5)]
    verdicts = audit(task, data, attacks=attacks, vanilla=task, images=20, draws=10)
    assert red(verdicts) == {"G9", "G14"}
    assert verdict_of("G9", verdicts).reason == "autograd finds no path from the pixels to the loss"
    faults = verdict_of("G14", verdicts)
    assert faults.figure == 3 and "PGD-5: the model gives no gradient" in faults.reason
    assert "again: the model gives no gradient" in faults.reason and "FGSM: " in faults.reason
    for check in ("G1", "G5", "G6", "G7", "G10", "G11", "G12", "G13", "G15"):
        assert verdict_of(check, verdicts).verdict == "not applicable", check
        assert "autograd finds no path" in verdict_of(check, verdicts).reason
    assert audited(verdicts)["robust_wording"] is False


# By what an attack follows, the audit sorts its columns.


def test_an_attack_says_what_it_follows() -> None:
    followed = {name: kind.information for name, kind in ATTACKS.module_dict.items() if kind.__module__[:5] == "natx."}
    assert {name for name, information in followed.items() if information != "gradients"} == {
        *("Square", "Transfer", "Copies", "AutoAttack")
    }
    assert followed["AutoAttack"] == "everything" and followed["Square"] == "outputs"


def test_an_attack_of_ones_own_takes_its_side_in_g8() -> None:
    """Neither name is known to the audit: what they follow is."""

    @ATTACKS.register_module(force=True)
    class Guessing(FGSM):
        information = "outputs"

    @ATTACKS.register_module(force=True)
    class Climbing(PGD):
        pass

    right = torch.arange(100)
    columns = {"Clean": right < 90, "Climbing": right < 60, "Guessing": right < 30}
    results = [AttackResult({"type": name, "threat": str(LINF)}, [name]) for name in ("Climbing", "Guessing")]
    case = Case(
        TinyCNNTask(seed=1),
        TinyDataset(100),
        attacks=[],
        threat=LINF,
        evaluation=Evaluation(columns, results, "any"),
    )
    try:
        verdict = BlackBoxWeaker()(case)
    finally:
        for name in ("Guessing", "Climbing"):
            ATTACKS.module_dict.pop(name)
    assert verdict.verdict == "red" and verdict.figure == pytest.approx(30)
    assert verdict.reason == "Guessing 30.00, the lowest with gradients Climbing 60.00"


# What the report says the audit was told.


def test_the_report_says_what_the_audit_was_told(tmp_path: Path) -> None:
    for name, seed in (("net", 1), ("vanilla", 2)):
        save_file(TinyCNNTask(seed=seed).upstream.state_dict(), tmp_path / f"{name}.safetensors")
    config = Config(
        {
            "task": {"type": "TinyCNNTask"},
            "data": {"test": {"type": "TinyDataset", "count": 8}},
            "method": {"type": "Standard"},
        }
    )
    attacks = Config({"threat": {"type": "Linf", "eps": EPS}, "attacks": [{"type": "PGD", "steps": 2}]})

    def settings(checks: AuditOptions | None) -> dict[str, Any]:
        report = judge(config, tmp_path / "net.safetensors", attacks, device=torch.device("cpu"), checks=checks)
        return json.loads(json.dumps(report["settings"]))

    vanilla = tmp_path / "vanilla.safetensors"
    digest = hashlib.sha256(vanilla.read_bytes()).hexdigest()
    assert settings(AuditOptions(images=6, draws=10))["audit"] == {"images": 6, "draws": 10}
    named = settings(AuditOptions(images=5, draws=9, vanilla=vanilla))["audit"]
    assert named == {"images": 5, "draws": 9, "vanilla": str(vanilla), "vanilla_sha256": digest}
    assert "audit" not in settings(None)


# Attacks made of attacks: their blocks, and what reports tell of them.

CHOSEN = {"objective": {"type": "Margin"}}


def test_the_worst_of_attacks_runs_on_the_blocks_of_its_attacks() -> None:
    """APGD seeds once per call: which images share one decides its starts."""
    task, data, sizes = fit(TinyCNNTask(seed=1), TinyDataset(40)), TinyDataset(12, seed=5), []
    data.labels[1] = (data.labels[1] + 1) % 5  # wrong without attack, and part of its block all the same

    class Spy(APGD):
        def run(self, victim: Any, *, epoch: int = 0) -> Tensor:
            sizes.append(len(victim))
            return super().run(victim, epoch=epoch)

    attack = WorstOf(LINF, [PGD(LINF, 2), Spy(LINF, steps=3, block_size=5)], **CHOSEN)
    assert attack.block_size == 5
    found = [evaluate(task, data, [attack], batch_size=size).correct["WorstOf"] for size in (1, 4, 12)]
    assert sizes == [5, 5, 2] * 3
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    outer = WorstOf(LINF, [attack, FGSM(LINF)], **CHOSEN)
    assert outer.block_size == 5 and WorstOf(LINF, [PGD(LINF, 2), FGSM(LINF)], **CHOSEN).block_size is None


def test_attacks_on_blocks_of_different_sizes_do_not_go_together() -> None:
    attacks = [APGD(LINF, block_size=8), PGD(LINF, 2), Square(LINF, block_size=4)]
    with pytest.raises(ConfigError, match=r"share their blocks of images; got block_size \[4, 8\]") as error:
        WorstOf(LINF, attacks, **CHOSEN)
    assert "\n" not in str(error.value)


def composed(seed: int) -> dict[str, Attack]:
    """Attacks made of others, which have a seed of their own."""
    inner = PGD(LINF, 2, seed=seed)
    targeted = PGD(LINF, 2, seed=seed, objective={"type": "TargetedMargin"})
    source = Adversary([TinyCNNTask(seed=3)])
    return {
        "Targeted": Targeted(LINF, targeted),
        "Transfer": Transfer(LINF, source, inner, refine=PGD(LINF, 3, seed=seed)),
        "WorstOf": WorstOf(LINF, [inner, PGD(LINF, 3, seed=seed)], **CHOSEN),
    }


@pytest.mark.parametrize("kind", ["Targeted", "Transfer", "WorstOf"])
def test_the_seed_of_an_inner_attack_is_not_told_as_the_outer_one_decides(kind: str) -> None:
    """Before and after a run, which sets the inner attack's seed: reports and resumed evaluations compare the two."""
    attack, other = composed(0)[kind], composed(7)[kind]
    attack.seed = other.seed = 5
    told = attack.describe()
    assert told == other.describe() and told["seed"] == 5
    inner = [told[key] for key in ("attack", "attacks", "refine") if key in told]
    assert inner and all("seed" not in text and text.startswith("type=PGD, threat=Linf ") for text in inner)
    assert "steps=2" in inner[0] and "step_size=" in inner[0] and "objective=" in inner[0]
    task, batch = TinyCNNTask(seed=1).eval(), TinyDataset(6).__getitems__(range(6))
    pixels = [one.judge(task, batch, success="last").x_adv for one in (attack, other)]
    assert torch.equal(*pixels)
    assert attack.describe() == told


# Reports of several seeds, whose attacks look at models of the same seed.


def report(settings: dict[str, Any], *, seed: int) -> dict[str, Any]:
    return {
        "name": "NAT",
        "threat": "Linf 8/255",
        "success": "any",
        "images": 10,
        "columns": [{"name": "Clean", "accuracy": 90.0}, {"name": "Transfer", "accuracy": 50.0 + seed}],
        "attacks": [{"columns": ["Transfer"], "settings": settings, "forwards": 1, "backwards": 1}],
        "settings": {"config": "nat.py", "config_fingerprint": "f", "training_seed": seed, "checkpoint_sha256": seed},
        "provenance": {},
    }


def tables(folder: Path, texts: Sequence[str], key: str = "source") -> list[list[int]]:
    """How many runs each row of each table has."""
    for seed, text in enumerate(texts):
        (folder / str(seed)).mkdir()
        content = report({"type": "Transfer", "steps": 3, key: text}, seed=seed)
        (folder / str(seed) / "report.json").write_text(json.dumps(content))
    found = compare(read_runs([folder / str(seed) for seed in range(len(texts))]))
    return [[len(row.runs) for row in table.rows] for table in found]


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("source", "work/study/seed{}/r8_vt/best.safetensors"),
        ("source", "seed{}/best.safetensors"),
        ("adversary", "/data/runs/seed1{}/vt/last.safetensors"),
        ("attacks", "type=PGD, adversary=work/seed{0}/vt/best.safetensors, steps=3; type=FGSM, source=work/seed{0}/a"),
        ("source", "work/seed{0}/a.safetensors + work/seed{0}/b.safetensors"),
    ],
)
def test_models_in_folders_of_the_runs_own_seed_are_one_condition(tmp_path: Path, key: str, text: str) -> None:
    assert tables(tmp_path, [text.format(seed) for seed in (0, 1, 22)], key) == [[3]]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("work/seed0/vt/best.safetensors", "work/seed1/pgd_at/best.safetensors"),
        ("work/seed0/best.safetensors", "other/seed1/best.safetensors"),
        ("work/seed0.safetensors", "work/seed1.safetensors"),  # a file's name
        ("work/reseed0/best.safetensors", "work/reseed1/best.safetensors"),
        ("work/seed0b/best.safetensors", "work/seed1b/best.safetensors"),
    ],
)
def test_other_models_are_another_condition(tmp_path: Path, one: str, other: str) -> None:
    assert tables(tmp_path, [one, other]) == [[1], [1]]
