"""Training: which weights are kept, when it stops, what the adversary does, what is logged and what is announced."""

from __future__ import annotations

import json
import random
import re
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from workshop import DIGITS, PGD, Workshop, nat

from natx.config import load_config
from natx.data import hold_out
from natx.errors import CheckpointError, ConfigError, NonFiniteError
from natx.models.checkpoint import load_state
from natx.models.weights import read_meta
from natx.registry import TERMS
from natx.task import Task
from natx.terms.base import Term
from natx.training.build import build_learner, build_runner
from natx.training.hooks import SeedHook
from natx.training.plan import describe_plan
from natx.training.run import prepare_adversaries, train
from tasks.cls.datasets import ImageFolder

CPU = torch.device("cpu")


@TERMS.register_module()
class Broken(Term):
    """Gives a loss, or a gradient, that is not a number at one step; counts the steps of one training."""

    def __init__(self, at: int, value: str = "nan", *, hidden: bool = False) -> None:
        super().__init__()
        self.at, self.value, self.hidden, self.step = at, float(value), hidden, 0

    def forward(self, views: Any, batch: Any) -> dict[str, Tensor]:
        self.step += 1
        logits = views[0].output.logits
        if self.step != self.at:
            return {"loss_broken": 0 * logits.sum()}
        if self.hidden:  # a square root at zero: the value is 0, its gradient is not a number
            return {"loss_broken": (0 * logits).sum().sqrt()}
        return {"loss_broken": logits.sum() * self.value}


def state_of(task: Task) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in task.upstream.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[key]) for key, value in first.items())


def scalars(work_dir: Path) -> list[dict[str, Any]]:
    (path,) = work_dir.glob("*/vis_data/scalars.json")
    return [json.loads(line) for line in path.read_text().splitlines()]


def with_term(**settings: Any) -> dict[str, Any]:
    return {"type": "Standard", "terms": [{"type": "TaskLoss"}, {"type": "Broken", **settings}]}


# --- which weights are kept -------------------------------------------------------------------------------------------


class Scores:
    """A selection that gives prepared scores and keeps the weights it was asked about."""

    metric, name = "robust", "prepared scores"

    def __init__(self, scores: list[float], *, every: int = 1) -> None:
        self.scores, self.every, self.seen = list(scores), every, []

    def describe(self, task: Task) -> str:
        return self.name

    def __call__(self, task: Task) -> dict[str, float]:
        self.seen.append(state_of(task))
        return {"clean": 100.0 - len(self.seen), "robust": self.scores[len(self.seen) - 1]}


@pytest.mark.parametrize(
    ("scores", "every", "asked", "best"),
    [
        ([10, 30, 20, 25], 1, [1, 2, 3, 4], 2),
        ([10, 20, 20, 20], 1, [1, 2, 3, 4], 2),  # of equal scores the first is kept
        ([10, 20, 30, 40], 1, [1, 2, 3, 4], 4),
        ([0, 0, 0, 0], 1, [1, 2, 3, 4], 1),
        ([30, 20, 10], 2, [2, 4, 5], 2),  # every=2 and the last epoch
        ([10, 20, 30], 2, [2, 4, 5], 5),
    ],
)
def test_best_and_last_weights(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, scores: list[float], every: int, asked: list[int], best: int
) -> None:
    selection = Scores(scores, every=every)
    monkeypatch.setattr("natx.training.build.build_selection", lambda config, whole: (whole, selection))
    train(shop.load(train_cfg={"max_epochs": asked[-1]}), shop.folder / "run", device=CPU)
    assert len(selection.seen) == len(asked)
    saved = {name: shop.folder / "run" / f"{name}.safetensors" for name in ("best", "last")}
    assert same(load_file(saved["best"]), selection.seen[asked.index(best)])
    assert same(load_file(saved["last"]), selection.seen[-1])
    assert read_meta(saved["best"])["epoch"] == best
    assert read_meta(saved["last"])["epoch"] == asked[-1]
    for path in saved.values():
        assert read_meta(path)["best"]["epoch"] == best
        assert read_meta(path)["best"]["score"] == scores[asked.index(best)]
        assert read_meta(path)["selected_on"] == "prepared scores"


def test_a_resumed_run_remembers_the_best_score(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    selection, run = Scores([30, 10]), shop.folder / "run"
    monkeypatch.setattr("natx.training.build.build_selection", lambda config, whole: (whole, selection))
    config = shop.load(method=with_term(at=9))
    with pytest.raises(NonFiniteError):  # stopped in epoch 2; the second process has only six steps left
        train(config, run, device=CPU)
    train(config, run, device=CPU, resume=True)
    assert len(selection.seen) == 2
    assert same(load_file(run / "best.safetensors"), selection.seen[0])
    assert same(load_file(run / "last.safetensors"), selection.seen[1])


def test_the_held_out_images_choose_and_are_not_trained_on(shop: Workshop) -> None:
    select = {"attack": {"type": "PGD", "steps": 1, "step_size": 0.1}, "batch_size": 30}
    runner = build_runner(shop.load(select=select), shop.folder / "run", device=CPU)
    (hook,) = [hook for hook in runner.hooks if type(hook).__name__ == "Checkpoints"]
    held, rest = set(hook.selection.dataset.positions), set(runner.train_dataloader.dataset.positions)
    assert len(held) == 100
    assert not held & rest
    assert hook.selection.metric == "robust"
    assert str(hook.selection.attack.threat) == "Linf 51/255"  # the config's threat fills in
    assert len(held | rest) == len(runner.train_dataloader.dataset.dataset)


def test_held_out_images_are_seen_as_an_evaluation_sees_them(shop: Workshop) -> None:
    """Training reads larger squares that augmentations crop; the judge of an epoch must get centre crops."""
    for label in "ab":
        (shop.folder / "images" / label).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (20, 30), (i, 0, 0)).save(shop.folder / "images" / label / f"{i}.png")
    dataset = ImageFolder(shop.folder / "images", train=True, image_size=8, resize=12)
    rest, held = hold_out(dataset, 2)
    assert rest.__getitems__([0, 1])["inputs"].shape == (2, 3, 12, 12)
    batch = held.__getitems__([0, 1])
    assert batch["inputs"].shape == (2, 3, 8, 8)
    assert batch["index"].tolist() == held.positions
    assert [int(x) for x in batch["inputs"][:, 0, 0, 0]] == [i % 3 for i in held.positions]
    assert dataset.train


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"protocol": "paper"}, "the test set (protocol='paper')"),
        ({"data": {"heldout": 0}}, "nothing (last epoch)"),
    ],
)
def test_what_the_best_epoch_was_chosen_on_is_said(shop: Workshop, changes: dict[str, Any], said: str) -> None:
    run = shop.folder / "run"
    train(shop.load(**changes, train_cfg={"max_epochs": 1}), run, device=CPU)
    assert read_meta(run / "best.safetensors")["selected_on"].startswith(said)


# --- when it stops ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(shop: Workshop, value: str) -> None:
    run = shop.folder / "run"
    with pytest.raises(NonFiniteError) as error:  # six steps an epoch: step 9 is the third of epoch 2
        train(shop.load(method=with_term(at=9, value=value)), run, device=CPU)
    message = str(error.value)
    assert "epoch 2, iteration 3" in message
    assert "loss_broken=" in message
    assert "loss_ce" not in message  # the one that broke is named, no other
    assert "\n" not in message
    assert not (run / "done.json").exists()
    state = load_state(run / "last.pth")
    assert state["meta"]["epoch"] == 1
    assert all(torch.isfinite(value).all() for value in state["weights"].values())
    assert read_meta(run / "last.safetensors")["epoch"] == 1


def test_a_gradient_that_is_no_number_stops_where_that_is_asked_for(shop: Workshop) -> None:
    """Torch says so with an error of its own, after the loss was found good."""
    run, clip = shop.folder / "run", {"max_norm": 1.0, "error_if_nonfinite": True}
    with pytest.raises(
        NonFiniteError, match="epoch 2, iteration 3: the norm of the gradient is not finite. The last good"
    ):
        train(shop.load(method=with_term(at=9, hidden=True), optim_wrapper={"clip_grad": clip}), run, device=CPU)
    assert load_state(run / "last.pth")["meta"]["epoch"] == 1


def test_weights_that_are_no_numbers_are_not_saved(shop: Workshop) -> None:
    run = shop.folder / "run"
    with pytest.raises(CheckpointError, match="not finite after epoch 2"):  # in the last step, unseen by any loss
        train(shop.load(method=with_term(at=12, hidden=True)), run, device=CPU)
    assert load_state(run / "last.pth")["meta"]["epoch"] == 1
    for name in ("best", "last"):
        assert all(torch.isfinite(value).all() for value in load_file(run / f"{name}.safetensors").values())


# --- the adversary ----------------------------------------------------------------------------------------------------


@pytest.fixture
def families(shop: Workshop) -> Workshop:
    """A vanilla config to train the adversary with, one epoch each."""
    shop.digits("vanilla.py", train_cfg={"max_epochs": 1}, seed=5)
    return shop


def target(shop: Workshop, name: str = "target.py", entry: dict[str, Any] | None = None, **changes: Any) -> Path:
    method = nat({"config": str(shop.folder / "vanilla.py"), **(entry or {})})
    return shop.digits(name, **{"train_cfg": {"max_epochs": 1}, "method": method, **changes})


def test_an_adversary_is_trained_once_stored_and_reused(families: Workshop) -> None:
    config, store = target(families), families.folder / "adversaries"
    first = families.run("train.py", config, "--work-dir", families.folder / "first")
    assert first.code == 0, first.err
    (folder,) = store.iterdir()
    assert re.search(rf"frozen model: .*vanilla\.py, trained first into {re.escape(str(folder))}", first.out)
    assert f"training {families.folder / 'vanilla.py'} into {folder}" in first.out
    assert folder.name.startswith("vanilla-")
    kept = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    second = families.run("train.py", config, "--work-dir", families.folder / "second")
    assert second.code == 0, second.err
    assert f"vanilla.py, reused from {folder}" in second.out
    assert f"reusing {folder}" in second.out
    assert "trained first" not in second.out
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == kept
    assert list(store.iterdir()) == [folder]
    assert same(*(load_file(families.folder / name / "last.safetensors") for name in ("first", "second")))


@pytest.mark.parametrize(
    "entry",
    [
        {"options": {"optim_wrapper.optimizer.lr": 0.01}},
        {"options": {"seed": 6}},
        {"options": {"data.train.test_fraction": 0.7}},
    ],
)
def test_a_changed_adversary_is_trained_anew(families: Workshop, entry: dict[str, Any]) -> None:
    one, other = load_config(target(families)), load_config(target(families, "other.py", entry))
    work_dir = families.folder / "run"
    paths = []
    for config in (one, other, one):
        prepared = prepare_adversaries(config, work_dir, device=CPU)
        paths.append(Path(prepared.method.terms[1].adversary.checkpoint))
    assert paths[0] == paths[2] != paths[1]
    assert all(path.is_file() for path in paths)
    assert not same(load_file(paths[0]), load_file(paths[1]))


def test_the_adversary_the_run_uses_is_the_one_that_was_trained(families: Workshop) -> None:
    prepared = prepare_adversaries(load_config(target(families)), families.folder / "run", device=CPU)
    learner = build_learner(prepared, seed=0)
    checkpoint = prepared.method.terms[1].adversary.checkpoint
    assert same(state_of(learner.method.terms[1].adversary.tasks[0]), load_file(checkpoint))
    assert learner.method.terms[1].adversary.origin == checkpoint


def test_an_unfinished_adversary_is_not_reused(families: Workshop) -> None:
    config, work_dir = load_config(target(families)), families.folder / "run"
    folder = Path(prepare_adversaries(config, work_dir, device=CPU).method.terms[1].adversary.checkpoint).parent
    trained = load_file(folder / "best.safetensors")
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()
    (folder / "best.safetensors").write_bytes(b"half")  # what a killed process may leave, without done.json
    prepare_adversaries(config, work_dir, device=CPU)
    assert same(load_file(folder / "best.safetensors"), trained)


@pytest.mark.parametrize(
    ("task", "parts"),
    [
        ({**DIGITS["task"], "num_classes": 7}, ["7 classes", "10"]),
        ({**DIGITS["task"], "image_size": 16}, ["(1, 16, 16)", "(1, 32, 32)"]),
    ],
)
def test_an_adversary_that_does_not_fit_is_refused_before_anything_is_trained(
    shop: Workshop, task: dict[str, Any], parts: list[str]
) -> None:
    config = shop.digits(method=nat({"task": task, "state": "random"}))
    line = shop.run("train.py", config, "--work-dir", shop.folder / "run").error()
    assert all(part in line for part in parts), line
    assert not list(shop.folder.rglob("*.safetensors"))
    assert not list(shop.folder.rglob("*.pth"))


def test_an_adversary_config_of_other_classes_is_refused_before_it_is_trained(shop: Workshop) -> None:
    other = shop.digits("other.py", task={"model": "resnet8_cifar", "num_classes": 7, "model_args": {"width": 1}})
    config = shop.digits(method=nat({"config": str(other)}))
    line = shop.run("train.py", config, "--work-dir", shop.folder / "run").error()
    assert "7" in line
    assert "10" in line
    assert not list(shop.folder.rglob("*.safetensors"))


@pytest.mark.parametrize("amp", [None, "bfloat16"])
def test_training_the_target_leaves_the_adversary_alone(shop: Workshop, amp: str | None) -> None:
    adversary = {"task": DIGITS["task"], "state": "random"}
    runner = build_runner(shop.load(method=nat(adversary), amp=amp), shop.folder / "run", device=CPU)
    task, companion = runner.model.task, runner.model.method.terms[1].adversary.tasks[0]
    before, start = state_of(companion), state_of(task)
    runner.train()
    assert same(state_of(companion), before)  # batch-norm statistics included
    assert not same(state_of(task), start)
    assert all(parameter.grad is None for parameter in companion.parameters())
    assert not any(module.training for module in companion.modules())
    optimised = {id(p) for group in runner.optim_wrapper.optimizer.param_groups for p in group["params"]}
    assert not optimised & {id(parameter) for parameter in companion.parameters()}
    assert not [key for key in load_state(shop.folder / "run" / "last.pth")["method"] if "adversary" in key]


# --- what is logged ---------------------------------------------------------------------------------------------------


def test_scalars_and_tensorboard(shop: Workshop) -> None:
    backends = [{"type": "LocalVisBackend"}, {"type": "TensorboardVisBackend"}]
    config = shop.load(method=nat({"task": DIGITS["task"], "state": "random"}), vis_backends=backends, log_interval=2)
    train(config, shop.folder / "run", device=CPU)
    lines = [line for line in scalars(shop.folder / "run") if "loss_nasty" in line]
    assert len(lines) == 6  # three an epoch
    wanted = {"loss", "loss_ce", "loss_nasty", "nasty_weight", "kl_clean", "kl_adv", "lr", "total_clean", "total_adv"}
    wanted |= {f"{name}_{view}" for name in ("entropy", "top2_gap", "acc") for view in ("clean", "adv")}
    for line in lines:
        assert wanted <= line.keys()
        assert line["nasty_weight"] == pytest.approx(0.06 * 4**2)
        assert 0 <= line["entropy_clean"] <= np.log(10) + 1e-6
        assert 0 <= line["acc_adv"] <= 100
        assert line["kl_clean"] > 0
    assert lines[-1]["loss_ce"] < lines[0]["loss_ce"]
    selected = [line for line in scalars(shop.folder / "run") if "select/clean" in line]
    assert [line["step"] for line in selected] == [1, 2]
    (events,) = (shop.folder / "run").glob("*/vis_data/events.out.tfevents.*")
    content = events.read_bytes()
    assert b"loss_nasty" in content
    assert b"select/clean" in content


def test_the_first_logged_loss_is_cross_entropy_minus_weighted_kl(shop: Workshop) -> None:
    """Eq. 5 from the logged parts; the first line covers one step."""
    config = shop.load(
        method=nat({"task": DIGITS["task"], "state": "random"}), log_interval=1, train_cfg={"max_epochs": 1}
    )
    train(config, shop.folder / "run", device=CPU)
    line = scalars(shop.folder / "run")[0]
    assert line["loss_ce"] == pytest.approx((line["total_clean"] + line["total_adv"]) / 2, rel=1e-5)
    assert line["loss_nasty"] == pytest.approx(-0.96 * (line["kl_clean"] + line["kl_adv"]) / 2, rel=1e-5)
    assert line["loss"] == pytest.approx(line["loss_ce"] + line["loss_nasty"], rel=1e-5)


# --- seeds and precision ----------------------------------------------------------------------------------------------


def draws() -> tuple[float, float, float]:
    return float(torch.rand(())), float(np.random.rand()), random.random()


def test_seed_hook_seeds_every_generator_from_seed_epoch_and_rank() -> None:
    def seeded(seed: int, epoch: int, rank: int) -> tuple[float, float, float]:
        learner = SimpleNamespace(epoch=-1)
        SeedHook(seed).before_train_epoch(SimpleNamespace(model=learner, epoch=epoch, rank=rank))
        assert learner.epoch == epoch
        return draws()

    with torch.random.fork_rng():
        one = seeded(0, 3, 1)
        draws()
        assert seeded(0, 3, 1) == one
        for other in (seeded(1, 3, 1), seeded(0, 4, 1), seeded(0, 3, 0)):
            assert not set(one) & set(other)


def trained_with_dropout(shop: Workshop, name: str, *, noise: int, seed: int = 0) -> dict[str, Tensor]:
    config = shop.load(
        custom_imports={"imports": ["tasks.cls", "natx.testing"]},
        task={"type": "TinyCNNTask", "num_classes": 10, "channels": 1, "dropout": 0.5},
        seed=seed,
        train_cfg={"max_epochs": 2},
    )
    torch.manual_seed(noise)
    np.random.seed(noise)
    train(config, shop.folder / name, device=CPU)
    return load_file(shop.folder / name / "last.safetensors")


def test_a_seed_decides_the_weights_whatever_was_drawn_before(shop: Workshop) -> None:
    with torch.random.fork_rng():
        first = trained_with_dropout(shop, "first", noise=1)
        assert same(first, trained_with_dropout(shop, "second", noise=2))
        assert not same(first, trained_with_dropout(shop, "third", noise=1, seed=1))


def test_amp_trains_with_a_bfloat16_network_and_float32_losses(shop: Workshop) -> None:
    run = shop.folder / "run"
    config = shop.digits(method=nat({"task": DIGITS["task"], "state": "random"}))
    ran = shop.run("train.py", config, "--work-dir", run, "--amp")
    assert ran.code == 0, ran.err
    assert "bfloat16 autocast" in ran.out
    lines = [line for line in scalars(run) if "loss" in line]
    assert all(np.isfinite(line["loss"]) for line in lines)
    learner = build_learner(shop.load(amp="bfloat16", method=nat({"task": DIGITS["task"], "state": "random"})), seed=0)
    batch = {"inputs": torch.rand(4, 1, 8, 8), "data_samples": torch.arange(4), "index": torch.arange(4)}
    dtypes: list[torch.dtype] = []
    learner.task.net.fc.register_forward_hook(lambda module, inputs, output: dtypes.append(output.dtype))
    outputs = learner(**batch, mode="loss")
    assert dtypes == [torch.bfloat16] * 3  # two attack steps and the joint forward
    assert {value.dtype for key, value in outputs.items() if "loss" in key or key.startswith("kl")} == {torch.float32}
    assert learner(**batch, mode="tensor").dtype == torch.bfloat16
    assert {parameter.dtype for parameter in learner.task.parameters()} == {torch.float32}


# --- what is announced ------------------------------------------------------------------------------------------------

METHODS = {
    "VT": ({"type": "Standard"}, 1, 1),
    "PGD-AT": ({"type": "Adversarial", "views": ("adv",), "attack": {**PGD, "steps": 10}}, 11, 11),
    "union": ({"type": "Adversarial", "views": ("clean", "adv"), "attack": {**PGD, "steps": 10}}, 12, 12),
    "NAT": (nat({"task": DIGITS["task"], "state": "random"}, attack={**PGD, "steps": 10}), 14, 12),
}


def counted(net: nn.Module, counts: dict[str, int]) -> None:
    """Count the images that pass a network's last layer forward and backward."""

    def forward(module: nn.Module, inputs: Any, output: Tensor) -> None:
        counts["forwards"] += len(output)
        if output.requires_grad:
            output.register_hook(lambda grad: counts.update(backwards=counts["backwards"] + len(grad)))

    net.fc.register_forward_hook(forward)


@pytest.mark.parametrize("name", METHODS)
def test_the_announced_cost_is_what_a_step_spends(shop: Workshop, name: str) -> None:
    method, forwards, backwards = METHODS[name]
    config = shop.load(method=method)
    plan = "\n".join(describe_plan(config, shop.folder / "run", device=CPU))
    assert f"cost: {forwards} forwards and {backwards} backwards per image and step" in plan
    learner, counts = build_learner(config, seed=0), {"forwards": 0, "backwards": 0}
    companions = [task for term in learner.method.terms if hasattr(term, "adversary") for task in term.adversary.tasks]
    for task in (learner.task, *companions):
        counted(task.net, counts)
    batch = {"inputs": torch.rand(8, 1, 8, 8), "data_samples": torch.arange(8), "index": torch.arange(8)}
    learner.parse_losses(learner(**batch, mode="loss"))[0].backward()
    assert counts == {"forwards": 8 * forwards, "backwards": 8 * backwards}


def test_shipped_configs_announce_the_numbers_in_their_headers() -> None:
    for name, cost in (("digits_vt", "1 forwards and 1"), ("digits_pgd_at", "12 forwards and 12")):
        plan = "\n".join(describe_plan(load_config(f"configs/cls/{name}.py"), Path("unused"), device=CPU))
        assert f"cost: {cost} backwards" in plan
    # 1437 - 144 images in batches of 64 are 20 steps; 30 epochs of 20 x 64 images are 38,400, times 12.
    assert "1293 training images" in plan
    assert "30 epochs x 20 steps of 64 images = 460,800 forwards and 460,800 backwards" in plan


def test_dry_run_trains_and_downloads_nothing(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a dry run must not do this")

    monkeypatch.setattr("timm.models._hub.hf_hub_download", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("natx.training.runner.NatxRunner.train", refuse)
    vit = {
        "type": "ClassificationTask",
        "model": "test_vit",
        "num_classes": 10,
        "model_args": {"in_chans": 1, "width": None},
    }
    task = {**vit, "pretrained": True, "image_size": 32}
    data = {"train": {"upscale": 4}, "test": {"upscale": 4}}
    vanilla = shop.digits("vanilla.py", task=task, data=data)
    config = shop.digits(task=task, data=data, method=nat({"config": str(vanilla)}, attack={**PGD, "steps": 10}))
    before = set(shop.folder.rglob("*"))
    ran = shop.run("train.py", config, "--work-dir", shop.folder / "run", "--dry-run")
    assert ran.code == 0, ran.err
    assert "trained first into" in ran.out
    assert "14 forwards and 12 backwards" in ran.out
    assert "1 forwards and 1 backwards" in ran.out  # the adversary's own
    assert "done" not in ran.out
    assert set(shop.folder.rglob("*")) == before


def test_a_schedule_that_mmengine_refuses_without_a_word_has_a_reason(shop: Workshop) -> None:
    restarts = {"type": "CosineRestartLR", "periods": [1, 1], "restart_weights": [1, 0.5], "by_epoch": True}
    with pytest.raises(ConfigError, match="eta_min"):
        train(shop.load(param_scheduler=[restarts]), shop.folder / "run", device=CPU)


def test_processes_share_tensors_alone_at_the_start(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A method's state may hold more (a perturbation that it carries on), which mmengine's broadcast stops at."""
    shared: list[Any] = []
    monkeypatch.setattr("natx.training.runner.broadcast", shared.append)
    method = {"type": "FreeTraining", "threat": PGD["threat"], "replays": 2}
    runner = build_runner(shop.load(method=method), shop.folder / "run", device=CPU)
    assert any(not isinstance(value, Tensor) for value in runner.model.state_dict().values())
    runner._init_model_weights()
    assert len(shared) >= len(runner.model.task.state_dict()) and all(isinstance(value, Tensor) for value in shared)
