"""The average of the weights: what it is after every step, and that it is judged beside them, saved and resumed."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from forks import Fork, run_pair, run_tool
from mmengine.hooks import Hook
from safetensors.torch import load_file
from workshop import DIGITS, ROOT, Workshop, merged, write_config

from natx.config import TRAINING, load_config
from natx.data import build_dataset, hold_out
from natx.errors import CheckpointError, ConfigError
from natx.models.checkpoint import load_weights
from natx.models.weights import read_meta, read_weights
from natx.registry import HOOKS, TASKS, TERMS
from natx.terms import TaskLoss
from natx.training.build import build_runner
from natx.training.hooks import EMA
from natx.training.plan import describe_plan
from natx.training.rehearsal import rehearse
from natx.training.selection import Selection

CPU = torch.device("cpu")
FAST = {"decay": 0.9, "warmup": 0.25}
EPOCHS, STEPS = 2, 6


def config(folder: Path, **changes: Any) -> Any:
    return load_config(write_config(folder / "digits.py", merged(DIGITS, {"ema": FAST, **changes})))


def hook(runner: Any, kind: str) -> Any:
    return next(h for h in runner.hooks if type(h).__name__ == kind)


class Record(Hook):
    """The model's and the average's weights after every step."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.live: list[dict[str, torch.Tensor]] = []
        self.average: list[dict[str, torch.Tensor]] = []

    def after_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        for kept, task in ((self.live, runner.model.task), (self.average, hook(runner, "EMA").task)):
            kept.append({name: p.detach().clone() for name, p in task.named_parameters()})


# ---------------------------------------------------------------------------------------------- the average


def test_decay_warms_up() -> None:
    """Wang et al.: nothing before 2.5 % of the steps, then (1 + d) / (10 + d) up to 0.995."""
    ema = EMA()
    assert [ema.decay_after(t, steps=1000) for t in (1, 24)] == [0.0, 0.0]
    assert ema.decay_after(25, steps=1000) == pytest.approx(1 / 10)
    assert ema.decay_after(34, steps=1000) == pytest.approx(10 / 19)
    # (1 + d) / (10 + d) reaches 0.995 at d = 1790
    assert ema.decay_after(25 + 1789, steps=1000) < 0.995 == ema.decay_after(25 + 1790, steps=1000)
    assert EMA(0.5, warmup=0).decay_after(1, steps=10) == pytest.approx(2 / 11)
    assert EMA(0.0, warmup=0).decay_after(9, steps=10) == 0


def test_every_step_moves_it_as_the_formula_says(tmp_path: Path) -> None:
    runner = build_runner(config(tmp_path, train_cfg={"max_epochs": EPOCHS}), tmp_path / "run", device=CPU)
    record = Record()
    runner.register_hook(record)
    runner.train()
    assert len(record.live) == EPOCHS * STEPS
    for name in record.live[0]:
        average = torch.zeros(())
        for step, live in enumerate(record.live, 1):
            since = step - 0.25 * EPOCHS * STEPS
            decay = 0.0 if since < 0 else min(0.9, (1 + since) / (10 + since))
            average = decay * average + (1 - decay) * live[name].double()
            torch.testing.assert_close(record.average[step - 1][name].double(), average, rtol=0, atol=1e-6)
    first, last = (
        {name: float((record.live[i][name] - record.average[i][name]).abs().max()) for name in record.live[0]}
        for i in (1, -1)
    )
    assert max(first.values()) == 0  # in the warm-up it is the model
    assert max(last.values()) > 1e-3


def test_steps_are_the_optimisers_where_gradients_are_accumulated(tmp_path: Path) -> None:
    """Of twelve iterations the fifth, the tenth and the last end a step: an average of these three."""
    changes = {"train_cfg": {"max_epochs": EPOCHS}, "optim_wrapper": {"accumulative_counts": 5}}
    runner = build_runner(config(tmp_path, **changes), tmp_path / "run", device=CPU)
    record = Record()
    runner.register_hook(record)
    start = {name: p.detach().double() for name, p in runner.model.task.named_parameters()}
    runner.train()
    assert len(record.live) == EPOCHS * STEPS == 12
    decays = {5: 1.25 / 10.25, 10: 2.25 / 11.25, 12: 3.25 / 12.25}  # (1 + t - 3/4) / (10 + t - 3/4)
    for name, average in start.items():
        for iteration, live in enumerate(record.live, 1):
            if (decay := decays.get(iteration)) is not None:
                average = decay * average + (1 - decay) * live[name].double()
            torch.testing.assert_close(record.average[iteration - 1][name].double(), average, rtol=0, atol=1e-6)


def test_buffers_are_copies(tmp_path: Path) -> None:
    runner = build_runner(config(tmp_path, train_cfg={"max_epochs": 1}), tmp_path / "run", device=CPU)
    runner.train()
    live, average = runner.model.task, hook(runner, "EMA").task
    found = [
        name
        for name, _ in live.named_buffers()
        if name.endswith(("running_mean", "running_var", "num_batches_tracked"))
    ]
    assert len(found) >= 9
    for (name, ours), (_, theirs) in zip(live.named_buffers(), average.named_buffers()):
        assert torch.equal(ours, theirs), name
        assert ours.data_ptr() != theirs.data_ptr(), name
    assert not any(a.data_ptr() == b.data_ptr() for a, b in zip(live.parameters(), average.parameters()))
    assert not average.training and not any(p.requires_grad for p in average.parameters())
    assert average.net is not live.net


# ---------------------------------------------------------------------------------------------- judged and saved


def test_it_is_what_is_judged_selected_and_saved(tmp_path: Path) -> None:
    changes = {"train_cfg": {"max_epochs": EPOCHS}, "ema": {"decay": 0.97, "warmup": 0.0}}
    settings = config(tmp_path, **changes)
    runner = build_runner(settings, tmp_path / "run", device=CPU)
    runner.train()
    run = tmp_path / "run"
    state = torch.load(run / "last.pth", weights_only=True)
    last, meta = load_file(run / "last.safetensors"), read_meta(run / "last.safetensors")
    average, live = (task.upstream.state_dict() for task in (hook(runner, "EMA").task, runner.model.task))
    assert any(not torch.equal(average[key], live[key]) for key in live)
    for key in live:
        assert torch.equal(last[key], average[key]) and torch.equal(state["weights"][key], average[key]), key
        assert torch.equal(state["live"][key], live[key]), key
    assert torch.equal(read_weights(run / "last.pth").tensors["fc.weight"], average["fc.weight"])
    assert meta["ema"] == changes["ema"] and meta["holds"] == "average"

    # The recorded score is that of the file, by an evaluation of its own, and no other weights of that epoch have more.
    _, held = hold_out(build_dataset(dict(settings.data.train)), 100)
    task = TASKS.build(dict(settings.task))
    best = load_weights(task, run / "best.safetensors")
    assert best["best"]["score"] == Selection(held, "held")(task.eval())["clean"]
    assert best["best"]["weights"] == best["holds"] and best["best"]["epoch"] == best["epoch"]
    if best["epoch"] == EPOCHS:
        for weights in (average, live):
            task.upstream.load_state_dict(weights)
            assert Selection(held, "held")(task)["clean"] <= best["best"]["score"]
    lines = [line for line in next(run.rglob("*.log")).read_text().splitlines() if "the weights themselves: " in line]
    assert len(lines) == EPOCHS and all("their average: clean" in line and "; better: the" in line for line in lines)


class Prepared(Selection):
    """Scores from a list, and the weights that each was asked of; the average's comes first."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__(None, "prepared")
        self.scores, self.seen = scores, []

    def cost(self) -> float:
        return 100.0

    def __call__(self, task: Any) -> dict[str, float]:
        self.seen.append({key: value.clone() for key, value in task.upstream.state_dict().items()})
        return {"clean": self.scores[len(self.seen) - 1]}


@pytest.mark.parametrize(
    ("scores", "epoch", "holds"),
    [
        ([20, 10, 15, 15], 1, "average"),
        ([10, 20, 30, 40], 2, "raw"),
        ([10, 20, 20, 20], 1, "raw"),
        ([5, 5, 6, 6], 2, "average"),
    ],
)
def test_the_better_of_both_is_kept_and_the_file_says_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scores: list[float], epoch: int, holds: str
) -> None:
    """Where both score alike the average is kept, where epochs do the first."""
    selection = Prepared(scores)
    monkeypatch.setattr("natx.training.build.build_selection", lambda config, whole: (whole, selection))
    build_runner(config(tmp_path), tmp_path / "run", device=CPU).train()
    path = tmp_path / "run" / "best.safetensors"
    best, meta = load_file(path), read_meta(path)
    expected = selection.seen[2 * (epoch - 1) + (holds == "raw")]
    assert all(torch.equal(best[key], expected[key]) for key in best)
    assert (meta["epoch"], meta["holds"], meta["best"]["weights"]) == (epoch, holds, holds)
    assert meta["best"]["score"] == max(scores[2 * epoch - 2 : 2 * epoch])
    if holds == "raw":
        with pytest.raises(CheckpointError, match="holds no average"):
            read_weights(path, ema=True)
    else:
        assert read_weights(path, ema=True).tensors.keys() == best.keys()
    assert read_meta(tmp_path / "run" / "last.safetensors")["holds"] == "average"


def test_looking_at_both_is_announced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    selection = Prepared([])
    monkeypatch.setattr("natx.training.build.build_selection", lambda config, whole: (whole, selection))
    looks = [next(rehearse(config(tmp_path, ema=ema), tmp_path, device=CPU)).looks() for ema in (None, FAST)]
    assert looks == [EPOCHS * 100, 2 * EPOCHS * 100]
    lines = describe_plan(config(tmp_path), tmp_path, device=CPU)
    assert any("both judged, at twice the cost" in line for line in lines)


def test_one_key_averages_the_weights_of_every_rival() -> None:
    rivals = ("pgd_at", "nat", "trades", "mart", "fat", "awp", "trades_awp", "lbgat", "las_pgd_at", "las_awp", "cas")
    for name in rivals:
        path = ROOT / "configs" / "cls" / f"r18_cifar10_{name}.py"
        assert load_config(path, kind=TRAINING, options={"ema.decay": 0.9}).ema.decay == 0.9, path


def test_a_decay_of_zero_is_no_average(tmp_path: Path) -> None:
    runs = []
    for name, ema in (("plain", None), ("zero", {"decay": 0.0, "warmup": 0.0})):
        runner = build_runner(config(tmp_path, ema=ema), tmp_path / name, device=CPU)
        runner.train()
        runs.append([load_file(tmp_path / name / f"{which}.safetensors") for which in ("best", "last")])
    for plain, zero in zip(*runs):
        assert plain.keys() == zero.keys()
        assert all(torch.equal(plain[key], zero[key]) for key in plain)
    assert "live" not in torch.load(tmp_path / "plain" / "last.pth", weights_only=True)


def test_training_itself_is_untouched(tmp_path: Path) -> None:
    states = []
    for name, ema in (("plain", None), ("averaged", FAST)):
        runner = build_runner(config(tmp_path, ema=ema), tmp_path / name, device=CPU)
        runner.train()
        states.append(runner.model.task.upstream.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


# ---------------------------------------------------------------------------------------------- resumed, in parallel

KILLER = """
import os, signal
from natx.training.hooks import LogValues

check = LogValues.after_train_iter


def after_train_iter(self, runner, batch_idx, *args, **kwargs):
    check(self, runner, batch_idx, *args, **kwargs)
    if os.environ.get("NATX_TEST_KILL") == f"{runner.epoch + 1} {batch_idx + 1}":
        os.kill(os.getpid(), signal.SIGKILL)


LogValues.after_train_iter = after_train_iter
"""


def test_a_killed_run_goes_on_with_its_average(tmp_path: Path, shop: Workshop) -> None:
    (tmp_path / "natx_test_killer_ema.py").write_text(KILLER)
    imports = {"imports": ["tasks.cls", "natx_test_killer_ema"]}
    changes = {"train_cfg": {"max_epochs": 3}, "ema": FAST}
    path = write_config(tmp_path / "killed.py", merged(DIGITS, {"custom_imports": imports, **changes}))
    whole = shop.run("train.py", shop.digits(**changes), "--work-dir", tmp_path / "whole")
    assert whole.code == 0, whole.err

    def train(kill: str = "") -> Fork:
        words = (path, "--work-dir", tmp_path / "killed", "--resume")
        return run_tool("train.py", *words, folders=(tmp_path,), NATX_TEST_KILL=kill)

    died = train(kill="2 4")
    assert died.returncode == -signal.SIGKILL, died.stderr
    resumed = train()
    assert resumed.returncode == 0, resumed.stderr
    assert "1 of 3 epochs done" in resumed.stdout
    for name in ("best.safetensors", "last.safetensors"):
        first, second = (load_file(tmp_path / folder / name) for folder in ("whole", "killed"))
        assert all(torch.equal(first[key], second[key]) for key in first), name
        metas = [read_meta(tmp_path / folder / name) for folder in ("whole", "killed")]
        assert metas[0]["best"] == metas[1]["best"]
    states = [torch.load(tmp_path / folder / "last.pth", weights_only=True) for folder in ("whole", "killed")]
    for part in ("weights", "live"):
        assert all(torch.equal(states[0][part][key], states[1][part][key]) for key in states[0][part]), part


def parallel(folder: Path, rank: int) -> None:
    """One epoch of two processes, with generated images beside the real ones; this process's average at its end."""
    runner = build_runner(load_config(folder / "digits.py"), folder / "run", device=CPU)
    runner.train()
    torch.save(hook(runner, "EMA").task.upstream.state_dict(), folder / f"average{rank}.pth")


def test_processes_end_with_equal_averages(tmp_path: Path) -> None:
    data = {
        "batch_size": 20,
        "generated": {"type": "Digits", "train": False},
        "sampler": {"type": "MixedSampler", "fraction": 0.5},
    }
    changes = {"launcher": "pytorch", "train_cfg": {"max_epochs": 1}, "ema": FAST, "data": data}
    write_config(tmp_path / "digits.py", merged(DIGITS, changes))
    run_pair(parallel, tmp_path)
    first, second = (torch.load(tmp_path / f"average{rank}.pth", weights_only=True) for rank in range(2))
    saved = load_file(tmp_path / "run" / "last.safetensors")
    for key, value in saved.items():
        assert torch.equal(first[key], value) and torch.equal(second[key], value), key
    # 359 training images, held-out ones included, in batches of 40 on both processes
    assert torch.load(tmp_path / "run" / "last.pth", weights_only=True)["meta"]["iter"] == 9


# ---------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "settings",
    [{"decay": 1.0}, {"decay": -0.1}, {"decay": float("nan")}, {"warmup": 1.0}, {"warmup": -1}, {"tau": 0.995}],
)
def test_bad_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        HOOKS.build({"type": "EMA", **settings})
    assert "\n" not in str(caught.value)


def test_bad_settings_reach_the_user_as_one_line(shop: Workshop) -> None:
    path = shop.digits(ema=0.995)
    assert (
        "ema should be a valid dictionary; got 0.995"
        in shop.run("train.py", path, "--work-dir", shop.folder / "run").error()
    )
    path = shop.digits(ema={"decay": 2.0})
    assert (
        "ema.decay should be less than 1; got 2.0"
        in shop.run("train.py", path, "--work-dir", shop.folder / "run").error()
    )


class Companion(TaskLoss):
    """A term that trains a number of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.number = torch.nn.Parameter(torch.ones(()))

    def forward(self, *args: Any) -> dict[str, torch.Tensor]:
        return {**super().forward(*args), "loss_number": self.number**2}


def test_a_companions_state_is_resumed_and_a_missing_one_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TERMS.module_dict, "Companion", Companion)
    settings = config(tmp_path, method={"type": "Standard", "terms": [{"type": "Companion"}]})
    build_runner(settings, tmp_path / "run", device=CPU).train()
    last = tmp_path / "run" / "last.pth"
    state = torch.load(last, weights_only=True)
    assert 0 < float(state["method"]["terms.0.number"]) < 1
    resumed = build_runner(settings, tmp_path / "run", device=CPU, resume=True)
    resumed.train()
    assert torch.equal(resumed.model.method.terms[0].number, state["method"]["terms.0.number"])
    state["method"] = {}
    torch.save(state, last)
    with pytest.raises(CheckpointError, match=r"last\.pth does not hold the state .*terms\.0\.number") as caught:
        build_runner(settings, tmp_path / "run", device=CPU, resume=True).train()
    assert "\n" not in str(caught.value)


def test_the_average_is_no_part_of_the_learner(tmp_path: Path) -> None:
    """Not of its parameters, its state or the optimiser."""
    runner = build_runner(config(tmp_path), tmp_path / "run", device=CPU)
    before = list(runner.model.state_dict())
    runner.train()
    assert list(runner.model.state_dict()) == before
    count = sum(len(group["params"]) for group in runner.optim_wrapper.param_groups)
    assert count == len(list(runner.model.parameters()))
