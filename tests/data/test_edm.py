"""Generated images beside real ones: what a batch holds, what an epoch is, and the loss of the recipe."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch.nn import functional as F

from natx.config import load_config
from natx.data import Mixed, MixedSampler, Part, train_loader
from natx.data.on_device import OnDevice
from natx.errors import ConfigError, DataError, UserError
from natx.registry import METHODS, SAMPLERS
from natx.testing import TinyDataset
from natx.training.build import build_runner
from natx.training.plan import describe_plan
from natx.training.run import train
from tasks.cls.datasets import NPZ
from tasks.cls.task import ClassificationTask

CPU = torch.device("cpu")
WHOLE, HELD, MADE = 50, 8, 23


def real() -> Part:
    """42 training images of 50; images 0, 6, 12, ... are held out."""
    held = list(range(0, 6 * HELD, 6))
    return Part(TinyDataset(WHOLE), [i for i in range(WHOLE) if i not in held])


def mixed() -> Mixed:
    return Mixed(real(), TinyDataset(MADE, seed=9), whole=WHOLE)


def sampler(batch: int = 10, **settings: Any) -> MixedSampler:
    return SAMPLERS.build({"type": "MixedSampler", "dataset": mixed(), "batch_size": batch, **settings})


def batches(one: MixedSampler) -> list[list[int]]:
    positions = list(one)
    assert len(positions) == len(one)
    return [positions[i : i + one.batch_size] for i in range(0, len(positions), one.batch_size)]


# ---------------------------------------------------------------------------------------------- the data set


def test_images_come_in_the_order_asked_for_with_indices_of_their_own() -> None:
    data, ours, theirs = mixed(), TinyDataset(WHOLE), TinyDataset(MADE, seed=9)
    assert len(data) == 42 + MADE
    batch = data.__getitems__([42, 0, 64, 41, 43, 0])
    # position 0 is image 1 (image 0 is held out); generated images are numbered from 50 on
    assert batch["index"].tolist() == [50, 1, 72, 49, 51, 1]
    rows = [theirs.images[0], ours.images[1], theirs.images[22], ours.images[49], theirs.images[1], ours.images[1]]
    assert torch.equal(batch["inputs"], torch.stack(rows))
    assert batch["data_samples"].tolist() == [0, 1, 22 % 5, 49 % 5, 1, 1]
    assert torch.equal(data.labels[[42, 0, 64]], batch["data_samples"][:3])
    every = data.__getitems__(range(len(data)))["index"]
    assert len(set(every.tolist())) == len(data)


@pytest.mark.parametrize(
    ("other", "part"),
    [
        (TinyDataset(4, num_classes=7), "7 classes, the real ones 5"),
        (TinyDataset(4, uint8=True), "uint8 3x8x8 with data_samples, the real ones float32"),
        (TinyDataset(4, shape=(3, 4, 4)), "float32 3x4x4"),
        (TinyDataset(4, shape=(1, 8, 8)), "float32 1x8x8"),
    ],
)
def test_sets_that_do_not_go_together_are_one_line(other: TinyDataset, part: str) -> None:
    with pytest.raises(DataError, match=part):
        Mixed(real(), other, whole=WHOLE)


def test_part_of_a_file(tmp_path: Path) -> None:
    """So many images drawn once: the same ones each time, with their own labels, in the file's order."""
    images = np.random.default_rng(0).integers(0, 256, (200, 4, 4, 3), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(200)
    path = tmp_path / "made.npz"
    np.savez_compressed(path, image=images, label=np.arange(200) % 10)
    part = NPZ(path, num_classes=10, count=60)
    chosen = part.images[:, 0, 0, 0].tolist()
    assert len(part) == len(set(chosen)) == 60
    assert chosen == sorted(chosen) and chosen != list(range(60))
    assert part.labels.tolist() == [i % 10 for i in chosen]
    assert np.array_equal(part.images.numpy(), images[chosen].transpose(0, 3, 1, 2))
    assert NPZ(path, num_classes=10, count=60).fingerprint() == part.fingerprint() != NPZ(path).fingerprint()
    assert torch.equal(NPZ(path, count=200).images, NPZ(path).images)
    for count, text in ((0, "count must be None or an integer >= 1"), (1.5, "count must be"), (201, "has 200 images")):
        with pytest.raises(ConfigError, match=text):
            NPZ(path, count=count)


# ---------------------------------------------------------------------------------------------- the sampler


@pytest.mark.parametrize(
    ("fraction", "batch", "made"), [(0.7, 10, 7), (0.7, 16, 11), (0.0, 10, 0), (0.29, 100, 29), (0.99, 10, 9)]
)
def test_every_batch_has_its_share_of_generated_images(fraction: float, batch: int, made: int) -> None:
    one = sampler(batch, fraction=fraction)
    found = batches(one)
    assert len(found) == math.ceil(WHOLE / batch)  # held-out images count in the length of an epoch
    for positions in found:
        assert sum(p >= 42 for p in positions) == made
        assert all(0 <= p < 42 + MADE for p in positions)


def test_real_images_come_once_a_pass() -> None:
    one = sampler(8, fraction=0.25)  # 7 steps of 6: exactly one pass over the 42
    positions = [p for batch in batches(one) for p in batch if p < 42]
    assert sorted(positions) == list(range(42)) and positions != sorted(positions)
    longer = sampler(10, fraction=0.0)  # 50 positions: a pass and 8 more
    positions = list(longer)
    assert sorted(positions[:42]) == list(range(42))
    assert len(set(positions[42:])) == 8
    short = [p for p in sampler(10, fraction=0.7) if p < 42]
    assert len(short) == len(set(short)) == 15  # three in ten


def test_generated_images_are_drawn_uniformly_with_replacement() -> None:
    one = sampler(10, fraction=0.7)
    seen: Counter[int] = Counter()
    for epoch in range(200):
        one.set_epoch(epoch)
        seen.update(p - 42 for p in one if p >= 42)
    assert sum(seen.values()) == 200 * 35
    expected = 200 * 35 / MADE
    assert max(abs(seen[i] - expected) for i in range(MADE)) < 5 * expected**0.5
    assert any(len(set(b)) < 10 for b in batches(one))  # a repeat


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    before = torch.get_rng_state()
    first, other = sampler(seed=3), sampler(seed=4)
    orders = [list(first), list(other)]
    first.set_epoch(1)
    orders.append(list(first))
    assert orders[0] != orders[1] != orders[2] != orders[0]
    again = sampler(seed=3)
    assert list(again) == orders[0] == list(again)
    assert torch.equal(torch.get_rng_state(), before)


def test_processes_share_one_sequence_of_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes with 5 images each take turns in the batches; an epoch shows as many images as with one of 10."""
    alone = batches(sampler(5, fraction=0.4))
    parts = []
    for rank in range(2):
        monkeypatch.setattr("natx.data.mixed.get_dist_info", lambda rank=rank: (rank, 2))
        parts.append(batches(sampler(5, fraction=0.4)))
    assert [len(part) for part in parts] == [5, 5]
    assert [batch for pair in zip(*parts) for batch in pair] == alone
    shown = [p for part in parts for batch in part for p in batch if p < 42]
    assert len(set(shown)) == len(shown) == 30


def test_a_loader_joins_them() -> None:
    config = {"type": "MixedSampler", "fraction": 0.7}
    loader = train_loader(mixed(), 10, seed=0, sampler=config)
    loader.sampler.set_epoch(2)
    found = list(loader)
    assert len(loader) == len(found) == 5
    for batch in found:
        assert batch["inputs"].shape == (10, 3, 8, 8)
        assert int((batch["index"] >= WHOLE).sum()) == 7
    real_only = train_loader(mixed(), 10, seed=0, sampler={**config, "fraction": 0.0})
    indices = torch.cat([batch["index"] for batch in real_only])
    assert int(indices.max()) < WHOLE and len(set(indices[:42].tolist())) == 42
    assert "7 of 23 generated" in loader.sampler.notes()[0]


def test_batches_are_the_same_where_the_images_live_on_the_device() -> None:
    settings: dict[str, Any] = {"seed": 3, "sampler": {"type": "MixedSampler", "fraction": 0.7}}
    loaders = [train_loader(images, 10, **settings) for images in (mixed(), OnDevice(mixed(), torch.device("cpu")))]
    for ours, theirs in zip(*loaders, strict=True):
        assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


@pytest.mark.parametrize("fraction", [1.0, -0.1, float("nan"), "most"])
def test_a_bad_share_is_one_line(fraction: Any) -> None:
    with pytest.raises(ConfigError):
        sampler(fraction=fraction)
    with pytest.raises(ConfigError, match="set data.generated"):
        train_loader(real(), 10, seed=0, sampler={"type": "MixedSampler"})


# ---------------------------------------------------------------------------------------------- through a config


def content(folder: Path, **data: Any) -> Config:
    """A tiny training with generated images in a file."""
    made = TinyDataset(MADE, seed=9, uint8=True)
    path = folder / "made.npz"
    if not path.exists():
        np.savez(path, image=made.images.permute(0, 2, 3, 1).numpy(), label=made.labels.numpy())
    shared = {"type": "TinyDataset", "uint8": True}
    settings = {
        "train": {**shared, "count": WHOLE},
        "test": {**shared, "count": 10, "seed": 1},
        "heldout": HELD,
        "batch_size": 10,
        "generated": {"type": "NPZ", "path": str(path), "num_classes": 5},
        "sampler": {"type": "MixedSampler", "fraction": 0.7},
        **data,
    }
    whole = {
        "custom_imports": {"imports": ["natx.testing", "tasks.cls"]},
        "seed": 0,
        "task": {"type": "TinyCNNTask"},
        "data": {key: value for key, value in settings.items() if value is not None},
        "method": {"type": "Standard"},
        "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.1}},
        "train_cfg": {"max_epochs": 1},
    }
    path = folder / ("edm.py" if settings["generated"] else "vanilla.py")
    path.write_text("".join(f"{key} = {value!r}\n" for key, value in whole.items()))
    return load_config(path)


def with_adversary(folder: Path, **data: Any) -> Config:
    """The same with the nasty term, whose adversary would be trained on the real images."""
    content(folder, generated=None, sampler=None)
    config = content(folder, **data)
    adversary = {"config": str(folder / "vanilla.py")}
    config.method["terms"] = [{"type": "TaskLoss"}, {"type": "NastyKL", "adversary": adversary}]
    return config


def test_a_run_trains_on_both_and_holds_out_real_images(tmp_path: Path) -> None:
    runner = build_runner(content(tmp_path), tmp_path / "run", device=CPU)
    loader, held = runner._train_dataloader, next(h for h in runner.hooks if hasattr(h, "selection")).selection.dataset
    assert len(loader) == 5
    assert len(held) == HELD and int(held.__getitems__(range(HELD))["index"].max()) < WHOLE
    indices = [set(batch["index"].tolist()) for batch in loader]
    assert all(sum(i >= WHOLE for i in batch) > 0 for batch in indices)
    assert not set(held.__getitems__(range(HELD))["index"].tolist()) & set().union(*indices)
    runner.train()
    assert runner.iter == 5


def identity(config: Config, folder: Path) -> str:
    runner = build_runner(config, folder, device=CPU)
    return next(h for h in runner.hooks if hasattr(h, "selection")).meta["fingerprint"]


def test_a_run_is_known_by_its_generated_images_and_not_by_where_they_lie(tmp_path: Path) -> None:
    first = identity(content(tmp_path), tmp_path / "a")
    moved = tmp_path / "moved.npz"
    moved.write_bytes((tmp_path / "made.npz").read_bytes())
    there = {"type": "NPZ", "path": str(moved), "num_classes": 5}
    assert identity(content(tmp_path, generated=there), tmp_path / "b") == first
    fewer = {**there, "count": 20}
    assert identity(content(tmp_path, generated=fewer), tmp_path / "c") != first
    assert identity(content(tmp_path, generated=None, sampler=None), tmp_path / "d") != first


def test_the_plan_counts_the_recipes_epochs(tmp_path: Path) -> None:
    lines = "\n".join(describe_plan(content(tmp_path), tmp_path, device=CPU))
    assert "65 training images" in lines and "1 epochs x 5 steps of 10 images" in lines


def test_what_does_not_fit_is_refused_before_an_adversary_is_trained(tmp_path: Path) -> None:
    config = with_adversary(tmp_path, generated={"type": "NPZ", "path": str(tmp_path / "none.npz")})
    with pytest.raises(UserError, match=r"no file .*none\.npz"):
        train(config, tmp_path / "run", device=CPU)
    attack = {"type": "PGD", "threat": {"type": "Linf", "eps": 0.1}, "steps": 1}
    copies = {"source": {"config": str(tmp_path / "vanilla.py")}, "attack": attack}
    config = with_adversary(tmp_path, copies=copies)
    with pytest.raises(UserError, match="cannot be combined"):
        train(config, tmp_path / "run", device=CPU)
    assert not (tmp_path / "adversaries").exists()


def test_an_adversary_is_trained_on_the_real_images_alone(tmp_path: Path) -> None:
    plan = describe_plan(with_adversary(tmp_path), tmp_path / "run", device=CPU)
    counted = [line.strip().split("; ")[-1] for line in plan if " M parameters; " in line]
    assert counted == ["42 training images", "65 training images"]


# ---------------------------------------------------------------------------------------------- the recipe's loss


@pytest.mark.parametrize("nasty", [False, True])
def test_the_shipped_methods_loss_is_the_published_one(nasty: bool) -> None:
    """``(1 - s) nll + s mean(-log p)`` on clean images and 5 KL(p(x) || p(x')), with gradients through both."""
    config = load_config(f"configs/cls/r8_cifar10_{'nat_edm' if nasty else 'edm'}.py")
    settings = config.method.to_dict() if hasattr(config.method, "to_dict") else dict(config.method)
    s = config.task.label_smoothing
    assert s == 0.1
    with torch.random.fork_rng():
        torch.manual_seed(0)
        task, other = (
            ClassificationTask("small_cnn", 5, label_smoothing=s, model_args={"width": 4}).double() for _ in range(2)
        )
    if nasty:
        from natx.models.adversary import Adversary

        settings["terms"] = [
            {**dict(t), "adversary": Adversary([other])} if t["type"] == "NastyKL" else t for t in settings["terms"]
        ]
    method = METHODS.build(settings)
    method.prepare(task, CPU)
    draw = torch.Generator().manual_seed(1)
    batch = {
        "inputs": torch.rand(6, 3, 8, 8, generator=draw, dtype=torch.float64),
        "data_samples": torch.arange(6) % 5,
        "index": torch.arange(6),
    }
    views = method.make_views(task, batch, epoch=0)
    scalars = method(task.train(), batch, epoch=0)
    total = sum(value for key, value in scalars.items() if "loss" in key)
    grads = torch.autograd.grad(total, list(task.parameters()))

    x, x_adv = views
    assert float((x_adv - x).abs().max()) <= 8 / 255 + 1e-12
    z, z_adv = (task.net((v - task.mean) / task.std) for v in (x, x_adv))  # two train-mode forwards, as in the source
    log_p, log_q = z.log_softmax(1), z_adv.log_softmax(1)
    nll = -log_p[torch.arange(6), batch["data_samples"]]
    expected = ((1 - s) * nll + s * -log_p.mean(1)).mean() + 5 * (log_p.exp() * (log_p - log_q)).sum(1).mean()
    if nasty:
        for logits, view in ((z, x), (z_adv, x_adv)):
            t = (logits / 4).log_softmax(1)
            with torch.no_grad():
                a = (other.eval().net((view - task.mean) / task.std) / 4).log_softmax(1)
            expected = expected - 0.06 * 16 * F.kl_div(a, t, log_target=True, reduction="batchmean") / 2
    assert float(total.detach()) == pytest.approx(float(expected.detach()), rel=1e-9)
    for ours, theirs in zip(grads, torch.autograd.grad(expected, list(task.parameters()))):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)
