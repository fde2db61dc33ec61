"""Transfer attacks and the matrix of sources and targets, on linear nets whose answers are known."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from workshop import Workshop

from natx.attacks import PGD, Attack, AutoAttack, Transfer, build_attack
from natx.batch import START
from natx.config import plain_dict
from natx.errors import ConfigError, UnsupportedError
from natx.judging.build import build_attacks
from natx.judging.transfer_matrix import Matrix, transfer_matrix
from natx.models.adversary import Adversary
from natx.models.checkpoint import save_weights
from natx.registry import TASKS
from natx.study import load_table
from natx.study.trainings import give_weights, row_training
from natx.testing import LinearTask, TinyCNNTask, TinyDataset, WrappedTask, fit
from natx.threat import Linf

ROOT = Path(__file__).resolve().parents[2]
EPS = 0.03
NAMED: dict[str, Any] = dict(type="PGD", threat=Linf(EPS), steps=6, step_size=EPS / 2, random_start=False)
CRAFT = dict(type="PGD", steps=6, step_size=EPS / 2, random_start=False, objective=dict(type="Margin"))


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scene(count: int = 12) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """The weights of a source and a target that mostly agree, and images that the target gets right."""
    target = draw(2, 12, seed=1)
    source = target + 0.8 * draw(2, 12, seed=2)
    x = 0.3 + 0.4 * torch.rand(count, 3, 2, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    labels = (x.flatten(1) @ target.T).argmax(1)
    return source, target, {"inputs": x, "data_samples": labels, "index": torch.arange(count)}


def corners(weight: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """Where Linf PGD on two linear classes ends."""
    rows = zip(batch["inputs"], batch["data_samples"].tolist())
    return torch.stack([x + EPS * (weight[1 - y] - weight[y]).sign().view_as(x) for x, y in rows])


def wrong(weight: Tensor, x: Tensor, batch: dict[str, Tensor]) -> Tensor:
    return (x.flatten(1) @ weight.T).argmax(1) != batch["data_samples"]


def transfer(source: Any, **kwargs: Any) -> Transfer:
    return Transfer(Linf(EPS), source, CRAFT, **kwargs)


@pytest.mark.parametrize("success", ["any", "last"])
def test_the_pixels_are_the_sources_and_the_verdict_is_the_targets(success: str) -> None:
    source, target, batch = scene()
    attack = transfer(Adversary([LinearTask(source)]))
    found = attack.judge(LinearTask(target), batch, success=success)
    torch.testing.assert_close(found.x_adv, corners(source, batch), rtol=0, atol=1e-12)
    expected = wrong(target, corners(source, batch), batch)
    assert torch.equal(found.broken["Transfer"], expected)
    assert not torch.equal(expected, wrong(target, corners(target, batch), batch))
    assert not torch.equal(expected, wrong(source, corners(source, batch), batch))
    assert (found.cost.forwards, found.cost.backwards) == (6 * 12 + 12, 6 * 12)
    assert attack.cost_per_image() == (6, 6)
    torch.testing.assert_close(attack(LinearTask(target), batch), corners(source, batch), rtol=0, atol=1e-12)


class Still(Attack):
    """Stays where it is told to begin."""

    takes_start = True

    def run(self, victim, *, epoch: int = 0) -> Tensor:
        return victim.batch[START]


def test_a_refinement_begins_where_the_transfer_ended() -> None:
    source, target, batch = scene()
    adversary = Adversary([LinearTask(source)])
    still = transfer(adversary, refine=Still(Linf(EPS)))
    torch.testing.assert_close(still(LinearTask(target), batch), corners(source, batch), rtol=0, atol=1e-12)
    # One step of half an eps on the target from the source's corner, inside the ball.
    short = transfer(adversary, refine={**CRAFT, "steps": 1})(LinearTask(target), batch)
    up = torch.stack([target[1 - y] - target[y] for y in batch["data_samples"].tolist()]).view_as(short)
    x = batch["inputs"]
    expected = torch.minimum(torch.maximum(corners(source, batch) + EPS / 2 * up.sign(), x - EPS), x + EPS)
    torch.testing.assert_close(short, expected, rtol=0, atol=1e-12)
    # Long enough, it ends in the target's own corner; under 'any' what the transfer broke keeps the source's.
    refined = transfer(adversary, refine=CRAFT)
    last = refined.judge(LinearTask(target), batch, success="last")
    torch.testing.assert_close(last.x_adv, corners(target, batch), rtol=0, atol=1e-12)
    found = refined.judge(LinearTask(target), batch)
    transferred = wrong(target, corners(source, batch), batch)
    assert 0 < int(transferred.sum()) < 12
    torch.testing.assert_close(found.x_adv[transferred], corners(source, batch)[transferred], rtol=0, atol=1e-12)
    assert torch.equal(found.broken["Transfer"], transferred | wrong(target, corners(target, batch), batch))
    assert refined.cost_per_image() == (12, 12)


def cnns() -> tuple[TinyCNNTask, TinyCNNTask, TinyDataset]:
    data = TinyDataset(40)
    return fit(TinyCNNTask(seed=1), data).double(), fit(TinyCNNTask(seed=2, width=4), data).double(), data


@pytest.mark.parametrize("success", ["any", "last"])
def test_an_image_is_attacked_the_same_in_any_batch(success: str) -> None:
    source, target, data = cnns()
    attack = Transfer(Linf(0.25), Adversary([source]), dict(type="PGD", steps=4, step_size=0.08), seed=5)
    batch = TinyDataset(10, seed=4).__getitems__(range(10))
    whole = attack.judge(target, batch, success=success)
    assert 0 < int(whole.broken["Transfer"].sum()) < 10
    for rows in ([3], [9, 2, 4]):
        part = attack.judge(target, {key: value[rows] for key, value in batch.items()}, success=success)
        torch.testing.assert_close(part.x_adv, whole.x_adv[rows], rtol=0, atol=1e-9)
        assert torch.equal(part.broken["Transfer"], whole.broken["Transfer"][rows])


class Broken(RuntimeError):
    """Raised in the middle of an attack."""


class Failing(WrappedTask):
    """A target that fails when it is asked."""

    def logits(self, x: Tensor) -> Tensor:
        raise Broken


@pytest.mark.parametrize("fails", [False, True])
def test_both_models_are_left_as_they_were(fails: bool) -> None:
    source, target, _ = cnns()
    adversary = Adversary([source])
    if fails:
        target = Failing(target.net, 5)
    target.train()
    target.net[0].weight.grad = torch.ones_like(target.net[0].weight)
    before = [copy.deepcopy(task.state_dict()) for task in (source, target)]
    modes = [[m.training for m in task.modules()] for task in (source, target)]
    flags = [[p.requires_grad for p in task.parameters()] for task in (source, target)]
    batch = TinyDataset(4).__getitems__(range(4))
    state = torch.get_rng_state()
    attack = Transfer(Linf(EPS), adversary, dict(type="PGD", steps=2), refine=dict(type="PGD", steps=2))
    if fails:
        with pytest.raises(Broken):
            attack.judge(target, batch)
    else:
        attack.judge(target, batch)
    assert set(batch) == {"inputs", "data_samples", "index"} and torch.equal(torch.get_rng_state(), state)
    for task, tensors, mode, flag in zip((source, target), before, modes, flags):
        assert all(torch.equal(value, tensors[key]) for key, value in task.state_dict().items())
        assert [m.training for m in task.modules()] == mode
        assert [p.requires_grad for p in task.parameters()] == flag
    assert torch.equal(target.net[0].weight.grad, torch.ones_like(target.net[0].weight))
    assert all(p.grad is None for p in source.parameters())


def sized(size: tuple[int, int, int]) -> TinyCNNTask:
    task = TinyCNNTask()
    task.input_size = size
    return task


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (TinyCNNTask(4), "the source has 4 classes, the target 5"),
        (sized((3, 16, 16)), r"the source takes inputs of \(3, 16, 16\), the target of \(3, 8, 8\)"),
    ],
)
def test_sources_that_do_not_fit(source: TinyCNNTask, message: str) -> None:
    batch = TinyDataset(4).__getitems__(range(4))
    with pytest.raises(ConfigError, match=message) as error:
        transfer(Adversary([source], role="source")).judge(sized((3, 8, 8)), batch)
    assert "\n" not in str(error.value)


def random_net(**kwargs: Any) -> dict[str, Any]:
    return dict(task=dict(type="TinyCNNTask", **kwargs), state="random")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            dict(source=dict(config="configs/cls/digits_vt.py"), attack=CRAFT),
            "source needs config=<training config>, ch",
        ),
        (dict(source=dict(members=[random_net(), random_net(seed=1)]), attack=CRAFT), "one source model; got 2"),
        (dict(source=random_net(), attack={**CRAFT, "threat": dict(type="Linf", eps=0.5)}), "share its threat model"),
        (dict(source=random_net(), attack=CRAFT, refine={**CRAFT, "restarts": 2}), "use PGD without restarts"),
        (dict(source=random_net(), attack=CRAFT, refine={**CRAFT, "milestones": (2, 6)}), "leave out its milestones"),
    ],
)
def test_wrong_settings_in_one_line(settings: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(ConfigError, match=message) as error:
        build_attack(dict(type="Transfer", threat=dict(type="Linf", eps=EPS), **settings))
    assert "\n" not in str(error.value)


def test_a_source_is_built_with_its_weights(tmp_path: Path) -> None:
    source, target, _ = cnns()
    save_weights(tmp_path / "source.safetensors", source.float(), meta={})
    given = dict(task=dict(type="TinyCNNTask"), checkpoint=str(tmp_path / "source.safetensors"))
    attack = build_attack(dict(type="Transfer", threat=dict(type="Linf", eps=EPS), source=given, attack=CRAFT))
    batch = TinyDataset(4).__getitems__(range(4))
    assert torch.equal(
        attack(target.float(), batch), PGD(Linf(EPS), **{k: CRAFT[k] for k in CRAFT if k != "type"})(source, batch)
    )
    assert attack.describe()["source"] == str(tmp_path / "source.safetensors")
    assert attack.scaled(0.5).attack.threat == Linf(EPS / 2)


def test_the_surrogate_of_table_5_is_trained_with_the_seed_of_the_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    study = load_table("table5", scale="small")
    row = study.rows[0]
    training = row_training(study, row, tmp_path, seed=1, options=None)
    attacks = study.judgings[0].config(row)
    first = give_weights(attacks, run=training.config, home=tmp_path / "seed1", options=None)
    assert {one.folder for one in first} == {tmp_path / "seed1" / "cnn_cifar10_pgd_at"}
    assert all((one.config.seed, one.config.task.model) == (1, "small_cnn") for one in first)
    weights = first[0].weights()
    assert [attack.source.checkpoint for attack in attacks.attacks[:2]] == [str(weights)] * 2
    save_weights(weights, TASKS.build(plain_dict(first[0].config.task)), meta={})
    built = build_attacks(attacks)
    assert [column for attack in built for column in attack.columns()] == ["PGD_S", "CW", "Square"]
    assert all(attack.source.origin == str(weights) for attack in built[:2])


# ------------------------------------------------------------------------------------------------ the matrix


class Set:
    """A data set of a batch."""

    def __init__(self, batch: dict[str, Tensor]) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return len(self.batch["index"])

    def __getitems__(self, positions: list[int]) -> dict[str, Tensor]:
        return {key: value[list(positions)] for key, value in self.batch.items()}


class Hidden(LinearTask):
    """A linear net behind a rounding of its pixels: no gradient comes through."""

    def logits(self, x: Tensor) -> Tensor:
        return super().logits((x * 1e6).round() / 1e6)


@pytest.mark.parametrize("batch_size", [5, 100])
def test_matrix_of_linear_nets(batch_size: int) -> None:
    source, target, batch = scene(20)
    third = draw(2, 12, seed=8)
    weights = {"a": target, "b": source, "only": third}
    attack = build_attack({**CRAFT, "threat": Linf(EPS)})
    matrix = transfer_matrix(
        {"a": LinearTask(target), "b": LinearTask(source)},
        Set(batch),
        [attack],
        sources={"only": LinearTask(third)},
        batch_size=batch_size,
    )
    assert (matrix.sources, matrix.targets, matrix.attacks) == (["a", "b", "only"], ["a", "b"], ["PGD-6"])
    for name in ("a", "b"):
        assert matrix.accuracy("Clean", name) == 100 * float(
            (~wrong(weights[name], batch["inputs"], batch)).double().mean()
        )
        for other in weights:
            right = ~wrong(weights[name], corners(weights[other], batch), batch)
            assert torch.equal(matrix.correct["PGD-6", other, name], right)
    assert matrix.flags() == []  # white-box is the strongest on linear nets
    cost = matrix.costs["PGD-6", "only"]
    assert (cost.forwards, cost.backwards) == (20 * (6 + 1 + 2), 20 * 6)


def test_a_target_that_hides_its_gradient_is_flagged() -> None:
    _, target, batch = scene(20)
    honest, hidden = LinearTask(target), Hidden(target)
    attack = build_attack({**CRAFT, "threat": Linf(EPS)})
    matrix = transfer_matrix({"honest": honest, "hidden": hidden}, Set(batch), [attack])
    broken = int(wrong(target, corners(target, batch), batch).sum())
    assert broken > 0 and matrix.accuracy("PGD-6", "hidden", "hidden") == 100
    names = {"attack": "PGD-6", "source": "honest", "target": "hidden"}
    [flag] = matrix.flags()
    assert 0 < flag.pop("p_value") < 0.01
    assert flag == {**names, "transfer": 100 - 5 * broken, "white_box": 100.0, "missed": broken}
    assert all(p.requires_grad for p in honest.parameters())  # left as it was


class Undefined(LinearTask):
    """A linear net whose logits are no numbers for all images but the ones it knows."""

    def __init__(self, weight: Tensor, known: Tensor) -> None:
        super().__init__(weight)
        self.known = known

    def logits(self, x: Tensor) -> Tensor:
        moved = (x[:, None] - self.known).abs().flatten(2).amax(2).amin(1) > 0
        return super().logits(x).masked_fill(moved[:, None], torch.nan)


def test_a_target_without_numbers_for_an_answer_is_wrong() -> None:
    source, target, batch = scene(20)
    batch["data_samples"] = torch.zeros_like(batch["data_samples"])  # the class that NaN would count as
    undefined = Undefined(target, batch["inputs"])
    matrix = transfer_matrix({"a": LinearTask(source), "b": undefined}, Set(batch), [build_attack(NAMED)])
    assert matrix.accuracy("Clean", "b") == 100 * float((~wrong(target, batch["inputs"], batch)).double().mean()) > 0
    assert matrix.accuracy("PGD-6", "a", "b") == 0 == matrix.accuracy("PGD-6", "b", "b")


def test_what_an_attack_met_and_cannot_reach_is_told() -> None:
    _, target, batch = scene(20)
    models = {"honest": LinearTask(target), "hidden": Hidden(target)}
    attacks = [build_attack(NAMED), build_attack({**NAMED, "steps": 1, "step_size": EPS / 10, "name": "short"})]
    notes = transfer_matrix(models, Set(batch), attacks).notes
    assert notes["PGD-6", "honest"] == [] and "gradient was zero" in notes["PGD-6", "hidden"][0]
    assert notes["PGD-6", "hidden"][0].endswith(": 20")
    assert "do not add up" in notes["short", "honest"][0]


def test_an_attack_that_cannot_attack_one_of_the_models_is_refused_before_the_first_image() -> None:
    source, target, batch = scene()

    class Spy(PGD):
        def run_judged(self, *_: Any, **__: Any) -> Any:
            raise AssertionError("an attack ran")

    attacks = [Spy(Linf(EPS), 2), AutoAttack(Linf(EPS))]
    with pytest.raises(UnsupportedError, match="at least 4 classes; got 2"):
        transfer_matrix({"a": LinearTask(source), "b": LinearTask(target)}, Set(batch), attacks)


@pytest.mark.parametrize(
    ("count", "own", "transferred", "flagged"),
    [
        (1000, 500, 500, False),
        (1000, 500, 470, False),  # of about 1,000 images that differ, 30 more on one side are one standard error
        (1000, 500, 430, True),
        (100, 50, 40, False),
        (100, 50, 25, True),
        (1000, 500, 560, False),
    ],
)
def test_a_transfer_is_flagged_beyond_chance(count: int, own: int, transferred: int, flagged: bool) -> None:
    """The images that the transfer leaves right are others than those of the white box, all but one."""
    place = torch.arange(count)
    correct = {("PGD", "t", "t"): place < own, ("PGD", "s", "t"): (place >= own - 1) & (place < own - 1 + transferred)}
    found = Matrix(["t", "s"], ["t"], ["PGD"], correct).flags()
    assert len(found) == flagged
    if flagged:
        accuracies = {"transfer": 100 * transferred / count, "white_box": 100 * own / count}
        assert found[0] == pytest.approx({**found[0], **accuracies}) and found[0]["missed"] == own - 1


def test_a_transfer_is_flagged_among_as_many_as_there_are() -> None:
    """The more sources are looked at, the more often one seems stronger by chance."""
    place = torch.arange(1000)
    correct = {("PGD", "t", "t"): place < 500, ("PGD", "s", "t"): place >= 570, ("PGD", "u", "t"): place < 500}
    one = Matrix(["t", "s"], ["t"], ["PGD"], correct).flags()
    two = Matrix(["t", "s", "u"], ["t"], ["PGD"], correct).flags()
    assert two[0]["p_value"] == pytest.approx(2 * one[0]["p_value"]) and len(one) == len(two) == 1


def test_attacks_of_one_name_are_refused() -> None:
    """Their columns differ, but a matrix knows attacks by name."""
    threat = Linf(EPS)
    attacks = [PGD(threat, 4, milestones=(2, 4)), PGD(threat, 6, milestones=(3, 6)), PGD(threat, 1)]
    target = LinearTask(scene()[1])
    with pytest.raises(ConfigError, match="two attacks are called PGD: give one of them name='...'") as error:
        transfer_matrix({"a": target}, Set(scene()[2]), attacks)
    assert "\n" not in str(error.value)
    attacks[1].name = "longer"
    assert transfer_matrix({"a": target}, Set(scene()[2]), attacks).attacks == ["PGD", "longer", "PGD-1"]


@pytest.mark.parametrize(
    ("targets", "sources", "message"),
    [
        ({}, {}, "at least one target"),
        ({"a": TinyCNNTask()}, {"a": TinyCNNTask()}, "a: a target is a source already"),
        ({"a": TinyCNNTask()}, {"b": TinyCNNTask(3)}, "the source b has 3 classes, the target 5"),
    ],
)
def test_matrices_that_mean_nothing(targets: dict, sources: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        transfer_matrix(targets, TinyDataset(4), [build_attack({**CRAFT, "threat": Linf(EPS)})], sources=sources)
    assert "\n" not in str(error.value)


CONFIG = """custom_imports = dict(imports=["natx.testing"])
task = dict(type="TinyCNNTask", width={width})
data = dict(test=dict(type="TinyDataset", count=20, seed={seed}))
"""


def test_the_tool_writes_a_matrix(tmp_path: Path, shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = []
    for name, width, seed in (("first", 6, 5), ("second", 4, 5), ("other", 4, 6)):
        (tmp_path / f"{name}.py").write_text(CONFIG.format(width=width, seed=seed))
        save_weights(tmp_path / f"{name}.safetensors", fit(TinyCNNTask(width=width), TinyDataset(40)), meta={})
        words.append([f"{name}.py", f"{name}.safetensors"])
    (tmp_path / "attacks.py").write_text(
        'threat = dict(type="Linf", eps=0.15)\nattacks = [dict(type="PGD", steps=4, step_size=0.05)]\n'
    )
    options = ("--attacks", "attacks.py", "--out", "out", "--subset", 10)
    ran = shop.run("transfer.py", *words[0], "--source", *words[1], *options)
    assert ran.code == 0, ran.err
    report = json.loads((tmp_path / "out" / "transfer.json").read_text())
    assert (report["images"], report["of"], [model["name"] for model in report["models"]]) == (
        10,
        20,
        ["first", "second"],
    )
    (attack,) = report["attacks"]
    assert set(attack["accuracy"]) == {"first", "second"} and set(attack["accuracy"]["second"]) == {"first"}
    text = (tmp_path / "out" / "transfer.md").read_text()
    assert f"| first | **{attack['accuracy']['first']['first']:.2f}** |" in text
    bad = shop.run("transfer.py", *words[0], *words[2], "--attacks", "attacks.py")
    assert bad.error() == "error: other.py is tested on other images than first.py: compare models of one test set"
