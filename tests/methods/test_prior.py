"""Training from remembered perturbations, against the sources' updates written out on plain tensors in float64."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy import stats
from tiny_runs import interrupted, run, tiny_config
from torch import Tensor, nn
from torch.nn import functional as F

from natx.data.augment import RandomCrop, RandomFlip
from natx.errors import CheckpointError, ConfigError, UnsupportedError
from natx.methods import ATAS, PriorGuided
from natx.methods.base import Method, Setting, optimised
from natx.methods.memory import DeviceMemory, DiskMemory
from natx.registry import METHODS
from natx.task import Task
from natx.testing import TinyCNNTask, TinyDataset, WrappedTask
from natx.threat import L2, Linf
from natx.training.build import build_runner
from natx.training.guard import Guard, Look
from natx.training.learner import Learner

EPS, IMAGES, EPOCHS, SIDE = 8 / 255, 6, 4, 4
LINF = {"type": "Linf", "eps": EPS}
SGD = {"optimizer": {"type": "SGD", "lr": 0.05}}


def network() -> nn.Sequential:
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 7), nn.Tanh(), nn.Linear(7, 4)).double()
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator, dtype=torch.float64))
    return net


class Double(WrappedTask):
    """Pixels in float64, so that a reference can be met to the last digits."""

    def pixels(self, batch: dict[str, Any]) -> Tensor:
        return batch["inputs"].double()


def images() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(IMAGES, 3, SIDE, SIDE, generator=generator, dtype=torch.float64)
    return x, torch.randint(0, 4, (IMAGES,), generator=generator)


def begun(method: Method, **changes: Any) -> Method:
    method.begin(Setting(**{"images": IMAGES, "epochs": 30, **changes}))
    return method


def batch_of(rows: list[int]) -> dict[str, Tensor]:
    x, y = images()
    return {"inputs": x[rows], "data_samples": y[rows], "index": torch.tensor(rows)}


def gradients(loss: Tensor, net: nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(net.parameters())))


def assert_close(ours: list[Tensor], theirs: list[Tensor]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-6, rtol=1e-6)


# ------------------------------------------------------------------------------------------------- prior guidance


def test_prior_guided_training_is_the_sources_loop() -> None:
    net = network()
    method = begun(PriorGuided(LINF, decay=0.3, dtype="float64"))
    x, y = images()
    start = EPS * method.uniform({"index": torch.arange(IMAGES)}, x, epoch=0).sign()
    prior, momentum = start.clone(), torch.zeros_like(x)
    for epoch in range(3):
        for rows in ([0, 3, 4], [1, 2, 5]):
            scalars = method(Double(net, 4), batch_of(rows), epoch=epoch)
            pictures, labels, delta = x[rows], y[rows], prior[rows].clone().requires_grad_()
            delta = (pictures + delta).clamp(0, 1).detach().sub(pictures).requires_grad_()
            original = net(pictures + delta)
            (gradient,) = torch.autograd.grad(F.cross_entropy(original, labels), delta, retain_graph=True)
            pushed = gradient / gradient.abs().sum() + 0.3 * momentum[rows]
            following = (delta.detach() + EPS * pushed.sign()).clamp(-EPS, EPS)
            moved = (delta.detach() + EPS * gradient.sign()).clamp(-EPS, EPS)
            final = net((pictures + moved).clamp(0, 1))
            loss = F.cross_entropy(final, labels) + 10 * F.mse_loss(final, net(pictures + delta.detach()))
            assert torch.allclose(optimised(scalars), loss, atol=1e-6)
            assert_close(gradients(optimised(scalars), net), gradients(loss, net))
            prior[rows] = (pictures + following).clamp(0, 1) - pictures
            momentum[rows] = pushed
        with torch.no_grad():  # gradients shrink, and count in the momentum by their signs' shares all the same
            net[3].weight.mul_(0.1)
    assert (prior - start).abs().max() > EPS


def test_perturbations_begin_uniform_in_the_ball_and_keyed_by_image() -> None:
    method, rows = begun(ATAS(LINF, reset=0, seed=3)), torch.arange(400)
    x = torch.zeros(400, 3, SIDE, SIDE, dtype=torch.float64)
    start = method.uniform({"index": rows}, x, epoch=0)
    assert stats.kstest(start.flatten().numpy() / EPS, stats.uniform(-1, 2).cdf).pvalue > 1e-3
    assert torch.equal(method.uniform({"index": rows[5:7]}, x[5:7], epoch=9), start[5:7])  # no reset in between
    assert not torch.equal(begun(ATAS(LINF, reset=0, seed=4)).uniform({"index": rows}, x, epoch=0), start)


def test_priors_begin_anew_at_a_reset() -> None:
    method = begun(PriorGuided(LINF, reset=2, dtype="float64"))
    task, batch = Double(network(), 4), batch_of([0, 1, 2])
    starts = [method.make_views(task, batch, epoch=epoch)[0] for epoch in range(4)]
    fresh = (batch["inputs"] + EPS * method.uniform(batch, batch["inputs"], epoch=2).sign()).clamp(0, 1)
    assert torch.allclose(starts[2], fresh) and not torch.allclose(starts[3], starts[2])
    assert not torch.allclose(starts[1], starts[0])


@pytest.mark.parametrize("kind", [PriorGuided, ATAS])
def test_an_image_is_attacked_the_same_beside_any_others(kind: Any) -> None:
    """By the network in eval mode, whose statistics stay; with bn_mode='train' the others count."""
    task, batch = TinyCNNTask(double=True).train(), TinyDataset(6).__getitems__(range(6))
    some, before = {key: value[:2] for key, value in batch.items()}, copy.deepcopy(task.state_dict())
    views = [begun(kind(LINF, dtype="float64")).make_views(task, part, epoch=0) for part in (batch, some)]
    assert all(torch.equal(whole[:2], part) for whole, part in zip(*views, strict=True))
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())
    others = [begun(kind(LINF, bn_mode="train")).make_views(task, part, epoch=0)[-1] for part in (batch, some)]
    assert not torch.equal(others[0][:2], others[1])


@pytest.mark.parametrize("kind", [PriorGuided, ATAS])
def test_clean_images_stand_beside_the_others_on_the_union(kind: Any) -> None:
    method = begun(kind(LINF, views=("clean", "adv")))
    task, batch = Double(network(), 4), batch_of([0, 1, 2])
    views = dict(zip(method.views, method.make_views(task, batch, epoch=0), strict=True))
    assert torch.equal(views["clean"], task.pixels(batch))
    assert (views["adv"] - views["clean"]).abs().max() <= EPS + 1e-9
    assert {"loss_prior"} <= set(method(task, batch, epoch=1)) if kind is PriorGuided else True


# ------------------------------------------------------------------------------------------------------------ ATAS


def test_atas_is_the_sources_loop() -> None:
    net, settings = network(), {"c": 0.5, "beta": 0.2, "warmup": 1}
    method = begun(ATAS(LINF, dtype="float64", **settings))
    x, y = images()
    delta = method.uniform({"index": torch.arange(IMAGES)}, x, epoch=0)
    norms, sizes_seen = torch.zeros(IMAGES, dtype=torch.float64), []
    for epoch in range(3):
        for rows in ([0, 3, 4], [1, 2, 5]):
            scalars = method(Double(net, 4), batch_of(rows), epoch=epoch)
            pictures, labels = x[rows], y[rows]
            start = (pictures + delta[rows]).clamp(0, 1).requires_grad_()
            (gradient,) = torch.autograd.grad(F.cross_entropy(net(start), labels), start)
            sizes = torch.full((3,), EPS, dtype=torch.float64)
            if epoch >= 1:
                norms[rows] = gradient.flatten(1).norm(dim=1) ** 2 * 0.8 + norms[rows] * 0.2
                sizes = (1 / (1 + norms[rows].sqrt() / 0.5) * 2 * 8 / 255).clamp(4 / 255, 14 / 255)
                sizes_seen += sizes.tolist()
            after = start.detach() + sizes.view(-1, 1, 1, 1) * gradient.sign()
            after = after.clamp(min=pictures - EPS).clamp(max=pictures + EPS).clamp(0, 1)
            loss = F.cross_entropy(net(after), labels)
            assert torch.allclose(optimised(scalars), loss, atol=1e-6)
            assert_close(gradients(optimised(scalars), net), gradients(loss, net))
            delta[rows] = after - pictures
    assert len({round(size, 9) for size in sizes_seen}) > 3  # each image has a step of its own


def test_atas_steps_shrink_with_the_gradient_between_their_ends() -> None:
    method = begun(ATAS(LINF, c=0.1, beta=0.0, warmup=0, dtype="float64"))
    grad = torch.zeros(4, 3, SIDE, SIDE, dtype=torch.float64)
    grad[:, 0, 0, 0] = torch.tensor([1e-6, 0.05, 0.2, 1e6])
    sizes = method._sizes(batch_of([0, 1, 2, 3]), grad, epoch=0)
    torch.testing.assert_close(sizes / EPS, torch.tensor([1.75, 2 / 1.5, 2 / 3, 0.5], dtype=torch.float64))


def test_small_gradient_norms_are_kept_at_half_precision() -> None:
    """A squared norm of 1e-12 is none in float16, which perturbations are stored in."""
    method, batch = begun(ATAS(LINF, beta=0.5, warmup=0)), batch_of([0])
    method._sizes(batch, torch.full((1, 3, SIDE, SIDE), 1e-6 / (3 * SIDE**2) ** 0.5, dtype=torch.float64), epoch=0)
    mean = method.recalled("gradient_norm", batch, epoch=1, fresh=torch.zeros(1, dtype=torch.float64))
    assert float(mean) == pytest.approx(0.5e-12, rel=1e-3, abs=0)


def test_atas_remembers_in_the_images_own_frames() -> None:
    """What an augmented image was moved by goes to the pixels that it was cut from."""
    method = begun(ATAS(LINF, reset=0, dtype="float64"))
    learner = Learner(Double(network(), 4), method, augments=[RandomCrop(1, "constant"), RandomFlip()], seed=5)
    begun(method, moves=learner.moved)
    batch, index = batch_of(list(range(IMAGES))), torch.arange(IMAGES)
    own = method.uniform(batch, batch["inputs"], epoch=0)
    (adv,) = method.make_views(Double(network(), 4), batch, epoch=0)
    kept = method.recalled("perturbation", batch, epoch=1, fresh=torch.zeros_like(own))
    places = learner.moved(torch.arange(own.numel(), dtype=torch.float64).view_as(own) + 1, index=index, epoch=0)
    shown = places > 0  # the others are padding
    own.view(-1)[places[shown].long() - 1] = (adv - batch["inputs"])[shown]
    torch.testing.assert_close(kept, own)


def test_atas_steps_do_not_depend_on_how_an_update_is_divided(tmp_path: Path) -> None:
    """Halves of a batch, on two processes or accumulated, take the steps that their images take in the whole batch."""
    task, rows, views = Double(network(), 4), list(range(IMAGES)), []
    for parts in ([rows], [rows[:3], rows[3:]]):
        method = begun(ATAS(LINF, c=0.1, warmup=0, dtype="float64"), batch=IMAGES)
        views.append(torch.cat([method.make_views(task, batch_of(part), epoch=0)[0] for part in parts]))
    assert torch.allclose(*views, atol=1e-12, rtol=0)
    config = tiny_config({"type": "ATAS", "threat": LINF}, optim_wrapper={**SGD, "accumulative_counts": 3})
    runner = build_runner(config, tmp_path / "run", device=torch.device("cpu"), rehearsal=True)
    assert runner.model.method._batch == 3 * 12


def test_atas_counts_resets_from_one_and_spares_the_last_epoch() -> None:
    method = begun(ATAS(LINF, reset=3), epochs=9)
    assert [method.since(epoch) for epoch in range(9)] == [0, 0, 2, 2, 2, 5, 5, 5, 5]
    assert [begun(ATAS(LINF, reset=0)).since(epoch) for epoch in (0, 7)] == [0, 0]


@pytest.mark.parametrize("crop", ["constant", "reflect"])
def test_perturbations_follow_crops_and_flips_and_come_back(crop: str) -> None:
    augments = [RandomCrop(1, crop), RandomFlip()]
    method = begun(ATAS(LINF, dtype="float64"))
    learner = Learner(Double(network(), 4), method, augments=augments, seed=5)
    begun(method, moves=learner.moved)
    rows = list(range(IMAGES))
    own = method.uniform({"index": torch.arange(IMAGES)}, images()[0], epoch=0)
    shown, back = method._moved(own, {"index": torch.tensor(rows)}, epoch=2)
    assert torch.equal(shown, learner.moved(own, index=torch.arange(IMAGES), epoch=2)) and not torch.equal(shown, own)
    assert torch.allclose(back(shown), own)  # what is shown unchanged comes back unchanged, the rest stays
    changed = back(torch.full_like(shown, 7.0))
    assert set(changed.unique().tolist()) <= {7.0, *own.unique().tolist()} and (changed == 7.0).float().mean() > 0.5
    positions = torch.arange(own.numel(), dtype=torch.float64).view_as(own) + 1
    seen = learner.moved(positions, index=torch.arange(IMAGES), epoch=2)
    assert torch.equal(changed == 7.0, torch.isin(positions, seen))


def test_what_blends_pixels_is_refused() -> None:
    method = ATAS(LINF)
    learner = Learner(Double(network(), 4), method, augments=[{"type": "RandomResizedCrop", "size": SIDE}])
    begun(method, moves=learner.moved)
    with pytest.raises(ConfigError, match="RandomResizedCrop does more than picking pixels"):
        method.make_views(Double(network(), 4), batch_of([0, 1]), epoch=0)


# --------------------------------------------------------------------------------------------------------- memories


@pytest.fixture(params=["device", "disk"])
def memory(request: pytest.FixtureRequest, tmp_path: Path) -> DeviceMemory | DiskMemory:
    disk = request.param == "disk"
    return DiskMemory(9, torch.float32, tmp_path / "m.bin") if disk else DeviceMemory(9, torch.float32)


def test_an_image_reads_what_it_wrote_in_an_earlier_epoch(memory: Any) -> None:
    fresh = torch.full((2, 3), -1.0)
    rows, others = torch.tensor([7, 2]), torch.tensor([2, 3])
    assert torch.equal(memory.read(rows, epoch=0, since=0, fresh=fresh), fresh)
    memory.write(rows, torch.tensor([[1.0] * 3, [2.0] * 3]), epoch=0)
    assert memory.read(rows, epoch=1, since=0, fresh=fresh)[:, 0].tolist() == [1.0, 2.0]
    assert memory.read(others, epoch=1, since=0, fresh=fresh)[:, 0].tolist() == [2.0, -1.0]
    assert memory.read(rows, epoch=1, since=1, fresh=fresh)[:, 0].tolist() == [-1.0, -1.0]


def test_an_image_that_comes_again_in_an_epoch_does_not_begin_anew(memory: Any) -> None:
    """On the device it goes on from its last step; on disk once more from where the epoch before left it."""
    rows, fresh, read = torch.tensor([4]), torch.full((1, 3), -1.0), []
    for step, epoch in enumerate((0, 1, 1, 1, 2)):
        read += memory.read(rows, epoch=epoch, since=0, fresh=fresh)[:, 0].tolist()
        memory.write(rows, torch.full((1, 3), float(step)), epoch=epoch)
    assert read == ([-1, 0, 1, 2, 3] if isinstance(memory, DeviceMemory) else [-1, 0, 0, 0, 3])


@pytest.mark.parametrize("store", ["device", "disk"])
def test_the_mean_of_gradient_norms_counts_an_image_that_comes_again(store: str, tmp_path: Path) -> None:
    """ATAS's steps shrink with ``v``, of which each showing keeps the share ``beta``."""
    method = begun(ATAS(LINF, beta=0.5, warmup=0, reset=0, store=store, dtype="float64"), folder=tmp_path)
    batch, grad = batch_of([1]), torch.ones(1, 3, SIDE, SIDE, dtype=torch.float64)
    for epoch in (0, 1, 1):
        method._sizes(batch, grad, epoch=epoch)
    mean = method.recalled("gradient_norm", batch, epoch=2, fresh=torch.zeros(1, dtype=torch.float64))
    shares = {"device": 1 - 0.5**3, "disk": 1 - 0.5**2}
    assert float(mean) == pytest.approx(shares[store] * 3 * SIDE**2)


@pytest.mark.parametrize("store", ["device", "disk"])
def test_a_momentum_beyond_half_precision_still_fades(store: str, tmp_path: Path) -> None:
    """A gradient in few of many pixels is large beside its mean; at infinity its sign would stay until the reset."""
    path = tmp_path / "m.bin"
    memory = DeviceMemory(2, torch.float16) if store == "device" else DiskMemory(2, torch.float16, path)
    rows, values = torch.tensor([0, 1]), torch.tensor([[150_528.0], [-150_528.0]])
    memory.write(rows, values, epoch=0)
    assert memory.read(rows, epoch=1, since=0, fresh=values).flatten().tolist() == [65_504.0, -65_504.0]


def test_an_objective_that_cannot_score_the_task_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="at least 3 classes"):
        ATAS(LINF, objective={"type": "DLR"}).prepare(Double(network(), 2), torch.device("cpu"))


def test_images_of_another_size_are_refused(memory: Any) -> None:
    memory.write(torch.tensor([0]), torch.zeros(1, 3), epoch=0)
    with pytest.raises(ConfigError, match=r"images of one size: \[3\] so far, now \[4\]"):
        memory.read(torch.tensor([0]), epoch=1, since=0, fresh=torch.zeros(1, 4))


def test_an_epoch_that_is_repeated_reads_from_disk_what_it_read_before(tmp_path: Path) -> None:
    rows, fresh = torch.tensor([0, 1]), torch.zeros(2, 1)
    first = DiskMemory(2, torch.float32, tmp_path / "m.bin")
    for epoch in range(3):
        first.write(rows, torch.full((2, 1), float(epoch + 1)), epoch=epoch)
    before = first.read(rows, epoch=3, since=0, fresh=fresh)
    first.write(rows[:1], torch.full((1, 1), 99.0), epoch=3)  # and then the run was killed
    again = DiskMemory(2, torch.float32, tmp_path / "m.bin")
    assert torch.equal(again.read(rows, epoch=3, since=0, fresh=fresh), before)
    again.write(rows, torch.full((2, 1), 4.0), epoch=3)
    assert again.read(rows, epoch=4, since=0, fresh=fresh).flatten().tolist() == [4.0, 4.0]


@pytest.mark.parametrize("store", ["device", "disk"])
@pytest.mark.parametrize("kind", ["PriorGuided", "ATAS"])
def test_a_run_broken_off_goes_on_as_if_it_had_not_been(
    kind: str, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = {"type": kind, "threat": LINF, "store": store, "dtype": "float32"}
    config = tiny_config({**method, **({"warmup": 1} if kind == "ATAS" else {})})
    whole = run(config, tmp_path / "whole")
    interrupted(config, tmp_path / "broken", monkeypatch)
    resumed = run(config, tmp_path / "broken", resume=True)
    for name, weight in whole["weights"].items():
        assert torch.equal(weight, resumed["weights"][name]), name


def test_a_run_does_not_go_on_without_its_perturbations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where last.pth alone was copied: they would begin anew, without a word."""
    config = tiny_config({"type": "PriorGuided", "threat": LINF, "store": "disk"})
    interrupted(config, tmp_path / "run", monkeypatch)
    (tmp_path / "run" / "memory" / "perturbation.bin").unlink()
    with pytest.raises(CheckpointError, match=r"goes on from the perturbations in .*perturbation\.bin, a file of"):
        run(config, tmp_path / "run", resume=True)


def test_what_was_written_since_an_epoch_is_forgotten(memory: Any) -> None:
    rows, fresh = torch.tensor([4, 5]), torch.full((2, 3), -1.0)
    memory.forget(0)  # of nothing
    memory.write(rows[:1], torch.full((1, 3), 1.0), epoch=0)
    memory.write(rows[1:], torch.full((1, 3), 2.0), epoch=1)
    memory.forget(1)
    assert memory.read(rows, epoch=2, since=0, fresh=fresh)[:, 0].tolist() == [1.0, -1.0]


def test_a_file_still_has_the_epoch_that_a_run_goes_back_to(tmp_path: Path) -> None:
    rows, fresh = torch.tensor([0, 1]), torch.zeros(2, 1)
    memory = DiskMemory(2, torch.float32, tmp_path / "m.bin")
    for epoch in range(3):
        memory.write(rows, torch.full((2, 1), epoch + 1.0), epoch=epoch)
    for epoch in (3, 4):  # both overfit, after two good epochs
        DiskMemory(2, torch.float32, tmp_path / "m.bin").forget(2)
        assert memory.read(rows, epoch=epoch, since=0, fresh=fresh).flatten().tolist() == [2.0, 2.0]
        memory.write(rows, torch.full((2, 1), 99.0), epoch=epoch)


@pytest.mark.parametrize("kind", ["PriorGuided", "ATAS"])
def test_a_run_that_goes_back_takes_its_perturbations_with_it(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the device they are in the state that it goes back to; those on disk must end up the same."""
    looked: list[int] = []

    def second_is_bad(self: Guard, task: Task, *, robust: float | None = None) -> Look:
        looked.append(1)
        return Look(fgsm=100.0 if len(looked) == 2 else 0.0, pgd=0.0, images=12, gap=20.0)

    monkeypatch.setattr(Guard, "__call__", second_is_bad)
    ends = {}
    for store in ("device", "disk"):
        looked.clear()
        method = {"type": kind, "threat": LINF, "store": store, "dtype": "float32"}
        method |= {"warmup": 1} if kind == "ATAS" else {}
        config = tiny_config(method, guard={"stronger": [{"method.step": 0.5}]})
        ends[store] = run(config, tmp_path / store)
    assert ends["device"]["guard"]["back"] == ends["disk"]["guard"]["back"] == 1
    for name, weight in ends["device"]["weights"].items():
        assert torch.equal(weight, ends["disk"]["weights"][name]), name


@pytest.mark.parametrize(("count", "dtype"), [(6, torch.float16), (3, torch.float32)])
def test_what_another_run_left_in_the_file_is_not_read(count: int, dtype: torch.dtype, tmp_path: Path) -> None:
    """Other images, or another type (which guard.stronger may ask for), in the folder of a run."""
    DiskMemory(3, torch.float16, tmp_path / "m.bin").write(torch.arange(3), torch.full((3, 4), 7.0), epoch=0)
    rows, fresh = torch.arange(count), torch.full((count, 4), -1.0)
    memory = DiskMemory(count, dtype, tmp_path / "m.bin")
    assert torch.equal(memory.read(rows, epoch=1, since=0, fresh=fresh), fresh)
    memory.write(rows, 2 * fresh, epoch=1)
    assert torch.equal(memory.read(rows, epoch=2, since=0, fresh=fresh), 2 * fresh)


def test_several_machines_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("natx.methods.memory.all_gather_object", lambda name: [name, f"{name}2"])
    with pytest.raises(ConfigError, match="these are on 2 machines"):
        begun(ATAS(LINF, store="disk"), folder=tmp_path)


def test_several_processes_remember_on_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("natx.methods.memory.get_dist_info", lambda: (0, 2))
    with pytest.raises(ConfigError, match="give store='disk' with several processes"):
        begun(ATAS(LINF))
    monkeypatch.setattr("natx.methods.memory.barrier", lambda: None)
    assert isinstance(begun(ATAS(LINF, store="disk"), folder=tmp_path).memories["perturbation"], DiskMemory)
    assert isinstance(begun(ATAS(LINF, store="disk")).memories["perturbation"], DeviceMemory)  # a rehearsal


def test_both_wrap_into_weight_perturbation_and_announce_their_cost() -> None:
    inner = {"type": "PriorGuided", "threat": LINF, "views": ("clean", "adv")}

    awp = begun(METHODS.build({"type": "AWP", "method": inner}))
    assert awp.cost() == (1 + 3 + 3, 1 + 3 + 3)
    assert optimised(awp(Double(network(), 4), batch_of([0, 1, 2]), epoch=0)).isfinite()
    assert ATAS(LINF).cost() == (2, 2) and PriorGuided(LINF).cost() == (3, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PriorGuided(L2(0.5)), "PriorGuided works in Linf balls"),
        (lambda: ATAS(Linf(EPS), step=0.0), "ATAS needs step > 0"),
        (lambda: ATAS(Linf(EPS), c=0.0), "ATAS needs c > 0"),
        (lambda: PriorGuided(Linf(EPS), decay=2.0), "decay is what remains"),
        (lambda: PriorGuided(Linf(EPS), views=("clean",)), "views is"),
        (lambda: PriorGuided(Linf(EPS), dtype="int8"), "dtype is one of"),
        (lambda: begun(ATAS(Linf(EPS), store="cloud")), "store is 'device' or 'disk'"),
        (lambda: ATAS(Linf(EPS)).make_views(Double(network(), 4), batch_of([0]), epoch=0), "begin"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
