"""Adversarial copies on disk: what is stored, when it is made anew, and training on it."""

from __future__ import annotations

import json
import os
import pickle
import runpy
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forks import Fork, run_tool
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

import natx.training.copies
from natx.attacks import PGD, Copies
from natx.batch import COPIES
from natx.config import load_config
from natx.data import Part
from natx.errors import ConfigError, DataError, UserError
from natx.methods import Standard
from natx.models.checkpoint import load_state
from natx.objectives import CrossEntropy
from natx.runtime.progress import Meter
from natx.testing import TinyCNNTask, TinyDataset
from natx.threat import Linf
from natx.training.copies import WithCopies, copies_folder, make_copies
from natx.training.learner import Learner
from natx.training.plan import describe_plan
from natx.training.run import train

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
COUNT, BLOCK, BATCH = 10, 4, 3  # blocks of 4, 4 and 2 images, made 3 at a time
EPS, STEP, STEPS = 4 / 255, 2 / 255, 3


class Watching(CrossEntropy):
    """Cross-entropy that keeps what it is told about the set."""

    def observe(self, dataset: Any, predictions: Any) -> list[str]:
        self.observed = (dataset, predictions)
        return []


class Counting(TinyCNNTask):
    """Counts its images, and gives its logits as predictions."""

    seen = 0

    def network(self, x: Tensor, batch: dict[str, Any]) -> Tensor:
        self.seen += len(x)
        return super().network(x, batch)

    def predict(self, batch: dict[str, Any]) -> Tensor:
        return self.network(self.pixels(batch), batch)


def source() -> Counting:
    """In float64: the sign of a gradient does not hang on a rounding error."""
    return Counting(seed=1, double=True).eval()


def images() -> TinyDataset:
    return TinyDataset(COUNT, uint8=True, noise=0.3)  # some pixels are 0 and some 255


def attack(**settings: Any) -> PGD:
    settings = {"eps": EPS, "step_size": STEP, "random_start": False, **settings}
    return PGD(Linf(settings.pop("eps")), STEPS, **settings)


def make(folder: Path, *, task: Counting | None = None) -> Path:
    """All copies; a subprocess calls this too."""
    return make_copies(task or source(), images(), attack(), folder=folder, batch_size=BATCH)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("natx.training.copies.BLOCK", BLOCK)


def stored(folder: Path) -> np.ndarray:
    return np.concatenate([np.load(path) for path in sorted(folder.glob("block-*.npy"))])


def files(folder: Path) -> dict[str, bytes]:
    """Name and content of everything but the lock."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def by_hand() -> np.ndarray:
    """Signed steps from each image as it is."""
    net, data, made = source().net, images(), []
    for image, label in zip(data.images, data.labels):
        x, y = image[None].double() / 255, label[None]
        x_adv = x
        for _ in range(STEPS):
            x_adv = x_adv.detach().requires_grad_()
            (grad,) = torch.autograd.grad(F.cross_entropy(net((x_adv - 0.5) / 0.25), y, reduction="sum"), x_adv)
            x_adv = torch.clamp(x_adv + STEP * grad.sign(), x - EPS, x + EPS).clamp(0, 1)
        made.append((x_adv.detach() * 255).round().numpy().astype(np.uint8))
    return np.concatenate(made)


# --- what is stored --------------------------------------------------------------------------------------------------


def test_copies_equal_what_the_attack_gives(tmp_path: Path, small_blocks: None) -> None:
    task, data = source(), images()
    make(tmp_path / "copies", task=task)
    copies = stored(tmp_path / "copies")
    assert copies.dtype == np.uint8 and copies.shape == (COUNT, 3, 8, 8)
    assert np.array_equal(copies, by_hand())
    part = data.__getitems__([4, 5, 6])
    assert torch.equal(torch.from_numpy(copies[4:7]).double(), (attack()(task, part) * 255).round())
    distance = np.abs(copies.astype(int) - data.images.numpy().astype(int))
    assert distance.max() == 4 and (distance > 0).mean() > 0.9


def test_blocks_have_whole_numbers_of_images_and_say_how_they_were_made(tmp_path: Path, small_blocks: None) -> None:
    folder = make(tmp_path / "copies")
    assert sorted(files(folder)) == ["block-00000.npy", "block-00001.npy", "block-00002.npy", "copies.json"]
    assert [len(np.load(path)) for path in sorted(folder.glob("*.npy"))] == [4, 4, 2]
    about = json.loads((folder / "copies.json").read_text())
    assert about["images"] == COUNT and about["attack"]["threat"] == "Linf 4/255" and about["attack"]["steps"] == STEPS


def test_the_display_counts_the_copies_there_are(tmp_path: Path, small_blocks: None) -> None:
    lines: list[str] = []

    class Counter(Meter):
        def begin(self, name: str, total: int) -> None:
            lines.append(f"{name}: {total}")

        def advance(self, count: int) -> None:
            lines.append(str(count))

        def end(self) -> None:
            lines.append("end")

    meter = Counter(Console(quiet=True), lines.append, enabled=False)
    make_copies(source(), images(), attack(), folder=tmp_path, batch_size=BATCH, meter=meter)
    assert lines == ["adversarial copies: 10", "4", "4", "2", "end"]


def test_the_objective_is_shown_the_clean_predictions_of_the_set(tmp_path: Path) -> None:
    objective, data, task = Watching(), images(), source()
    make_copies(task, data, attack(objective=objective), folder=tmp_path / "copies", batch_size=BATCH)
    given, predictions = objective.observed
    assert given is data
    torch.testing.assert_close(predictions, task.net((data.images.double() / 255 - 0.5) / 0.25).detach())


def test_the_source_is_left_as_it_was(tmp_path: Path) -> None:
    task = source().train()
    before = {key: value.clone() for key, value in task.state_dict().items()}
    make(tmp_path / "copies", task=task)
    assert all(module.training for module in task.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in task.parameters())
    assert all(torch.equal(value, before[key]) for key, value in task.state_dict().items())
    assert np.array_equal(stored(tmp_path / "copies"), stored(make(tmp_path / "in eval")))


@pytest.mark.parametrize(
    ("settings", "data"),
    [
        ({"random_start": True}, {"uint8": True}),
        ({"step_size": 1.5 / 255}, {"uint8": True}),
        ({"eps": 3.4 / 255}, {"uint8": True}),
        ({}, {"uint8": False}),
    ],
    ids=["random start", "step size", "eps", "float images"],
)
def test_an_attack_off_the_grid_of_whole_pixel_values_is_refused(
    tmp_path: Path, settings: dict[str, Any], data: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match="PGD-3 leaves that grid: use uint8 images, random_start=False") as error:
        make_copies(source(), TinyDataset(COUNT, **data), attack(**settings), folder=tmp_path / "copies")
    assert "\n" not in str(error.value)
    assert files(tmp_path / "copies") == {}


# --- what is made, and what is kept ----------------------------------------------------------------------------------


def test_existing_blocks_are_kept_untouched_and_missing_ones_made_anew(tmp_path: Path, small_blocks: None) -> None:
    folder = make(tmp_path / "copies")
    before = files(folder)
    times = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.npy")}
    (folder / "block-00001.npy").unlink()
    task = source()
    make(folder, task=task)
    assert files(folder) == before
    assert task.seen == COUNT + BLOCK * STEPS  # the clean predictions of the set, and four images attacked
    kept = {path.name for path in folder.glob("*.npy") if path.stat().st_mtime_ns == times[path.name]}
    assert kept == {"block-00000.npy", "block-00002.npy"}


def test_a_complete_folder_costs_nothing(tmp_path: Path, small_blocks: None) -> None:
    folder, task = make(tmp_path / "copies"), source()
    before = files(folder)
    assert make(folder, task=task) == folder
    assert task.seen == 0 and files(folder) == before


def made_until_half_of_the_second_block(folder: Path) -> None:
    """In a process that dies (SIGKILL) there."""
    natx.training.copies.BLOCK = BLOCK
    sync = os.fsync

    def fsync(handle: int) -> None:
        if os.path.basename(os.readlink(f"/proc/self/fd/{handle}")).startswith(".block-00001."):
            os.ftruncate(handle, os.fstat(handle).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        sync(handle)

    os.fsync = fsync
    make(folder)


def test_a_killed_process_leaves_whole_blocks_and_the_next_one_goes_on(tmp_path: Path, small_blocks: None) -> None:
    folder, undisturbed = tmp_path / "killed", make(tmp_path / "undisturbed")
    done = Fork(made_until_half_of_the_second_block, folder).wait()
    assert done.returncode == -signal.SIGKILL, done.stderr
    (unfinished,) = folder.glob(".*.tmp")
    assert unfinished.name.startswith(".block-00001.npy.")
    first = files(undisturbed)["block-00000.npy"]
    assert files(folder) == {"block-00000.npy": first, unfinished.name: unfinished.read_bytes()}
    task = source()
    make(folder, task=task)
    assert files(folder) == files(undisturbed)
    assert task.seen == COUNT + (COUNT - BLOCK) * STEPS


ARGUMENTS: dict[str, Any] = {
    "source": "aa",
    "settings": {"type": "TinyCNNTask", "width": 6},
    "attack": {"type": "PGD", "steps": 3, "threat": "Linf 8/255"},
    "data": "bb",
}


def test_the_folder_is_named_after_everything_the_copies_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Path("store")
    plain = copies_folder(store, **ARGUMENTS)
    assert plain.parent == store and plain.name.startswith("copies-")
    shuffled = {**ARGUMENTS, "attack": dict(reversed(ARGUMENTS["attack"].items()))}
    assert copies_folder(store, **shuffled) == plain
    others = [
        {"source": "ab"},
        {"data": "bc"},
        {"settings": {"type": "TinyCNNTask", "width": 7}},
        {"settings": {"type": "TinyCNNTask", "width": 6, "dropout": 0.0}},
        {"attack": {"type": "PGD", "steps": 4, "threat": "Linf 8/255"}},
        {"attack": {"type": "PGD", "steps": 3, "threat": "Linf 4/255"}},
    ]
    names = {copies_folder(store, **{**ARGUMENTS, **other}).name for other in others}
    monkeypatch.setattr("natx.training.copies.BLOCK", BLOCK)
    assert len({plain.name, *names, copies_folder(store, **ARGUMENTS).name}) == len(others) + 2


# --- batches with copies ---------------------------------------------------------------------------------------------


@pytest.fixture
def numbered(tmp_path: Path, small_blocks: None) -> Path:
    """A folder in which every pixel of copy i is i."""
    folder = tmp_path / "numbered"
    folder.mkdir()
    copies = np.arange(COUNT, dtype=np.uint8)[:, None, None, None].repeat(3, 1).repeat(8, 2).repeat(8, 3)
    for number in range(3):
        np.save(folder / f"block-{number:05d}.npy", copies[number * BLOCK : (number + 1) * BLOCK])
    return folder


def test_batches_hold_the_copies_of_their_images(numbered: Path) -> None:
    data = images()
    batch = WithCopies(data, numbered).__getitems__([9, 0, 5, 3, 4, 5])
    assert batch[COPIES].dtype == torch.uint8 and batch[COPIES].shape == (6, 3, 8, 8)
    assert batch[COPIES].amin((1, 2, 3)).tolist() == batch[COPIES].amax((1, 2, 3)).tolist() == [9, 0, 5, 3, 4, 5]
    assert torch.equal(batch["inputs"], data.images[[9, 0, 5, 3, 4, 5]])
    assert torch.equal(batch["data_samples"], data.labels[[9, 0, 5, 3, 4, 5]])


def test_a_part_of_a_set_has_the_copies_of_the_whole_set(numbered: Path) -> None:
    part = WithCopies(Part(images(), [8, 1, 6]), numbered)
    assert len(part) == 3 and torch.equal(part.labels, images().labels[[8, 1, 6]])
    assert part.num_classes == 5 and part.fingerprint() == images().fingerprint()
    assert part.__getitems__([2, 0])[COPIES][:, 0, 0, 0].tolist() == [6, 8]
    with pytest.raises(AttributeError):
        part.classes  # noqa: B018
    again = pickle.loads(pickle.dumps(part))  # as for loading processes that are started anew
    assert again.__getitems__([1])[COPIES][0, 0, 0, 0] == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        lambda path: path.write_bytes(path.read_bytes()[:20]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"something else"),
        lambda path: path.write_bytes(b"PK\x03\x04 something else"),
        lambda path: path.unlink(),
    ],
    ids=["cut off", "header cut off", "empty", "other", "zip", "missing"],
)
def test_a_damaged_block_is_one_line_and_says_what_to_do(numbered: Path, damage: Callable[[Path], Any]) -> None:
    damage(numbered / "block-00001.npy")
    data = WithCopies(images(), numbered)
    assert len(data.__getitems__([0, 9])[COPIES]) == 2  # the other blocks are whole
    with pytest.raises(DataError, match="cannot read the adversarial copies .*block-00001.npy") as error:
        data.__getitems__([0, 5])
    assert "\n" not in str(error.value) and f"delete {numbered} to make them anew" in str(error.value)


AUGMENTS = [
    {"type": "RandomFlip"},
    {"type": "RandomCrop", "padding": 2},
    {"type": "RandomErasing", "p": 0.7, "value": "random"},
]


@pytest.mark.parametrize("augments", [AUGMENTS, [{"type": "RandomResizedCrop", "size": 8}]], ids=["whole", "resized"])
def test_copies_are_augmented_as_their_images_are(tmp_path: Path, augments: list[dict[str, Any]]) -> None:
    data = WithCopies(images(), make(tmp_path / "copies"))
    learner = Learner(TinyCNNTask(), Standard(), augments=augments, seed=3)
    learner.epoch = 5
    batch = data.__getitems__([7, 1, 4, 9, 0, 3])
    augmented = learner.augmented(batch)
    x, copies = augmented["inputs"], augmented[COPIES]
    plain = (batch[COPIES].float() - batch["inputs"].float()).abs().amax((1, 2, 3)) / 255
    assert ((copies - x).abs().amax((1, 2, 3)) <= plain + 1e-6).all() and (plain > 0).all()
    assert not torch.equal(x, batch["inputs"].float() / 255)
    twins = learner.augmented({**batch, COPIES: batch["inputs"]})
    assert torch.equal(twins["inputs"], x) and torch.equal(twins[COPIES], x)
    assert torch.equal(learner.augmented({**batch, "inputs": batch[COPIES]})["inputs"], copies)
    assert COPIES not in learner.augmented({key: value for key, value in batch.items() if key != COPIES})
    assert torch.equal(batch[COPIES], data.__getitems__([7, 1, 4, 9, 0, 3])[COPIES])  # the batch itself is untouched


def test_an_image_that_a_batch_repeats_is_augmented_anew_with_its_copy() -> None:
    learner, data = Learner(TinyCNNTask(), Standard(), augments=AUGMENTS, seed=3), images()
    batch = data.__getitems__([7, 2, 7, 7])
    augmented = learner.augmented({**batch, COPIES: batch["inputs"]})
    x, copies = augmented["inputs"], augmented[COPIES]
    assert torch.equal(x, copies) and torch.equal(augmented["index"], batch["index"])
    assert all(not torch.equal(x[i], x[j]) for i, j in ((0, 2), (0, 3), (2, 3)))
    once = learner.augmented(data.__getitems__([7, 2]))["inputs"]
    assert torch.equal(x[:2], once)  # the first is as ever


# --- copies as an attack ---------------------------------------------------------------------------------------------


def test_the_attack_returns_the_copies_and_costs_nothing(tmp_path: Path) -> None:
    data, task, copies = WithCopies(images(), make(tmp_path / "copies")), source().train(), Copies(Linf(EPS))
    batch = data.__getitems__([2, 8, 5])
    assert torch.equal(copies(task, batch), batch[COPIES].double() / 255)
    assert copies.cost_per_image() == (0, 0) and task.seen == 0
    assert all(module.training for module in task.modules())


def test_the_attack_refuses_batches_without_copies() -> None:
    with pytest.raises(ConfigError, match=r"no adversarial copies: add data.copies=dict\(source=..., attack=...\)"):
        Copies(Linf(EPS))(source(), images().__getitems__([1, 2]))


def test_copies_of_a_larger_ball_than_the_method_names_are_a_mistake_in_the_config(tmp_path: Path) -> None:
    batch = WithCopies(images(), make(tmp_path / "copies")).__getitems__([2, 8, 5])
    with pytest.raises(ConfigError, match="copies.* Linf 3/255") as error:
        Copies(Linf(3 / 255))(source(), batch)
    assert "\n" not in str(error.value)


# --- training on copies ----------------------------------------------------------------------------------------------

TASK = {"type": "TinyCNNTask", "dropout": 0.3}
BASE: dict[str, Any] = {
    "custom_imports": {"imports": ["natx.testing"]},
    "seed": 0,
    "data": {
        "train": {"type": "TinyDataset", "count": 30, "uint8": True},
        "test": {"type": "TinyDataset", "count": 10, "uint8": True, "seed": 1},
        "heldout": 5,
        "batch_size": 5,
        "augments": [{"type": "RandomFlip"}],
    },
    "task": TASK,
    "method": {"type": "Standard"},
    "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}},
    "train_cfg": {"max_epochs": 1},
    "threat": {"type": "Linf", "eps": EPS},
    "vis_backends": [{"type": "LocalVisBackend"}],
}
STEPPING = {"type": "PGD", "steps": STEPS, "step_size": STEP, "random_start": False}


def write(path: Path, content: dict[str, Any]) -> Path:
    path.write_text("".join(f"{key} = {value!r}\n" for key, value in content.items()))
    return path


def on_copies(folder: Path, *, name: str = "target.py", imports: tuple[str, ...] = (), **changes: Any) -> Path:
    """The config of a training on copies from a source that source.py describes; ``changes`` of the config."""
    found = {"custom_imports": {"imports": ["natx.testing", *imports]}}
    write(folder / "source.py", {**BASE, **found, "seed": 4})
    copies = {"source": {"config": str(folder / "source.py")}, "attack": STEPPING}
    method = {"type": "Adversarial", "views": ("clean", "adv"), "attack": {"type": "Copies", "threat": BASE["threat"]}}
    content = {**BASE, **found, "data": {**BASE["data"], "copies": copies}, "method": method, **changes}
    return write(folder / name, content)


def trained(config: Path, run: Path, **options: Any) -> dict[str, Tensor]:
    """The last weights of a training in this process."""
    train(load_config(config, options=options), run, device=CPU, resume=True)
    return load_file(run / "last.safetensors")


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[key]) for key, value in first.items())


def listed(folder: Path, pattern: str) -> dict[Path, int]:
    """Files and when they were written."""
    return {path: path.stat().st_mtime_ns for path in folder.glob(pattern)}


def test_source_and_copies_are_made_once_and_used_by_a_second_training(tmp_path: Path) -> None:
    config, store = on_copies(tmp_path), tmp_path / "adversaries"
    first = trained(config, tmp_path / "first")
    made = listed(store, "*/block-*.npy") | listed(store, "*/best.safetensors")
    assert sorted(path.name for path in made) == ["best.safetensors", "block-00000.npy"]
    (weights,) = store.glob("source-*/best.safetensors")
    (block,) = store.glob("copies-*/block-*.npy")
    task, data = TinyCNNTask().eval(), TinyDataset(30, uint8=True)
    task.net.load_state_dict(load_file(weights))
    expected = (attack()(task, data.__getitems__(range(30))) * 255).round()
    assert torch.equal(torch.from_numpy(np.load(block)).float(), expected)
    second = trained(config, tmp_path / "second", seed=1)
    assert listed(store, "*/block-*.npy") | listed(store, "*/best.safetensors") == made
    assert not equal(first, second)


def test_what_changes_the_copies_has_a_folder_of_its_own(tmp_path: Path) -> None:
    config, store = on_copies(tmp_path), tmp_path / "adversaries"
    trained(config, tmp_path / "first")
    seen = listed(store, "copies-*/block-*.npy")
    changes: list[dict[str, Any]] = [
        {"data.copies.source.options": {"seed": 5}},  # other weights
        {"data.copies.attack.steps": 2},
        {"threat.eps": 2 / 255},
        {"data.train.noise": 0.2},
    ]
    for number, options in enumerate(changes):
        trained(config, tmp_path / f"changed{number}", **options)
        found = listed(store, "copies-*/block-*.npy")
        assert len(found) == len(seen) + 1 and seen.items() <= found.items(), options
        seen = found


def test_copies_matter_to_the_training_and_their_labels_are_those_of_the_images(tmp_path: Path) -> None:
    """One step without dropout, by hand: the loss is the mean over images and copies."""
    task = {"type": "TinyCNNTask", "dropout": 0.0}
    data = {**BASE["data"], "heldout": 0, "batch_size": 30, "augments": []}
    config = on_copies(tmp_path, task=task)
    copies = load_config(config).data.copies
    config = on_copies(tmp_path, task=task, data={**data, "copies": dict(copies)})
    weights = trained(config, tmp_path / "run")
    (block,) = (tmp_path / "adversaries").glob("copies-*/block-*.npy")
    whole = TinyDataset(30, uint8=True)
    both = torch.cat([whole.images, torch.from_numpy(np.load(block))]).float() / 255
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = TinyCNNTask(dropout=0.0).net.train()
    F.cross_entropy(net((both - 0.5) / 0.25), whole.labels.repeat(2)).backward()
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(weights[name], (parameter - 0.1 * parameter.grad).detach(), rtol=0, atol=1e-6)


def test_a_source_may_be_given_with_its_weights(tmp_path: Path) -> None:
    config = on_copies(tmp_path)
    first = trained(config, tmp_path / "first")
    (weights,) = (tmp_path / "adversaries").glob("source-*/best.safetensors")
    data = {"train": BASE["data"]["train"], "test": BASE["data"]["test"], "batch_size": 5, "heldout": 5}
    data["augments"] = BASE["data"]["augments"]
    for name, known in (("config", str(tmp_path / "source.py")), ("task", TASK)):
        copies = {"source": {name: known, "checkpoint": str(weights)}, "attack": STEPPING}
        given = on_copies(tmp_path, name=f"{name}.py", data={**data, "copies": copies})
        assert equal(trained(given, tmp_path / name), first)


@pytest.mark.parametrize(
    ("copies", "line"),
    [
        ({"source": {"task": TASK, "state": "random"}, "attack": STEPPING}, "data.copies.source is one model with w"),
        ({"source": {"task": TASK}, "attack": STEPPING}, "adversary needs config="),
        ({"attack": STEPPING}, "lacks data.copies.source"),
        ({"source": {"task": TASK, "state": "random"}}, "lacks data.copies.attack"),
        ({"source": {"members": [{"task": TASK, "state": "random"}] * 2}, "attack": STEPPING}, "is one model with w"),
    ],
    ids=["random", "no weights", "no source", "no attack", "ensemble"],
)
def test_copies_that_are_not_fully_described_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, copies: dict[str, Any], line: str
) -> None:
    config = on_copies(tmp_path, data={**BASE["data"], "copies": copies})
    with pytest.raises(UserError) as error:
        trained(config, tmp_path / "run")
    assert line in str(error.value) and "\n" not in str(error.value)
    command = ["train.py", str(config), "--work-dir", str(tmp_path / "run"), "--device", "cpu", "--threads", "1"]
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / "tools" / "train.py"), run_name="__main__")
    assert stop.value.code == 2 and line in capsys.readouterr().err


def test_the_plan_names_the_source_and_what_the_copies_cost(tmp_path: Path) -> None:
    config = on_copies(tmp_path)
    lines = describe_plan(load_config(config), tmp_path / "run", device=CPU)
    assert any("source.py, trained first into" in line for line in lines)
    assert (
        "adversarial copies, made once before training: 30 images, 120 forwards and 90 backwards of one image" in lines
    )
    assert any(line.startswith("cost: 2 forwards and 2 backwards per image and step") for line in lines)
    assert not (tmp_path / "adversaries").exists()


# Named in custom_imports: small blocks, and SIGKILL at one step of the target.
KILLER = """
import os, signal
import natx.training.copies
from natx.training.hooks import LogValues

natx.training.copies.BLOCK = 8
check = LogValues.after_train_iter


def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
    check(self, runner, batch_idx, data_batch, outputs)
    if "adversaries" not in runner.work_dir and [runner.epoch + 1, batch_idx + 1] == [2, 3]:
        os.kill(os.getpid(), signal.SIGKILL)


if os.environ.get("NATX_TEST_KILL"):
    LogValues.after_train_iter = after_train_iter
"""


def test_a_training_on_copies_that_was_killed_ends_with_the_weights_of_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "natx_test_copies_killer.py").write_text(KILLER)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("natx.training.copies.BLOCK", 8)
    config = on_copies(tmp_path, imports=("natx_test_copies_killer",), train_cfg={"max_epochs": 2})
    run, store = tmp_path / "killed" / "run", tmp_path / "killed" / "adversaries"
    words = (config, "--work-dir", run)
    done = run_tool("train.py", *words, folders=(tmp_path,), NATX_TEST_KILL="yes")
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert load_state(run / "last.pth")["meta"]["epoch"] == 1
    written = listed(store, "copies-*/block-*.npy")
    assert len(written) == 4
    resumed = trained(config, run)
    assert listed(store, "copies-*/block-*.npy") == written
    assert equal(resumed, trained(config, tmp_path / "whole" / "run"))
    whole = {path.name: path.read_bytes() for path in (tmp_path / "whole" / "adversaries").glob("copies-*/block-*")}
    assert {path.name: path.read_bytes() for path in written} == whole
