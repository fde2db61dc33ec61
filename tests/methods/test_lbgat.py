"""LBGAT against its loss written out for two networks, and the natural network's life in a run."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import equal, interrupted, run, tiny_config
from torch import Tensor
from torch.nn import functional as F

from natx.attacks import PGD, Attack
from natx.errors import CheckpointError, ConfigError
from natx.methods import AWP, Adversarial
from natx.models.checkpoint import save_state
from natx.registry import TERMS
from natx.task import Task
from natx.terms import LBGAT, TRADES, TaskLoss
from natx.testing import TinyCNNTask, TinyDataset
from natx.threat import Linf
from natx.training.learner import Learner

EPS = 8 / 255


class Given(Attack):
    """Always the same perturbation: what is tested is the loss on the views, not the attack."""

    def cost_per_image(self) -> tuple[float, float]:
        return (0, 0)

    def run(self, victim, *, epoch: int = 0) -> Tensor:
        return shifted(victim.x)


def shifted(x: Tensor) -> Tensor:
    direction = torch.rand(x.shape, generator=torch.Generator().manual_seed(4), dtype=x.dtype)
    return (x + EPS * (2 * direction - 1)).clamp(0, 1)


def images(count: int = 12) -> dict[str, Tensor]:
    return TinyDataset(count).__getitems__(range(count))


def networks() -> tuple[TinyCNNTask, TinyCNNTask]:
    """The robust network and a wider natural one."""
    return TinyCNNTask(double=True, dropout=0.0), TinyCNNTask(double=True, dropout=0.0, width=9, seed=8)


def method(natural: Task, beta: float, **settings) -> Adversarial:
    terms = [LBGAT(natural, **settings)] + ([TRADES(beta)] if beta else [])
    return Adversarial(Given(Linf(EPS)), ("clean", "adv"), terms=terms, joint_batch=False)


def step(chosen, task: Task) -> dict[str, Tensor]:
    """One backward pass of what mmengine would optimise; the scalars."""
    learner = Learner(task, chosen).train()
    scalars = learner(**images(), mode="loss")
    total, _ = learner.parse_losses(scalars)
    total.backward()
    return {**scalars, "total": total.detach()}


def assert_gradients(tasks: tuple[Task, ...], by_hand: tuple[Task, ...], loss: Tensor) -> None:
    mine = [parameter for task in tasks for parameter in task.parameters()]
    theirs = torch.autograd.grad(loss, [parameter for task in by_hand for parameter in task.parameters()])
    for parameter, expected in zip(mine, theirs):
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-6, atol=1e-12)


# --------------------------------------------------------------------------------------------------------- the loss


@pytest.mark.parametrize("beta", [0.0, 6.0])
def test_loss_and_gradients_are_those_of_the_formula(beta: float) -> None:
    (f, g), batch = networks(), images()
    f_ref, g_ref = copy.deepcopy((f, g))
    scalars = step(method(g, beta), f)

    x, y = batch["inputs"].double(), batch["data_samples"]
    clean = f_ref.net.train()((x - 0.5) / 0.25)
    adv = f_ref.net((shifted(x) - 0.5) / 0.25)
    natural = g_ref.net.train()((x - 0.5) / 0.25)
    guide = ((adv - natural) ** 2).sum() / (12 * 5)
    kl = (clean.softmax(1) * (clean.log_softmax(1) - adv.log_softmax(1))).sum() / 12
    loss = guide + F.cross_entropy(natural, y) + beta * kl
    torch.testing.assert_close(scalars["total"], loss.detach(), rtol=1e-9, atol=0)
    torch.testing.assert_close(scalars["loss_guide"], guide, rtol=1e-9, atol=0)
    torch.testing.assert_close(scalars["loss_ce_natural"], F.cross_entropy(natural, y), rtol=1e-9, atol=0)
    accuracy = (natural.argmax(1) == y).double().mean() * 100
    torch.testing.assert_close(scalars["acc_natural"].double(), accuracy, rtol=1e-6, atol=0)
    assert_gradients((f, g), (f_ref, g_ref), loss)
    for mine, theirs in zip([*f.buffers(), *g.buffers()], [*f_ref.buffers(), *g_ref.buffers()]):
        torch.testing.assert_close(mine, theirs)  # f saw clean and adversarial images, g the clean ones once


def test_weight_zero_trains_the_natural_network_alone_as_clean_training_does() -> None:
    (f, g), batch = networks(), images()
    g_ref = copy.deepcopy(g)
    step(method(g, 0.0, weight=0.0), f)
    loss = F.cross_entropy(
        g_ref.net.train()((batch["inputs"].double() - 0.5) / 0.25),
        batch["data_samples"],
    )
    assert_gradients((g,), (g_ref,), loss)
    assert all(parameter.grad.abs().max() == 0 for parameter in f.parameters())


def test_soft_labels_reach_the_natural_network() -> None:
    f, g = networks()
    batch = images()
    soft = F.one_hot(batch["data_samples"], 5).double() * 0.7 + 0.06
    learner = Learner(f, method(g, 0.0)).train()
    scalars = learner(**{**batch, "data_samples": soft}, mode="loss")
    x = batch["inputs"].double()
    expected = -(soft * copy.deepcopy(g).net.train()((x - 0.5) / 0.25).log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(scalars["loss_ce_natural"], expected, rtol=1e-9, atol=0)


def test_awp_perturbs_the_robust_network_only_and_its_first_pass_leaves_the_natural_one_alone() -> None:
    f, g = networks()
    plain, moved = copy.deepcopy((f, g)), copy.deepcopy((f, g))
    step(method(plain[1], 6.0), plain[0])
    step(AWP(method(moved[1], 6.0), gamma=0.01), moved[0])
    for mine, theirs in zip(moved[1].buffers(), plain[1].buffers()):
        assert torch.equal(mine, theirs)
    # The cross-entropy of g does not feel the perturbation of f, the mean square does.
    assert not torch.allclose(moved[0].net[0].weight.grad, plain[0].net[0].weight.grad)
    for task, other in ((f, moved[0]), (g, moved[1])):
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(task.parameters(), other.parameters()))


class Counted(TinyCNNTask):
    """Counts its forwards, and the backwards through each, in images."""

    def __init__(self) -> None:
        super().__init__(dropout=0.0)
        self.forwards = self.backwards = 0

    def logits(self, x: Tensor) -> Tensor:
        logits = super().logits(x)
        self.forwards += len(x)

        def count(_: Tensor) -> None:
            self.backwards += len(x)

        if logits.requires_grad:
            logits.register_hook(count)
        return logits


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize(
    ("others", "backwards"),
    [([], 2), ([TRADES(6.0)], 3), ([TaskLoss(on=("adv",))], 2), ([TaskLoss(on=("clean",))], 3), ([TaskLoss()], 3)],
)
def test_cost_is_what_both_networks_spend(others: list, backwards: int, joint: bool) -> None:
    """A view that no term reads gets no backward, but where both views are one batch."""
    f, g = Counted(), Counted()
    attack = PGD(Linf(EPS), 4, objective=dict(type="KL"), random_start="normal")
    chosen = Adversarial(attack, ("clean", "adv"), terms=[LBGAT(g), *others], joint_batch=joint)
    # The views, the attack's clean prediction and steps, the natural network.
    expected = (2 + 1 + 4 + 1, 4 + (3 if joint else backwards))
    assert chosen.cost() == expected
    step(chosen, f)
    assert ((f.forwards + g.forwards) / 12, (f.backwards + g.backwards) / 12) == expected


# ------------------------------------------------------------------------------------------------------------- a run

ATTACK = {
    **{"type": "PGD", "threat": {"type": "Linf", "eps": EPS}, "steps": 2, "step_size": 0.02},
    **{"objective": {"type": "KL"}, "random_start": "normal"},
}
RUN = {
    "type": "Adversarial",
    "views": ("clean", "adv"),
    "attack": ATTACK,
    "terms": [
        {"type": "LBGAT", "natural": {"type": "TinyCNNTask", "num_classes": 5, "width": 3, "seed": 9}},
        {"type": "TRADES", "weight": 6.0},
    ],
    "joint_batch": False,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("lbgat") / "run"
    return folder, run(tiny_config(RUN), folder)


def test_both_networks_are_trained_by_the_one_optimiser_and_the_weights_are_the_robust_ones(whole) -> None:
    folder, state = whole
    start = TinyCNNTask(5, width=3, seed=9)
    key = "terms.0.natural.net.0.weight"
    assert set(state["method"]) == {f"terms.0.natural.{name}" for name in start.state_dict()}
    assert not torch.equal(state["method"][key], start.net[0].weight)
    count = sum(1 for task in (TinyCNNTask(5), start) for _ in task.parameters())
    assert len(state["optimizer"]["param_groups"][0]["params"]) == count
    assert len(state["optimizer"]["state"]) == count  # momentum of each
    for name in ("best", "last"):
        assert set(load_file(folder / f"{name}.safetensors")) == set(TinyCNNTask(5).net.state_dict())


def test_a_resumed_run_ends_as_one_that_was_not_stopped(whole, tmp_path: Path, monkeypatch) -> None:
    config = tiny_config(RUN)
    interrupted(config, tmp_path / "run", monkeypatch)
    resumed = run(config, tmp_path / "run", resume=True)
    assert equal(resumed, whole[1])


def test_a_state_without_the_natural_network_is_refused_in_one_line(whole, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "best.safetensors").touch()  # which a state needs beside it
    state = {key: value for key, value in whole[1].items() if key != "format"}
    save_state(folder / "last.pth", {**state, "method": {}})
    with pytest.raises(CheckpointError, match="terms.0.natural") as error:
        run(tiny_config(RUN), folder, resume=True)
    assert "\n" not in str(error.value)


# ---------------------------------------------------------------------------------------------------------- settings


def test_it_is_built_from_a_config_and_described() -> None:
    term = TERMS.build(RUN["terms"][0])
    parameters = sum(parameter.numel() for parameter in TinyCNNTask(5, width=3).parameters())
    assert term.describe() == {"type": "LBGAT", "weight": 1.0, "natural_parameters": parameters}


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_bad_weight_is_refused(weight: float) -> None:
    with pytest.raises(ConfigError, match="weight >= 0"):
        LBGAT(networks()[1], weight)


@pytest.mark.parametrize(
    ("natural", "sizes", "message"),
    [
        (lambda: TinyCNNTask(4), (None, None), "4 classes, the target 5: set natural.num_classes=5"),
        (lambda: TinyCNNTask(5), ((3, 16, 16), (3, 8, 8)), "takes inputs of"),
    ],
)
def test_a_natural_network_that_does_not_fit_is_refused_before_training(natural, sizes, message: str) -> None:
    natural, target = natural(), TinyCNNTask(5)
    natural.input_size, target.input_size = sizes
    with pytest.raises(ConfigError, match=message) as error:
        method(natural, 6.0).prepare(target, torch.device("cpu"))
    assert "\n" not in str(error.value)


def test_it_needs_adversarial_images_and_whole_images() -> None:
    f, g = networks()
    with pytest.raises(ConfigError, match="needs the view 'adv'"):
        LBGAT(g).check_views(("clean",))

    class Rows(TinyCNNTask):
        def read(self, raw, batch, *, rows=None):
            output = super().read(raw, batch)
            output.rows = "anchors"
            return output

    with pytest.raises(ConfigError, match="it is for classifiers"):
        step(method(g, 0.0), Rows(double=True))


def test_task_loss_beside_it_adds_cross_entropy_of_the_robust_network() -> None:
    f, g = networks()
    terms = [LBGAT(g), TaskLoss(on=("clean",))]
    scalars = step(Adversarial(Given(Linf(EPS)), ("clean", "adv"), terms=terms, joint_batch=False), f)
    assert {"loss_ce", "loss_guide", "loss_ce_natural"} == {name for name in scalars if "loss" in name}
