"""LAS-AT's strategy, its rewards and its learning against computations by hand, and its life in a run."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import equal, interrupted, run, tiny_config
from torch import Tensor, nn
from torch.nn import functional as F

from natx.attacks import PGD
from natx.attacks.per_image import EPS, STEP_SIZE, STEPS
from natx.errors import CheckpointError, ConfigError
from natx.methods import AWP, LAS, Adversarial, Method
from natx.methods.lookahead import after_one_step
from natx.methods.strategy import Strategy
from natx.models.adversary import Adversary
from natx.models.checkpoint import save_state
from natx.registry import METHODS
from natx.task import Task
from natx.terms import NastyKL, TaskLoss
from natx.testing import TinyCNNTask, TinyDataset, WrappedTask, fit
from natx.threat import Linf
from natx.training.learner import Learner

SPACE = dict(eps=(4 / 255, 8 / 255, 15 / 255), steps=(2, 3), step_size=(2 / 255, 4 / 255))
OPTIONS = 7
ALONE = dict(eps=8 / 255, steps=4, step_size=2 / 255)


def images(count: int = 12, **settings) -> dict[str, Tensor]:
    return TinyDataset(count, **settings).__getitems__(range(count))


class Constant(nn.Module):
    """The same logits for every image."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.clone())

    def forward(self, x: Tensor) -> Tensor:
        return self.logits.expand(len(x), -1)


def constant(logits: Tensor) -> WrappedTask:
    return WrappedTask(Constant(logits), len(logits))


def chooser(**settings) -> TinyCNNTask:
    return TinyCNNTask(OPTIONS, width=4, dropout=0.0, **{"seed": 6, "double": True, **settings})


def las(strategy: Task | None = None, **settings) -> LAS:
    return LAS(strategy or chooser(), **{**SPACE, "interval": 1, "seed": 5, **settings})


def step(method: Method, task: Task, *, epoch: int = 0, batch: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    """One training step with its backward pass; gradients stay on the task."""
    learner = Learner(task, method).train()
    learner.epoch = epoch
    scalars = learner(**(batch or images()), mode="loss")
    total, _ = learner.parse_losses(scalars)
    total.backward()
    return scalars


def trained(steps: int = 12) -> TinyCNNTask:
    """Right on most images, and not for long under attack."""
    return fit(TinyCNNTask(seed=1), TinyDataset(40, noise=0.2), steps=steps).double()


# ------------------------------------------------------------------------------------------------------ the strategy


def test_choices_follow_the_networks_probabilities() -> None:
    logits = torch.tensor([0.0, 1.0, -1.0, 2.0, 0.0, 0.3, -0.3], dtype=torch.float64)
    strategy, n = Strategy(constant(logits), **SPACE), 4000
    batch = {"inputs": torch.zeros(n, 3, 1, 1, dtype=torch.float64), "index": torch.arange(n)}
    settings, log_probs = strategy.draw(batch, seed=3, epoch=1, stream=7)
    parts = dict(zip((EPS, STEPS, STEP_SIZE), logits.split([3, 2, 2])))
    expected, chosen = torch.zeros(n, dtype=torch.float64), []
    for key, values in zip(parts, (SPACE["eps"], SPACE["steps"], SPACE["step_size"])):
        at = (settings[key][:, None] == torch.tensor(values, dtype=settings[key].dtype)).nonzero()[:, 1]
        assert len(at) == n  # each is exactly one of the options
        shares = torch.bincount(at, minlength=len(values)) / n
        assert (shares - parts[key].softmax(0)).abs().max() < 4 * math.sqrt(0.25 / n)
        expected += parts[key].log_softmax(0)[at]
        chosen.append(at.double())
    torch.testing.assert_close(log_probs, expected, rtol=1e-12, atol=0)
    independent = torch.corrcoef(torch.stack(chosen)) - torch.eye(3, dtype=torch.float64)
    assert independent.abs().max() < 4 / math.sqrt(n)


def test_a_draw_that_rounding_puts_beyond_all_options_takes_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("natx.methods.strategy.uniform", lambda index, shape, **_: torch.ones(len(index), *shape))
    pairs = dict(eps=(4 / 255, 8 / 255), steps=(2, 3), step_size=(1 / 255, 2 / 255))
    settings, _ = Strategy(constant(torch.zeros(6)), **pairs).draw(images(2), seed=0, epoch=0, stream=0)
    assert [settings[key].tolist() for key in (EPS, STEPS, STEP_SIZE)] == [[8 / 255] * 2, [3] * 2, [2 / 255] * 2]


def test_choices_are_keyed_by_image() -> None:
    strategy, batch = Strategy(chooser(), **SPACE), images(20)
    some = [7, 2, 11]
    part = {key: value[some] for key, value in batch.items()}
    draws = []
    with strategy.deciding():
        for chosen, epoch, stream in ((batch, 0, 1), (part, 0, 1), (batch, 1, 1), (batch, 0, 2)):
            settings, _ = strategy.draw(chosen, seed=0, epoch=epoch, stream=stream)
            draws.append(torch.stack([settings[EPS], settings[STEPS].double(), settings[STEP_SIZE]]))
    assert torch.equal(draws[1], draws[0][:, some])
    assert not torch.equal(draws[2], draws[0]) and not torch.equal(draws[3], draws[0])


@pytest.mark.parametrize(("reward", "max_norm"), [(0.7, 1.0), (40.0, 1.0), (40.0, 1e9)])
def test_reinforce_is_its_closed_form(reward: float, max_norm: float) -> None:
    """The gradient of ``-R mean log softmax(z)[a]`` in z is ``R (p - share of a)``, head by head."""
    logits = torch.tensor([0.0, 1.0, -1.0, 2.0, 0.0, 0.3, -0.3], dtype=torch.float64)
    strategy, batch = Strategy(constant(logits), **SPACE), images(40)
    with strategy.learning():
        settings, log_probs = strategy.draw(batch, seed=3, epoch=0, stream=7)
        norm = strategy.descend(-log_probs.mean() * reward, lr=0.1, max_norm=max_norm)
    gradient = []
    for key, values, part in zip((EPS, STEPS, STEP_SIZE), SPACE.values(), logits.split([3, 2, 2])):
        share = torch.stack([(settings[key] == value).double().mean() for value in values])
        gradient.append(reward * (part.softmax(0) - share))
    gradient = torch.cat(gradient)
    torch.testing.assert_close(norm, gradient.norm(), rtol=1e-9, atol=0)
    clipped = gradient * min(1.0, max_norm / float(gradient.norm() + 1e-6))
    torch.testing.assert_close(strategy.network.net.logits.detach(), logits - 0.1 * clipped, rtol=1e-9, atol=1e-12)
    assert (float(gradient.norm()) > 1) == (reward == 40.0)


def test_it_asks_for_gradients_and_trains_batch_norm_while_it_learns_only() -> None:
    strategy, batch = Strategy(chooser(), **SPACE).train(), images()
    assert not any(parameter.requires_grad for parameter in strategy.parameters())  # before the first lesson too
    strategy.network.net[1].eval()
    modes, before = [m.training for m in strategy.modules()], copy.deepcopy(strategy.state_dict())
    with strategy.deciding():
        assert not strategy.draw(batch, seed=0, epoch=0, stream=0)[1].requires_grad
        assert not any(module.training for module in strategy.modules())
    assert equal(before, strategy.state_dict())
    with strategy.learning():
        assert strategy.draw(batch, seed=0, epoch=0, stream=0)[1].requires_grad
        assert all(module.training for module in strategy.modules())
    assert not equal(before, strategy.state_dict())
    assert [m.training for m in strategy.modules()] == modes
    assert not any(parameter.requires_grad for parameter in strategy.parameters())


# ------------------------------------------------------------------------------------------------------- the rewards


def test_one_step_ahead_is_sgd_on_a_copy() -> None:
    task, batch = TinyCNNTask(dropout=0.0, double=True).train(), images()
    x = batch["inputs"].double().flip(3)
    by_hand, before = copy.deepcopy(task), copy.deepcopy(task.state_dict())
    ahead = after_one_step(task, batch, x, lr=0.3, weight_decay=0.01)
    optimiser = torch.optim.SGD(by_hand.parameters(), lr=0.3, momentum=0.9, weight_decay=0.01)
    F.cross_entropy(by_hand.net((x - 0.5) / 0.25), batch["data_samples"]).backward()
    optimiser.step()
    clean = batch["inputs"].double()  # in eval mode, so that the batch-norm statistics count
    expected = by_hand.eval().net((clean - 0.5) / 0.25)
    torch.testing.assert_close(ahead.eval().network(clean, batch), expected, rtol=1e-9, atol=1e-12)
    assert equal(before, task.state_dict())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in task.parameters())


def withstands(net: nn.Module, x: Tensor, y: Tensor, start: Tensor, steps: int) -> Tensor:
    """Which images are right at the start of PGD and after each of its steps."""
    right, x_adv = torch.ones(len(x), dtype=torch.bool), start
    for _ in range(steps + 1):
        x_adv = x_adv.detach().requires_grad_()
        logits = net((x_adv - 0.5) / 0.25)
        right &= logits.argmax(1) == y
        (grad,) = torch.autograd.grad(F.cross_entropy(logits, y, reduction="sum"), x_adv)
        x_adv = (x + (x_adv + 2 / 255 * grad.sign() - x).clamp(-8 / 255, 8 / 255)).clamp(0, 1)
    return right


def test_rewards_by_hand() -> None:
    task, batch = trained().train(), images(30, noise=0.5, seed=5)
    task.net[8].p = 0.0
    by_hand, before = copy.deepcopy(task), copy.deepcopy(task.state_dict())
    method = las(probe=dict(type="PGD", steps=3, step_size=2 / 255, milestones=(1, 3)), copy_lr=0.05)
    x, y = batch["inputs"].double(), batch["data_samples"]
    x_adv = (x + 12 / 255 * (2 * torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) - 1)).clamp(0, 1)
    parts = method._rewards(task, batch, x_adv, epoch=0)
    assert equal(before, task.state_dict()) and all(module.training for module in task.modules())

    strength = F.cross_entropy(by_hand.net.eval()((x_adv - 0.5) / 0.25), y)
    optimiser = torch.optim.SGD(by_hand.parameters(), lr=0.05, weight_decay=5e-4)
    F.cross_entropy(by_hand.net.train()((x_adv - 0.5) / 0.25), y).backward()
    optimiser.step()
    net = by_hand.net.eval()
    start = PGD(Linf(8 / 255), 1, step_size=0.0)(by_hand, batch)
    robust = withstands(net, x, y, start, 3).double().mean()
    clean = (net((x - 0.5) / 0.25).argmax(1) == y).double().mean()
    for mine, theirs in zip(parts, (strength, robust, clean)):
        torch.testing.assert_close(mine.double(), theirs, rtol=1e-6, atol=0)
    assert 0 < robust < clean < 1


def test_no_reward_of_an_attack_is_above_ten() -> None:
    """Losses have no upper end, and one image would decide the strategy's step."""
    task, batch = TinyCNNTask(), images(4)
    task.net[9].bias.data[0] = 90.0
    batch["data_samples"] = torch.ones(4, dtype=torch.int64)  # cross-entropy is near 90
    strength, _, _ = las(probe=dict(type="FGSM"), copy_lr=0.0)._rewards(task, batch, batch["inputs"], epoch=0)
    assert float(strength) == 10


def test_a_lesson_climbs_the_weighted_rewards() -> None:
    """One whole step of the strategy, from its draw to its weights."""
    task, batch = trained(), images(20, noise=0.5, seed=5)
    logits = torch.tensor([0.0, 0.5, -1.0, 2.0, 0.0, 0.3, -0.3], dtype=torch.float64)
    method = las(constant(logits), reward=(0.5, 4.0, 2.0), lr=[(0, 0.0), (2, 0.3)], max_norm=1e9)
    scalars = step(method, task, epoch=0, batch=batch)
    assert torch.equal(method.strategy.network.net.logits, logits)  # the rate of the first epochs
    scalars = step(method, task, epoch=2, batch=batch)
    parts = [float(scalars[f"reward_{name}"]) for name in ("attack", "robust", "clean")]
    reward = 0.5 * parts[0] + 4 * parts[1] + 2 * parts[2]
    assert float(scalars["reward"]) == pytest.approx(reward, rel=1e-6)
    with torch.no_grad():
        settings, _ = Strategy(constant(logits), **SPACE).draw(batch, seed=5, epoch=2, stream=2000)
    gradient = [
        reward * (part.softmax(0) - torch.stack([(settings[key] == value).double().mean() for value in values]))
        for key, values, part in zip((EPS, STEPS, STEP_SIZE), SPACE.values(), logits.split([3, 2, 2]))
    ]
    expected = logits - 0.3 * torch.cat(gradient)
    torch.testing.assert_close(method.strategy.network.net.logits.detach(), expected, rtol=1e-5, atol=1e-7)
    assert min(parts) > 0 and parts[1] < parts[2] <= 1


# ---------------------------------------------------------------------------------------------------- the training step


@pytest.mark.parametrize("views", [("adv",), ("clean", "adv")])
@pytest.mark.parametrize("double", [False, True])
def test_one_option_is_pgd_training_bit_for_bit_however_often_the_strategy_learns(double: bool, views) -> None:
    """Three steps of SGD, with dropout, which a lesson must not disturb."""
    states = []
    pgd = PGD(Linf(8 / 255), 4, step_size=2 / 255, seed=5)
    single = LAS(chooser_of_three(), **ALONE, interval=1, seed=5, views=views)
    for method in (Adversarial(pgd, views), single):
        task = TinyCNNTask(double=double, dropout=0.4)
        optimiser = torch.optim.SGD(task.parameters(), lr=0.1, momentum=0.9)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for epoch in range(3):
                optimiser.zero_grad()
                step(method, task, epoch=epoch)
                optimiser.step()
            states.append((task.state_dict(), torch.get_rng_state()))
    assert equal(*states)


def chooser_of_three() -> TinyCNNTask:
    return TinyCNNTask(3, width=4, dropout=0.5)


def test_each_image_is_trained_on_as_the_strategy_chose_for_it() -> None:
    task, batch = trained(), images(16)
    method = las(interval=100)
    by_hand, strategy = copy.deepcopy(task), copy.deepcopy(method.strategy)
    scalars = step(method, task, epoch=3, batch=batch)
    with strategy.deciding():
        settings, _ = strategy.draw(batch, seed=5, epoch=3, stream=2001)
    (view,) = las(interval=100).make_views(by_hand, batch, epoch=3)
    moved = (view - batch["inputs"]).abs().flatten(1).amax(1)
    assert (moved <= settings[EPS] + 1e-9).all() and (moved <= 8 / 255 + settings[STEPS] * settings[STEP_SIZE]).all()
    assert len(set(settings[EPS].tolist())) == 3
    for name, key, scale in (("eps_255", EPS, 255), ("steps", STEPS, 1), ("step_size_255", STEP_SIZE, 255)):
        expected = settings[key].double().mean() * scale
        torch.testing.assert_close(scalars[f"strategy_{name}"].double(), expected, rtol=1e-6, atol=0)
    assert not any("loss" in name for name in scalars if name.startswith(("strategy", "reward")))


def test_clip_brings_the_images_back_to_a_smaller_ball() -> None:
    task, batch = trained(), images(16)
    (wide,), (clipped,) = (las(interval=100, clip=c).make_views(task, batch, epoch=0) for c in (None, 8 / 255))
    x = batch["inputs"].double()
    assert (wide - x).abs().max() > 10 / 255
    torch.testing.assert_close(clipped, x + (wide - x).clamp(-8 / 255, 8 / 255), rtol=0, atol=1e-12)
    (same,) = las(interval=100, clip=15 / 255).make_views(task, batch, epoch=0)
    assert torch.equal(same, wide)


def test_the_strategy_learns_every_so_many_steps() -> None:
    task, method = trained(), las(interval=3, lr=0.1)
    taught = []
    for _ in range(7):
        before = copy.deepcopy(method.strategy.state_dict())
        scalars = step(method, task)
        taught.append("reward" in scalars)
        assert equal(before, method.strategy.state_dict()) != taught[-1]
    assert taught == [False, False, True, False, False, True, False]
    assert int(method.taken) == 7
    method.load_state_dict({**method.state_dict(), "taken": torch.tensor(2)})
    assert "reward" in step(method, task)  # the third of the run that was loaded


@pytest.mark.parametrize("gamma", [0.0, 0.01])
def test_awp_composes(gamma: float) -> None:
    """LAS-AWP: attacked once a step, one lesson a step, and without gamma the gradients of LAS itself."""
    plain, moved = copy.deepcopy((trained(), las(clip=8 / 255))), copy.deepcopy((trained(), las(clip=8 / 255)))
    for task in (plain[0], moved[0]):
        task.net[8].p = 0.0
    first, second = step(plain[1], plain[0]), step(AWP(moved[1], gamma=gamma), moved[0])
    assert int(moved[1].taken) == 1 and equal(plain[1].state_dict(), moved[1].state_dict())
    assert torch.equal(first["reward"], second["reward"])
    gap = (plain[0].net[0].weight.grad - moved[0].net[0].weight.grad).abs().max()
    assert gap < 1e-12 if gamma == 0 else gap > 1e-6


def test_the_nasty_term_composes() -> None:
    terms = [TaskLoss(), NastyKL(Adversary([TinyCNNTask(seed=3, double=True)]), 0.06)]
    scalars = step(las(terms=terms, views=("clean", "adv")), trained())
    assert {"loss_ce", "loss_nasty", "kl_clean", "kl_adv", "reward"} <= set(scalars)


class Counter(nn.Module):
    """Counts images that pass forward and whose gradient passes back."""

    def __init__(self) -> None:
        super().__init__()
        self.forwards = self.backwards = 0

    def forward(self, z: Tensor) -> Tensor:
        self.forwards += len(z)
        if z.requires_grad:
            z = z.clone()
            z.register_hook(self._back)
        return z

    def _back(self, grad: Tensor) -> None:
        self.backwards += len(grad)


@pytest.mark.parametrize("restarts", [1, 2])
def test_cost_is_what_goes_through_the_networks_where_nothing_breaks(restarts: int) -> None:
    """All options alike and a network that the probe cannot break: the count is exact, not only an upper bound."""
    weight = torch.zeros(2, 192)
    weight[0] = 1e-3
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    with torch.no_grad():
        net[1].weight.copy_(weight)
        net[1].bias.copy_(torch.tensor([50.0, 0.0]))
    task, strategy, counter = WrappedTask(net, 2), chooser_of_three(), Counter()
    net.append(counter)
    strategy.net.append(counter)
    batch = images()
    batch["data_samples"] = torch.zeros_like(batch["data_samples"])
    method = LAS(strategy, **ALONE, interval=4, copy_lr=0.0, probe=dict(type="PGD", steps=5, restarts=restarts))
    for _ in range(4):
        step(method, task, batch=batch)
    assert (counter.forwards / 12 / 4, counter.backwards / 12 / 4) == method.cost()
    assert method.cost() == (
        1 + 4 + 1 + (1 + 4 + 1 + 1 + restarts * 6 + 1) / 4,
        1 + 4 + (1 + 4 + 1 + restarts * 5) / 4,
    )


# ------------------------------------------------------------------------------------------------------------- a run

RUN = {
    "type": "LAS",
    "strategy": {"type": "TinyCNNTask", "width": 3, "dropout": 0.2, "seed": 9},
    **{key: list(values) for key, values in SPACE.items()},
    "interval": 3,
    "lr": 0.5,
    "probe": {"type": "PGD", "steps": 2, "step_size": 0.02},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("las") / "run"
    return folder, run(tiny_config(RUN), folder)


def test_the_method_alone_trains_the_strategy(whole, tmp_path: Path) -> None:
    folder, state = whole
    start = TinyCNNTask(OPTIONS, width=3, seed=9)
    key = "strategy.network.net.0.weight"
    assert not torch.equal(state["method"][key], start.net[0].weight)
    assert set(state["method"]) == {"taken", *(f"strategy.network.{name}" for name in start.state_dict())}
    assert int(state["method"]["taken"]) == 12  # three epochs of four steps
    for name in ("best", "last"):
        assert set(load_file(folder / f"{name}.safetensors")) == set(TinyCNNTask(5).net.state_dict())
    # Without lessons its weights stay as they are, weight decay and momentum of the run's optimiser or not.
    decay = {"type": "SGD", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.5}
    idle = tiny_config({**RUN, "interval": 100}, optim_wrapper={"type": "OptimWrapper", "optimizer": decay})
    left = run(idle, tmp_path / "idle")["method"]
    assert all(torch.equal(left[f"strategy.network.{name}"], value) for name, value in start.state_dict().items())


@pytest.mark.parametrize("awp", [False, True])
def test_a_resumed_run_ends_as_one_that_was_not_stopped(whole, tmp_path: Path, monkeypatch, awp: bool) -> None:
    method = {"type": "AWP", "method": {**RUN, "clip": 8 / 255}, "gamma": 0.01} if awp else RUN
    config = tiny_config(method)
    interrupted(config, tmp_path / "run", monkeypatch)
    resumed = run(config, tmp_path / "run", resume=True)
    assert equal(resumed, run(config, tmp_path / "whole") if awp else whole[1])


def test_a_state_without_the_strategy_is_refused_in_one_line(whole, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "best.safetensors").touch()  # which a state needs beside it
    state = {key: value for key, value in whole[1].items() if key != "format"}
    save_state(folder / "last.pth", {**state, "method": {"taken": torch.tensor(4)}})
    with pytest.raises(CheckpointError, match="strategy.network") as error:
        run(tiny_config(RUN), folder, resume=True)
    assert "\n" not in str(error.value)


# ---------------------------------------------------------------------------------------------------------- settings


def test_the_defaults_are_those_of_las_pgd_at() -> None:
    method = METHODS.build(dict(type="LAS", strategy=dict(type="TinyCNNTask")))
    chosen = method.strategy.options
    assert [round(e * 255) for e in chosen[EPS]] == list(range(3, 16))
    assert list(chosen[STEPS]) == list(range(3, 15))
    assert [round(s * 255) for s in chosen[STEP_SIZE]] == list(range(1, 6))
    assert method.strategy.network.num_classes == 13 + 12 + 5
    assert str(method.attack.threat) == "Linf 15/255" and method.attack.most_steps == 14
    assert (method.interval, method.reward, method.max_norm) == (20, (1.0, 4.0, 2.0), 1.0)
    assert (method.lr(0), method.probe.steps, method.probe.restarts, method.views) == (1e-4, 10, 2, ("adv",))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(eps=()), "eps is one or several numbers above 0"),
        (dict(eps=(0.1, -0.1)), "eps"),
        (dict(eps="8/255"), "eps"),
        (dict(eps=(4, 8, 15)), "pixel units"),
        (dict(steps=(2, 2.5)), "whole"),
        (dict(steps=0), "steps"),
        (dict(step_size=float("inf")), "step_size"),
        (dict(interval=0), "interval"),
        (dict(interval=2.5), "interval"),
        (dict(clip=0), "clip"),
        (dict(clip=8), "clip"),
        (dict(reward=(1, 2)), "three factors"),
        (dict(reward=(1, 2, -1)), "three factors"),
        (dict(max_norm=0), "max_norm"),
        (dict(copy_weight_decay=-1), "copy_weight_decay"),
        (dict(lr=-1e-4), "lr is a number"),
        (dict(copy_lr=[(3, 0.1)]), "copy_lr is a number"),
        (dict(strategy=dict(type="TinyCNNTask", num_classes=4)), "num_classes of a companion is 7"),
        (dict(strategy=TinyCNNTask(4)), "has 4 classes; its options are 7"),
        (dict(views=("adv", "clean")), "views"),
    ],
)
def test_bad_settings_are_refused_in_one_line(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        las(**changes)
    assert "\n" not in str(error.value)


def test_a_task_it_cannot_reward_and_a_strategy_of_another_size_are_refused_before_training() -> None:
    task = TinyCNNTask()
    task.per_image_success = False
    with pytest.raises(ConfigError, match="it classifies"):
        las().prepare(task, torch.device("cpu"))
    task, small = TinyCNNTask(), chooser()
    task.input_size, small.input_size = (3, 32, 32), (3, 8, 8)
    with pytest.raises(ConfigError, match="takes inputs of"):
        las(small).prepare(task, torch.device("cpu"))
