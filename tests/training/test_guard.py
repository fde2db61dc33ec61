"""The guard against catastrophic overfitting: what it sees, what it keeps, and how a training goes back and on.

The network is bent by hand: a scripted term moves one weight, and once that is above a threshold the network withstands
a full step of eps and nothing on the way there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Stopped, equal, run, tiny_config
from torch import Tensor, nn

from natx.attacks import FGSM, PGD
from natx.errors import ConfigError
from natx.evaluation import evaluate
from natx.models.weights import read_meta
from natx.registry import DATASETS, TASKS, TERMS
from natx.terms.base import Term
from natx.testing import WrappedTask
from natx.threat import Linf
from natx.training.build import build_runner
from natx.training.guard import Guard, Look
from natx.training.hooks import Checkpoints
from natx.training.plan import describe_plan
from natx.training.selection import Selection

EPS, BENT = 0.1, 1.0
CPU = torch.device("cpu")


class BentNet(nn.Module):
    """Margin ``1 + d / 10`` at a mean move of ``d`` eps; above the threshold less a dip around ``d = -1/2``."""

    def __init__(self) -> None:
        super().__init__()
        self.bend = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        d = (x[:, 0].flatten(1).mean(1) - 0.5) / EPS
        dip = 3 * (-(((d + 0.5) / 0.15) ** 2)).exp() * (self.bend.detach() > BENT)
        sign = torch.where(x[:, 1].flatten(1).mean(1) > 0.5, 1.0, -1.0)
        margin = (1 + d / 10 - dip) * sign
        return torch.stack([-margin, margin], 1)


class BentTask(WrappedTask):
    """Two classes, told apart by the second channel."""

    def __init__(self) -> None:
        super().__init__(BentNet(), 2)


class RandomTask(WrappedTask):
    """Two classes and weights from torch's generator."""

    def __init__(self) -> None:
        super().__init__(nn.Sequential(nn.Flatten(), nn.Linear(32, 2)), 2)


class Plain:
    """Images of one grey in the first channel and of their class in the second."""

    num_classes = 2

    def __init__(self, count: int) -> None:
        self.labels = torch.arange(count) % 2
        first = torch.full((count, 1, 4, 4), 0.5)
        self.images = torch.cat([first, (0.2 + 0.6 * self.labels).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)], 1)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, positions: Any) -> dict[str, Tensor]:
        rows = torch.as_tensor(positions)
        return {"inputs": self.images[rows], "data_samples": self.labels[rows], "index": rows}

    def fingerprint(self) -> str:
        return f"plain {len(self)}"


class Bending(Term):
    """A loss whose gradient in the weight is ``-rate``."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate, self.tasks = rate, []

    def prepare(self, task: Any, device: torch.device) -> None:
        self.tasks = [task]

    def forward(self, views: Any, batch: Any) -> dict[str, Tensor]:
        return {"loss_bend": -self.rate * self.tasks[0].net.bend}


@pytest.fixture(autouse=True)
def bent(monkeypatch: pytest.MonkeyPatch) -> None:
    for registry, kind in ((TASKS, BentTask), (TASKS, RandomTask), (DATASETS, Plain), (TERMS, Bending)):
        monkeypatch.setitem(registry.module_dict, kind.__name__, kind)


LR, MOMENTUM, RATE, EPOCHS, STEPS = 0.05, 0.5, 2.0, 4, 4
STRONGER = [{"method.attack.noise": 2.0, "method.attack.clip": False, "method.terms.0.rate": 0.5}]


def config(**changes: Any) -> Any:
    """Four epochs of four steps; the weight passes the threshold in the second epoch."""
    attack = {"type": "SingleStep", "threat": {"type": "Linf", "eps": EPS}, "noise": 0.0, "step": 1.0}
    content = {
        "method": {"type": "Adversarial", "attack": attack, "terms": [{"type": "Bending", "rate": RATE}]},
        "data": {"train": {"type": "Plain", "count": 80}, "heldout": 32, "batch_size": 12},
        "task": {"type": "BentTask"},
        "optim_wrapper": {"optimizer": {"type": "SGD", "lr": LR, "momentum": MOMENTUM}},
        "param_scheduler": [{"type": "MultiStepLR", "milestones": [2], "gamma": 0.1, "by_epoch": True}],
        "train_cfg": {"max_epochs": EPOCHS},
    }
    return tiny_config(**{**content, **changes})


def bends(rates: list[float]) -> list[float]:
    """The weight after every epoch, by hand; after one that ends above the threshold it is that of the last good one.

    ``rates``: the term's rate in the first epoch and after each going back; none to go on with: it never goes back.
    """
    weight, memory, back, good, after = 0.0, 0.0, 0, (0.0, 0.0), []
    for epoch in range(EPOCHS):
        lr = LR if epoch < 2 else LR / 10
        for _ in range(STEPS):
            memory = MOMENTUM * memory - rates[min(back, len(rates) - 1)]
            weight -= lr * memory
        if weight > BENT and len(rates) > 1:
            (weight, memory), back = good, back + 1
        else:
            good = (weight, memory)
        after.append(weight)
    return after


FREE = {"type": "FreeTraining", "threat": {"type": "Linf", "eps": EPS}, "replays": 2}


def guarded(folder: Path) -> dict[str, Any]:
    return read_meta(folder / "last.safetensors")["guard"]


# ------------------------------------------------------------------------------------------------ what it sees


@pytest.mark.parametrize(
    ("fgsm", "pgd", "images", "overfitted"),
    [
        (85.0, 1.0, 500, True),
        (85.0, 1.0, 12, True),
        (55.0, 47.0, 10_000, False),
        (40.0, 19.0, 100, False),  # 21 points on 100 images may be 14
        (40.0, 19.0, 10_000, True),
        (20.0, 22.0, 1000, False),
    ],
)
def test_a_gap_counts_beyond_chance(fgsm: float, pgd: float, images: int, overfitted: bool) -> None:
    assert Look(fgsm, pgd, images, gap=20.0).overfitted is overfitted


def test_it_measures_fgsm_and_pgd_10() -> None:
    task, images, threat = BentTask(), Plain(24), Linf(EPS)
    task.net.bend.data.fill_(2.0)
    look = Guard(Selection(images, "24 images"), threat)(task)
    reference = evaluate(task, images, [FGSM(threat), PGD(threat, 10)])
    assert (look.fgsm, look.pgd) == (reference.accuracy("FGSM"), reference.accuracy("PGD-10")) == (100, 0)
    assert look.overfitted and look.images == 24
    task.net.bend.data.fill_(0.0)
    assert not Guard(Selection(images, "24 images"), threat)(task).overfitted


def test_pgd_is_measured_once_where_it_chooses_the_best_epoch() -> None:
    task, images, threat = BentTask(), Plain(8), Linf(EPS)
    chosen = Guard(Selection(images, "8", attack=PGD(threat, 10, seed=5)), threat, seed=0)
    other = Guard(Selection(images, "8", attack=PGD(threat, 20)), threat)
    assert chosen.shares_pgd and not other.shares_pgd
    assert chosen(task, robust=12.5).pgd == 12.5 and other(task, robust=12.5).pgd == 100
    assert chosen(task).pgd == 100  # in an epoch that is not scored
    assert Guard(chosen.selection, threat, seed=3).pgd.seed == 3
    # A clean forward, FGSM's forward and backward, and PGD-10's ten of each where nothing has them.
    assert (chosen.cost(scored=True), chosen.cost(scored=False)) == (8 * 3, 8 * 23)
    assert other.cost(scored=True) == other.cost(scored=False) == 8 * 23


# ------------------------------------------------------------------------------------------------ what it keeps


def test_it_tells_and_keeps_the_last_good_weights(tmp_path: Path) -> None:
    expected = bends([RATE])
    assert expected[0] < BENT < expected[1]  # the script
    fgsm = {"type": "FGSM", "threat": {"type": "Linf", "eps": EPS}}  # under which all epochs are alike
    state = run(config(select={"attack": fgsm}), tmp_path / "run")
    assert float(state["weights"]["bend"]) == pytest.approx(expected[-1], abs=1e-5)
    best = read_meta(tmp_path / "run" / "best.safetensors")
    assert best["epoch"] == 1 and best["best"]["overfitted"] is False
    assert guarded(tmp_path / "run") == {"overfitted": [2, 3, 4], "good": 1, "back": 0}
    assert not (tmp_path / "run" / "good.pth").exists()
    log = next((tmp_path / "run").rglob("*.log")).read_text()
    told = [line for line in log.splitlines() if "catastrophic overfitting" in line]
    assert len(told) == 3 and "WARNING" in told[0]
    assert "epoch 2: catastrophic overfitting: 100.00 % of 32 held-out training images withstand FGSM and 0.00 %" in log
    assert "the best weights stay those of epoch 1" in told[0]
    assert "epoch 1: guard: FGSM 100.00 %, PGD-10 100.00 %" in log


def test_a_good_epoch_replaces_an_overfitted_best(tmp_path: Path) -> None:
    """The first epoch overfits and scores best; what comes after is good and scores less."""
    checkpoints = Checkpoints(Selection(Plain(4), "4"), meta={})
    checkpoints.best = {"epoch": 1, "score": 90.0, "scores": {}, "overfitted": True}
    assert checkpoints._better(20.0, overfitted=False) and not checkpoints._better(80.0, overfitted=True)
    checkpoints.best["overfitted"] = False
    assert not checkpoints._better(95.0, overfitted=True) and checkpoints._better(95.0, overfitted=False)


# ------------------------------------------------------------------------------------------------ back and on


@pytest.mark.parametrize("rate", [0.5, 40.0])
def test_it_goes_back_and_on_with_stronger_settings(tmp_path: Path, rate: float) -> None:
    """Weight and momentum by hand; the rate falls by the schedule. At 40 the stronger settings overfit as well."""
    stronger = [{**STRONGER[0], "method.terms.0.rate": rate}, {"method.terms.0.rate": 0.25}]
    expected = bends([RATE, rate, 0.25])
    state = run(config(guard={"stronger": stronger}), tmp_path / "run")
    assert float(state["weights"]["bend"]) == pytest.approx(expected[-1], abs=1e-5)
    assert expected[1] == expected[0]  # the script
    marks = guarded(tmp_path / "run")
    assert marks["overfitted"] == ([2] if rate < 1 else [2, 3]) and marks["back"] == len(marks["overfitted"])
    assert state["optimizer"]["param_groups"][0]["lr"] == pytest.approx(LR / 10)
    log = next((tmp_path / "run").rglob("*.log")).read_text()
    assert (
        f"going back to epoch 1, on with method.attack.noise=2.0, method.attack.clip=False, method.terms.0.rate={rate}"
        in log
    )
    assert max(read_meta(tmp_path / "run" / "best.safetensors")["best"]["epoch"], 1) != 2


def test_it_goes_on_with_another_attack(tmp_path: Path) -> None:
    """The overrides are applied when the run is built and again when it goes back, and are the same both times."""
    attack = {"_delete_": True, "type": "PGD", "threat": {"type": "Linf", "eps": EPS}, "steps": 3}
    stronger = [{"method.attack": attack, "method.terms.0.rate": 0.5}]
    state = run(config(guard={"stronger": stronger}), tmp_path / "run")
    assert float(state["weights"]["bend"]) == pytest.approx(bends([RATE, 0.5])[-1], abs=1e-5)


def test_the_average_goes_back_too(tmp_path: Path) -> None:
    state = run(config(guard={"stronger": STRONGER}, ema={"decay": 0.9, "warmup": 0.0}), tmp_path / "run")
    plain = run(config(guard={"stronger": STRONGER}), tmp_path / "plain")
    assert torch.equal(state["live"]["bend"], plain["weights"]["bend"])
    # An average of weights that never passed the threshold, had the second epoch not been.
    assert 0 < float(state["weights"]["bend"]) < float(state["live"]["bend"]) < BENT


def test_a_first_epoch_that_overfits_goes_back_to_the_start(tmp_path: Path) -> None:
    method = config().method
    method["terms"][0]["rate"] = 50.0
    state = run(config(method=method, guard={"stronger": STRONGER}, train_cfg={"max_epochs": 1}), tmp_path / "run")
    assert float(state["weights"]["bend"]) == 0 and guarded(tmp_path / "run")["overfitted"] == [1]
    assert read_meta(tmp_path / "run" / "best.safetensors")["best"]["overfitted"] is True


@pytest.mark.parametrize("moment", ["before it went back", "before the state was written", "in the next epoch"])
def test_a_run_killed_around_it_ends_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    settings = {"guard": {"stronger": STRONGER}, "ema": {"decay": 0.9, "warmup": 0.0}}
    whole = run(config(**settings), tmp_path / "whole")

    def die(*_: Any, **__: Any) -> None:
        raise Stopped

    with monkeypatch.context() as patch:
        if moment == "before it went back":
            patch.setattr("natx.training.state.go_back", die)
        else:
            write, epoch = Checkpoints._write_state, {"before the state was written": 2, "in the next epoch": 3}[moment]

            def dying(self: Any, runner: Any, **position: Any) -> None:
                if position["epoch"] == epoch:
                    raise Stopped
                write(self, runner, **position)

            patch.setattr(Checkpoints, "_write_state", dying)
        with pytest.raises(Stopped):
            run(config(**settings), tmp_path / "killed")
    assert equal(run(config(**settings), tmp_path / "killed", resume=True), whole)


def test_accumulation_begins_anew_where_it_goes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four iterations an epoch three make an update: one waits when the first epoch ends, two when it goes back."""
    method = config().method
    method["terms"][0]["rate"] = rate = 9.0
    wrapper = {**config().optim_wrapper, "accumulative_counts": 3}
    settings = {"method": method, "optim_wrapper": wrapper, "guard": {"stronger": STRONGER}}
    weight, memory = LR * rate, rate  # after the only update of the first epoch
    assert weight < BENT < weight + LR * (MOMENTUM * memory + rate)  # the script: the second epoch's passes it
    for _ in range(3):  # of the eight iterations that are left: three, three, and the last two
        memory = MOMENTUM * memory + 0.5
        weight += LR / 10 * memory
    state = run(config(**settings), tmp_path / "run")
    assert float(state["weights"]["bend"]) == pytest.approx(weight, abs=1e-5)
    write = Checkpoints._write_state

    def dying(self: Any, runner: Any, **position: Any) -> None:
        if position["epoch"] == 4:  # after the third epoch, where an iteration waits
            raise Stopped
        write(self, runner, **position)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(Checkpoints, "_write_state", dying)
        run(config(**settings), tmp_path / "killed")
    assert equal(run(config(**settings), tmp_path / "killed", resume=True), state)


# ------------------------------------------------------------------------------------------------ when it is there


def guard_of(**changes: Any) -> Guard | None:
    runner = build_runner(config(**changes), Path("nowhere"), device=CPU, rehearsal=True)
    return next(hook.guard for hook in runner.hooks if isinstance(hook, Checkpoints))


def test_it_is_there_where_single_steps_are_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    linf = {"type": "Linf", "eps": EPS}
    single = config().method
    pgd = {"type": "Adversarial", "attack": {"type": "PGD", "threat": linf, "steps": 2}}
    for method in (
        single,
        {"type": "GradAlign", "method": single},
        {"type": "FreeTraining", "threat": linf, "replays": 2},
    ):
        guard = guard_of(method=method)
        assert guard is not None and str(guard.threat) == str(Linf(EPS)) and not guard.stronger
    assert guard_of(method=pgd) is None and guard_of(guard=None) is None
    assert guard_of(method=pgd, guard={"gap": 30.0}).gap == 30
    assert guard_of(data={"train": {"type": "Plain", "count": 80}, "batch_size": 12}) is None  # nobody to look at
    lines = describe_plan(config(guard={"stronger": STRONGER}), tmp_path / "run", device=CPU)
    assert any(line.startswith("guard: FGSM against PGD-10") and "goes back" in line for line in lines)


def test_stronger_settings_keep_what_the_method_drew(tmp_path: Path) -> None:
    """An adversary that stays random is the same network before and after going back."""
    term = {"type": "NastyKL", "adversary": {"task": {"type": "RandomTask"}, "state": "random"}}
    runner = build_runner(
        config(
            method={**config().method, "terms": [{"type": "TaskLoss"}, term]},
            guard={"stronger": [{"method.attack.noise": 2.0}]},
        ),
        tmp_path / "run",
        device=CPU,
        rehearsal=True,
    )
    guard = next(hook.guard for hook in runner.hooks if isinstance(hook, Checkpoints))
    methods = (runner.model.method, guard.method_after(1))
    before, after = (method.terms[1].adversary.tasks[0].net.state_dict() for method in methods)
    assert equal(before, after) and before["1.weight"].abs().max() > 0
    assert methods[1].attack.noise == 2.0


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"guard": {"stronger": [{"optim_wrapper.optimizer.lr": 0.1}]}}, "optim_wrapper.optimizer.lr"),
        ({"guard": {"stronger": [{"method.attack.noize": 2.0}]}}, "noize"),
        ({"guard": {"gap": 200.0}}, "gap"),
        ({"guard": {}, "data": {"train": {"type": "Plain", "count": 80}, "batch_size": 12}}, "data.heldout"),
        ({"guard": {}, "method": {"type": "Standard"}}, "threat model"),
        ({"guard": {"stronger": [{"method.replays": 4}]}, "method": FREE}, "cannot change replays"),
        ({"guard": {"stronger": [{"method.step": 0.5}, {"method.replays": 4}]}, "method": FREE}, "replays"),
    ],
)
def test_a_guard_that_cannot_do_its_work_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], part: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=part) as caught:
        guard_of(**changes)
    assert "\n" not in str(caught.value)
