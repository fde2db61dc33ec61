"""Replayed batches, and training that updates the weights between the steps of an attack."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mmengine.dataset.sampler
import pytest
import torch
from mmengine.config import Config
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Sampler

from natx.attacks import APGD, PGD, Attack, WorstOf
from natx.config import plain_dict
from natx.data import train_loader
from natx.data.augment import RandomCrop, RandomFlip
from natx.data.replay import ReplaySampler, held_images
from natx.errors import ConfigError
from natx.methods import AWP, FreeAdversarial, Method
from natx.models.checkpoint import load_state
from natx.objectives import Objective
from natx.registry import METHODS, SAMPLERS
from natx.task import Output, Task
from natx.testing import LinearTask, TinyCNNTask, TinyDataset, WrappedTask
from natx.threat import L2, Linf
from natx.training.images import build_loader
from natx.training.learner import Learner
from natx.training.run import train

EPS, STEP = 8 / 255, 3 / 255
CPU = torch.device("cpu")


class Order(Sampler[int]):
    """Given positions, shifted by the epoch."""

    def __init__(self, positions: range) -> None:
        self.positions, self.epoch = positions, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.positions)

    def __iter__(self) -> Iterator[int]:
        return iter([i + 100 * self.epoch for i in self.positions])

    def notes(self) -> list[str]:
        return ["counted up"]


def batches(sampler: Sampler[int], batch_size: int) -> list[list[int]]:
    positions = list(sampler)
    assert len(positions) == len(sampler)
    return [positions[i : i + batch_size] for i in range(0, len(positions), batch_size)]


# ------------------------------------------------------------------------------------------ the order of the images


@pytest.mark.parametrize(
    ("count", "batch_size", "replays", "fresh", "expected"),
    [
        (14, 4, 2, 0.5, [[0, 1, 2, 3], [0, 1, 4, 5], [6, 7, 8, 9], [6, 7, 10, 11]]),  # 12 and 13 make no round
        (12, 4, 2, 0.5, [[0, 1, 2, 3], [0, 1, 4, 5], [6, 7, 8, 9], [6, 7, 10, 11]]),
        (11, 4, 2, 0.5, [[0, 1, 2, 3], [0, 1, 4, 5]]),
        (7, 3, 3, 0.0, [[0, 1, 2], [0, 1, 2], [0, 1, 2], [3, 4, 5], [3, 4, 5], [3, 4, 5]]),
        (9, 4, 3, 0.25, [[0, 1, 2, 3], [0, 1, 2, 4], [0, 1, 2, 5]]),
        (8, 4, 1, 0.5, [[0, 1, 2, 3], [4, 5, 6, 7]]),
        (6, 4, 1, 0.0, [[0, 1, 2, 3]]),
    ],
)
def test_a_round_repeats_its_images_beside_new_ones(
    count: int, batch_size: int, replays: int, fresh: float, expected: list[list[int]]
) -> None:
    sampler = ReplaySampler(Order(range(count)), batch_size, replays=replays, fresh=fresh)
    assert batches(sampler, batch_size) == expected
    assert len(sampler) == len(expected) * batch_size
    sampler.set_epoch(2)
    assert batches(sampler, batch_size) == [[i + 200 for i in batch] for batch in expected]


def test_notes_say_what_an_epoch_shows() -> None:
    assert ReplaySampler(Order(range(14)), 4, replays=2, fresh=0.5).notes() == [
        "an epoch shows 4 of each process's 14 training images in 2 steps each beside 8 others, shown once: 4 steps",
        "counted up",
    ]
    [note, _] = ReplaySampler(Order(range(9)), 4, replays=5).notes()
    assert note == "an epoch shows 8 of each process's 9 training images in 5 steps each: 10 steps"


def loader_batches(loader: DataLoader, epoch: int) -> list[list[int]]:
    loader.sampler.set_epoch(epoch)
    found = [batch["index"].tolist() for batch in loader]
    assert len(found) == len(loader)
    return found


def test_a_loader_draws_rounds_from_seed_and_epoch() -> None:
    data, settings = TinyDataset(43), dict(replays=3, fresh=0.5)
    loader = train_loader(data, 4, seed=1, **settings)
    epochs = [loader_batches(loader, epoch) for epoch in range(3)]
    assert all(epochs[i] != epochs[j] for i in range(3) for j in range(i))
    for found in epochs:
        assert len(found) == 15  # 43 images: 5 rounds of 2 + 3 * 2 images
        seen = Counter(i for batch in found for i in batch)
        assert Counter(seen.values()) == {3: 10, 1: 30}  # no image is both replayed and fresh
        for start in range(0, 15, 3):
            assert len({tuple(batch[:2]) for batch in found[start : start + 3]}) == 1
    again = train_loader(data, 4, seed=1, num_workers=1, **settings)
    assert loader_batches(again, 2) == epochs[2]
    assert loader_batches(train_loader(data, 4, seed=2, **settings), 2) != epochs[2]


def test_processes_replay_images_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = []
    for rank in (0, 1):
        monkeypatch.setattr(mmengine.dataset.sampler, "get_dist_info", lambda rank=rank: (rank, 2))
        parts.append(loader_batches(train_loader(TinyDataset(40), 4, seed=0, replays=2, fresh=0.5), 1))
    assert len(parts[0]) == len(parts[1]) == 6  # 20 images each: 3 rounds of 6 images
    first, second = ({i for batch in part for i in batch} for part in parts)
    assert len(first) == len(second) == 18 and not first & second


@SAMPLERS.register_module()
class Hands(Sampler[int]):
    """Positions in hands of ``batch_size``, each of one label."""

    def __init__(self, dataset: Any, batch_size: int, *, seed: int) -> None:
        self.labels, self.batch_size = dataset.labels, batch_size

    def set_epoch(self, epoch: int) -> None:
        pass

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[int]:
        per_label = [(self.labels == label).nonzero().flatten().tolist() for label in self.labels.unique()]
        while per_label:
            hands = [positions[: self.batch_size] for positions in per_label]
            per_label = [rest for positions in per_label if (rest := positions[self.batch_size :])]
            for hand in hands:
                yield from hand


@pytest.mark.parametrize(("fresh", "hand"), [(0.0, 6), (0.5, 3), (1 / 3, 2)])
def test_replayed_and_fresh_images_are_whole_hands_of_another_sampler(fresh: float, hand: int) -> None:
    data = TinyDataset(60)
    loader = train_loader(data, 6, seed=0, sampler=dict(type="Hands"), replays=2, fresh=fresh)
    assert loader.sampler.order.batch_size == hand
    for batch in loader_batches(loader, 0):
        for start in range(0, 6, hand):
            assert len(data.labels[batch[start : start + hand]].unique()) == 1


def test_a_config_with_replays_has_a_loader_of_rounds() -> None:
    config = Config({"seed": 0, "data": {"batch_size": 4}, "method": {"type": "Standard"}})
    assert len(build_loader(config, TinyDataset(40))) == 10
    config.method = {"type": "FreeAdversarial", "replays": 3, "fresh": 0.5}
    assert len(build_loader(config, TinyDataset(40))) == 15
    config.method = {"type": "AWP", "method": {"type": "SAM", "method": plain_dict(config.method)}}
    assert len(build_loader(config, TinyDataset(40))) == 15
    config.method = {"type": "FreeAdversarial", "replays": 3}
    assert len(build_loader(config, TinyDataset(40))) == 30


# ------------------------------------------------------------------- a whole training against a few lines of torch


class TwoLosses(WrappedTask):
    """A small net with two losses, on the first outputs as classes and on the last as a value; means over the batch."""

    def read(self, raw: Tensor, batch: dict[str, Any], *, rows: Any = None) -> Output:
        output = super().read(raw[:, :3], batch, rows=rows)
        classes = F.cross_entropy(raw[:, :3], batch["data_samples"], reduction="none")
        value = (raw[:, 3] - batch["data_samples"]).pow(2)
        output.image_losses = {"loss_cls": classes, "loss_value": value}
        output.losses = {name: loss.mean() for name, loss in output.image_losses.items()}
        return output


def small_net(outputs: int, seed: int = 0) -> nn.Sequential:
    """Batch norm, so that the mode of the attack shows."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Linear(256, outputs)]
        return nn.Sequential(*layers).double()


def single(name: str, **settings: Any) -> dict[str, Any]:
    values = dict(steps=1, step_size=EPS, random_start=False, objective=dict(type="ImageLoss", name=name))
    return dict(type="PGD", **{**values, **settings})


def losses_by_hand(net: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    z = net(x)
    return F.cross_entropy(z[:, :3], y), (z[:, 3] - y).pow(2).mean()


def step_by_hand(net: nn.Module, x_adv: Tensor, *, x: Tensor, y: Tensor, size: float, which: int) -> Tensor:
    """One signed step on one of the losses, inside the ball around ``x``."""
    x_adv = x_adv.clone().requires_grad_()
    (grad,) = torch.autograd.grad(losses_by_hand(net, x_adv, y)[which], x_adv)
    return (x + (x_adv.detach() + size * grad.sign() - x).clamp(-EPS, EPS)).clamp(0, 1)


def trained_by_hand(
    net: nn.Module, data: TinyDataset, order: list[list[int]], *, held: int, replays: int, steps: Any, totals: list
) -> nn.Module:
    """SGD on (attacked, fresh) after every attack step; MTD's choice is made for the whole batch."""
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    for number, positions in enumerate(order):
        images, labels = data.images[positions].double(), data.labels[positions]
        x, y = images[:held], labels[:held]
        if number % replays == 0:
            x_adv = x
        net.eval()
        found = [step_by_hand(net, x_adv, x=x, y=y, size=size, which=which) for which, size in steps]
        with torch.no_grad():
            scores = [sum(losses_by_hand(net, one, y)) for one in found]
        totals.append([float(score) for score in scores])
        x_adv = found[int(len(found) > 1 and scores[1] > scores[0])]
        net.train()
        optimiser.zero_grad()
        loss = sum(losses_by_hand(net, torch.cat([x_adv, images[held:]]), labels))
        loss.backward()
        optimiser.step()
    return net


MTD = dict(type="WorstOf", attacks=[single("loss_cls"), single("loss_value")], select="batch")
REPLAYED = {
    "free adversarial training": (single("loss_cls", step_size=STEP), 0.0, [(0, STEP)]),
    "with fresh images": (single("loss_cls", step_size=STEP), 0.5, [(0, STEP)]),
    "MTD as in RobustDet": (MTD, 0.5, [(0, EPS), (1, EPS)]),
}


@pytest.mark.parametrize("name", REPLAYED)
def test_training_is_a_hand_written_loop(name: str) -> None:
    attack, fresh, steps = REPLAYED[name]
    data, replays, totals = TinyDataset(40, num_classes=3), 3, []
    net = small_net(4)
    method = METHODS.build(
        dict(
            type="FreeAdversarial",
            attack={**attack, "threat": dict(type="Linf", eps=EPS)},
            replays=replays,
            fresh=fresh,
        )
    )
    learner = Learner(TwoLosses(copy.deepcopy(net), 3), method).train()
    method.prepare(learner.task, CPU)
    optimiser = torch.optim.SGD(learner.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    loader, order = train_loader(data, 8, seed=3, replays=replays, fresh=fresh), []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        learner.epoch = epoch
        for batch in loader:
            order.append(batch["index"].tolist())
            loss, _ = learner.parse_losses(learner(**batch, mode="loss"))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    assert len(order) == (30 if fresh == 0 else 12)  # 5 rounds of 8 images, or 2 of 4 + 3 * 4, in two epochs
    trained_by_hand(net, data, order, held=held_images(8, fresh), replays=replays, steps=steps, totals=totals)
    mine, theirs = learner.task.net.state_dict(), net.state_dict()
    for key, value in theirs.items():
        torch.testing.assert_close(mine[key], value, rtol=0, atol=1e-10, msg=key)
    assert not torch.equal(net[0].weight, small_net(4)[0].weight)
    if len(steps) > 1:  # either of the two steps won at some time
        assert {first >= second for first, second in totals} == {True, False}


# ---------------------------------------------------------------------------------- what a step leaves the images at


class Recorded(PGD):
    """PGD that keeps the clean pixels it was given."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seen: list[Tensor] = []

    def run(self, victim: Any, *, epoch: int = 0) -> Tensor:
        assert not victim.task.training
        self.seen.append(victim.x.clone())
        return super().run(victim, epoch=epoch)


def linear_scene(count: int = 8) -> tuple[LinearTask, dict[str, Tensor], Tensor]:
    """A linear two-class net, a batch, and the sign in which each pixel raises its image's loss."""
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(2, 12, generator=generator, dtype=torch.float64)
    x = torch.rand(count, 3, 2, 2, generator=generator, dtype=torch.float64) * 0.5 + 0.25
    batch = {"inputs": x, "data_samples": torch.arange(count) % 2, "index": torch.arange(count) + 5}
    labels = batch["data_samples"]
    return LinearTask(weight), batch, (weight[1 - labels] - weight[labels]).sign().view_as(x)


def replayed(batch: dict[str, Tensor], *, shift: int, held: int) -> dict[str, Tensor]:
    """The batch with other images in place of the fresh ones."""
    index = batch["index"].clone()
    index[held:] += shift
    inputs = batch["inputs"].clone()
    inputs[held:] = inputs[held:].roll(shift, 0)
    return {**batch, "inputs": inputs, "index": index}


@pytest.mark.parametrize("fresh", [0.0, 0.5])
def test_each_step_goes_on_where_the_last_one_ended_and_the_ball_stays_where_it_was(fresh: float) -> None:
    task, batch, up = linear_scene()
    held, replays = held_images(8, fresh), 4
    method = FreeAdversarial(PGD(Linf(EPS), 1, step_size=STEP, random_start=False), replays, fresh=fresh)
    for round_ in range(2):  # the second round starts at the clean images again
        for done in range(1, replays + 1):
            shown = replayed(batch, shift=round_ * replays + done, held=held)
            [x] = method.make_views(task, shown, epoch=0)
            moved = min(done * STEP, EPS)  # 3, 6, 8, 8 of 255
            torch.testing.assert_close(x[:held], (batch["inputs"] + moved * up)[:held], rtol=0, atol=1e-12)
            assert torch.equal(x[held:], shown["inputs"][held:])
    assert 3 * STEP > EPS


def test_l2_rounds_stay_within_the_ball() -> None:
    task, batch, _ = linear_scene()
    method = FreeAdversarial(PGD(L2(0.25), 1, step_size=0.1, random_start=False), 4)
    for length in (0.1, 0.2, 0.25, 0.25):
        [x] = method.make_views(task, batch, epoch=0)
        moved = (x - batch["inputs"]).flatten(1).norm(dim=1)
        torch.testing.assert_close(moved, torch.full_like(moved, length), rtol=0, atol=1e-9)


def test_the_first_step_of_a_round_starts_as_the_attack_does() -> None:
    task, batch, up = linear_scene()

    def views(method: Method, epochs: tuple[int, ...]) -> list[Tensor]:
        return [method.make_views(task, batch, epoch=epoch)[0] for epoch in epochs]

    x = batch["inputs"]
    starts = {e: PGD(Linf(EPS), 1, step_size=0.0)(task, batch, epoch=e) for e in (0, 1)}
    assert not torch.equal(starts[0], starts[1]) and not torch.equal(starts[0], x)
    method = FreeAdversarial(PGD(Linf(EPS), 1, step_size=STEP), 3)
    # The epoch changes in the middle of a round: a new one starts. So it does after the third step.
    first, second, *third = views(method, (0, 0, 1, 1, 1, 1))
    goes = [starts[0] + STEP * up, starts[0] + 2 * STEP * up]
    goes += [starts[1] + k * STEP * up for k in (1, 2, 3, 1)]
    for got, expected in zip([first, second, *third], goes):
        torch.testing.assert_close(got, x + (expected - x).clamp(-EPS, EPS), rtol=0, atol=1e-12)
    # A new training starts a new round.
    method.prepare(task, CPU)
    torch.testing.assert_close(views(method, (1,))[0], third[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("random_start", [False, True])
def test_an_attack_begins_at_the_given_pixels_inside_the_ball(random_start: bool) -> None:
    task, batch, up = linear_scene()
    given = batch["inputs"] + 0.1 * torch.linspace(-1, 1, batch["inputs"].numel()).view_as(batch["inputs"])
    kept = given.clone()
    for size in (0.0, STEP):
        attack = PGD(Linf(EPS), 1, step_size=size, random_start=random_start)
        inside = (given - batch["inputs"]).clamp(-EPS, EPS)
        expected = batch["inputs"] + (inside + size * up).clamp(-EPS, EPS)
        torch.testing.assert_close(attack(task, {**batch, "start": given}), expected, rtol=0, atol=1e-12)
    assert torch.equal(given, kept)


def test_a_round_goes_on_inside_adversarial_weight_perturbation() -> None:
    """Its loss is evaluated twice a step, its attack runs once."""
    attack, data = Recorded(Linf(EPS), 1, step_size=STEP, random_start=False), TinyDataset(8)
    inside = FreeAdversarial(attack, 3)
    learner = Learner(TinyCNNTask(), AWP(inside, gamma=0.01))
    for step in (1, 2, 3):
        learner.train()(**data.__getitems__(range(8)), mode="loss")
        assert len(attack.seen) == step
        moved = float((inside._round.pixels - data.images).abs().max())
        assert moved == pytest.approx(min(step * STEP, EPS), abs=1e-6)


def test_other_images_in_the_middle_of_a_round_are_refused() -> None:
    task, batch, _ = linear_scene()
    method = FreeAdversarial(PGD(Linf(EPS), 1), 3)
    method.make_views(task, batch, epoch=0)
    with pytest.raises(ConfigError, match=r"other images after 1 of 3 steps.*ReplaySampler") as error:
        method.make_views(task, {**batch, "index": batch["index"] + 1}, epoch=0)
    assert "\n" not in str(error.value)


def test_a_replayed_image_is_augmented_alike_until_the_next_epoch() -> None:
    data, attack = TinyDataset(24), Recorded(Linf(EPS), 1, step_size=STEP)
    learner = Learner(TinyCNNTask(), FreeAdversarial(attack, 3, fresh=0.5), augments=[RandomCrop(2), RandomFlip()])
    for epoch in (0, 1):
        learner.epoch = epoch
        for turn in range(3):
            fresh = range(4 + 4 * turn, 8 + 4 * turn)
            learner.train()(**data.__getitems__([0, 1, 2, 3, *fresh]), mode="loss")
            assert learner.task.training
    first, second = attack.seen[:3], attack.seen[3:]
    assert all(torch.equal(x, first[0]) for x in first) and all(torch.equal(x, second[0]) for x in second)
    assert not torch.equal(first[0], second[0])


class Padded(WrappedTask):
    """Images of 4 x 4 at the top left, the rest is padding of 0.7; logits are linear in the mean of each channel."""

    def perturbable(self, batch: dict[str, Any]) -> Tensor:
        mask = torch.zeros(len(batch["inputs"]), 1, *batch["inputs"].shape[-2:])
        mask[..., :4, :4] = 1
        return mask


@pytest.mark.parametrize("random_start", [False, True])
def test_fresh_images_may_change_the_size_of_the_padding(random_start: bool) -> None:
    linear = nn.Linear(3, 2, bias=False, dtype=torch.float64)
    linear.weight.data = torch.tensor([[1.0, -1.0, 0.5], [-1.0, 1.0, -0.5]], dtype=torch.float64)
    task = Padded(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear), 2)
    images = torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.5 + 0.25
    labels = torch.tensor([0, 1, 1, 0])
    up = torch.tensor([-1.0, 1.0, -1.0], dtype=torch.float64).view(1, 3, 1, 1) * torch.where(labels == 0, 1, -1).view(
        4, 1, 1, 1
    )
    method = FreeAdversarial(PGD(Linf(EPS), 1, step_size=STEP, random_start=random_start), 3, fresh=0.5)
    before = None
    for height, width in ((5, 6), (8, 4), (4, 9)):
        x = torch.full((4, 3, height, width), 0.7, dtype=torch.float64)
        x[..., :4, :4] = images
        [x_adv] = method.make_views(task, {"inputs": x, "data_samples": labels, "index": torch.arange(4)}, epoch=0)
        assert x_adv.shape == x.shape
        changed = x_adv != x
        assert changed[:2, :, :4, :4].any() and not changed[2:].any()
        assert not changed[..., 4:, :].any() and not changed[..., 4:].any()
        inside = x_adv[:2, :, :4, :4]
        if before is not None or not random_start:
            before = images[:2] if before is None else before
            expected = images[:2] + (before + STEP * up[:2] - images[:2]).clamp(-EPS, EPS)
            torch.testing.assert_close(inside, expected, rtol=0, atol=1e-12)
        before = inside


# ------------------------------------------------------------------------------------ one choice for a whole batch


class FirstSecond(WrappedTask):
    """A linear net with two losses an image: minus its first and minus its second output."""

    def read(self, raw: Tensor, batch: dict[str, Any], *, rows: Any = None) -> Output:
        output = super().read(raw, batch, rows=rows)
        output.image_losses = {"first": -raw[:, 0], "second": -raw[:, 1]}
        # As a detector's: normalised over the batch, here by weights that each image brings.
        weight = batch["weight"] / batch["weight"].sum()
        output.losses = {name: (loss * weight).sum() for name, loss in output.image_losses.items()}
        return output


def first_second(seed: int) -> tuple[Task, Tensor, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(3, 12, generator=generator, dtype=torch.float64)
    linear = nn.Linear(12, 3, bias=False, dtype=torch.float64)
    linear.weight.data = weight
    # Many pixels at the rims of [0,1], where only one of the two steps can go.
    x = (torch.rand(6, 3, 2, 2, generator=generator, dtype=torch.float64) * 3 - 1).clamp(0, 1)
    heavy = torch.rand(6, generator=generator, dtype=torch.float64) ** 4
    batch = {"inputs": x, "data_samples": torch.zeros(6, dtype=torch.int64), "index": torch.arange(6), "weight": heavy}
    return FirstSecond(nn.Sequential(nn.Flatten(), linear), 3), weight, batch


@pytest.mark.parametrize("objective", [dict(type="ImageLoss"), None], ids=["sum of the images' losses", "batch loss"])
def test_worst_of_decides_for_the_batch_as_a_whole(objective: dict[str, Any] | None) -> None:
    steps = [single(name, step_size=0.3) for name in ("first", "second")]
    attack = WorstOf(Linf(0.3), steps, objective=objective, select="batch")
    winners, against, weighed = [], 0, 0
    for seed in range(30):
        task, weight, batch = first_second(seed)
        x = batch["inputs"]
        candidates = [(x - 0.3 * weight[row].sign().view(3, 2, 2)).clamp(0, 1) for row in (0, 1)]
        totals = torch.stack([-(c.flatten(1) @ weight[:2].T).sum(1) for c in candidates])  # [2, N]
        share = torch.ones(6) if objective else batch["weight"]
        scores = (totals * share).sum(1)
        winner = int(scores[1] > scores[0])
        torch.testing.assert_close(attack(task, batch), candidates[winner], rtol=0, atol=1e-12)
        winners.append(winner)
        against += bool((totals.argmax(0) != winner).any())
        weighed += winner != int(totals[1].sum() > totals[0].sum())
    assert set(winners) == {0, 1} and against > 3  # each wins somewhere, and against what some image would choose
    assert (weighed > 0) == (objective is None)


def test_a_tie_goes_to_the_attack_listed_first() -> None:
    task, _, batch = first_second(0)
    task.net[1].weight.data[:2] = 0  # both losses are zero wherever an image goes
    stay, leave = single("first", step_size=0.0), single("second", step_size=0.0, random_start=True)
    left = PGD(Linf(0.1), 1, step_size=0.0)(task, batch)
    for steps, expected in (([stay, leave], batch["inputs"]), ([leave, stay], left)):
        assert torch.equal(WorstOf(Linf(0.1), steps, select="batch")(task, batch), expected)
    assert not torch.equal(left, batch["inputs"])


def test_worst_of_says_what_decides() -> None:
    steps = [single("first"), single("second")]
    said = WorstOf(Linf(EPS), steps, select="batch").describe()
    assert said["select"] == "batch" and said["objective"] == "TrainingLoss"
    assert WorstOf(Linf(EPS), steps, objective=dict(type="ImageLoss")).describe()["select"] == "image"
    assert WorstOf(Linf(EPS), steps, objective=dict(type="NamedLoss", name="first"), select="batch").takes_start


# ------------------------------------------------------------------------------------------------------- its cost


class Passes(nn.Module):
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


@pytest.mark.parametrize(
    ("attack", "fresh", "expected"),
    [
        (single("loss_cls"), 0.0, (2, 2)),
        (single("loss_cls"), 0.5, (1.5, 1.5)),
        (single("loss_cls", steps=3), 0.25, (1 + 0.75 * 3, 1 + 0.75 * 3)),
        (MTD, 0.0, (5, 3)),
        (MTD, 0.5, (3, 2)),
    ],
    ids=["free", "free half", "three steps", "mtd", "robustdet"],
)
def test_cost_is_what_goes_through_the_network(
    attack: dict[str, Any], fresh: float, expected: tuple[float, float]
) -> None:
    task, counter = TwoLosses(small_net(4), 3), Passes()
    task.net.append(counter)
    attack = {**attack, "threat": dict(type="Linf", eps=EPS)}
    learner = Learner(task, METHODS.build(dict(type="FreeAdversarial", attack=attack, replays=2, fresh=fresh)))
    data = TinyDataset(8, num_classes=3)
    for _ in range(2):  # the first step of a round costs what the second does
        loss, _ = learner.parse_losses(learner(**data.__getitems__(range(8)), mode="loss"))
        loss.backward()
    assert (counter.forwards / 16, counter.backwards / 16) == expected
    assert learner.method.cost() == expected


# ------------------------------------------------------------------------------------------------ a run and its end


def run_config(**method: Any) -> Config:
    """Two epochs of 9 steps: 3 rounds of 3 replays, with dropout and a random start."""
    attack = dict(type="PGD", threat=dict(type="Linf", eps=EPS), steps=1, step_size=STEP)
    return Config(
        {
            "seed": 1,
            "task": {"type": "TinyCNNTask", "num_classes": 3},
            "method": {"type": "FreeAdversarial", "attack": attack, "replays": 3, "fresh": 0.5, **method},
            "data": {
                "train": {"type": "TinyDataset", "count": 50, "num_classes": 3},
                "batch_size": 8,
                "augments": [{"type": "RandomFlip"}],
            },
            "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}},
            "train_cfg": {"max_epochs": 2},
        }
    )


class Stopped(Exception):
    pass


def test_a_run_broken_off_in_a_round_ends_with_the_weights_of_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = run_config()
    train(config, tmp_path / "whole", device=CPU)
    make_views, calls = FreeAdversarial.make_views, []

    def stop(self: FreeAdversarial, *args: Any, **kwargs: Any) -> list[Tensor]:
        calls.append(1)
        if len(calls) == 14:  # the second step of the second round of epoch 2
            raise Stopped
        return make_views(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(FreeAdversarial, "make_views", stop)
        with pytest.raises(Stopped):
            train(config, tmp_path / "broken", device=CPU)
    assert load_state(tmp_path / "broken" / "last.pth")["meta"]["iter"] == 9
    train(config, tmp_path / "broken", device=CPU, resume=True)
    whole, broken = (load_file(tmp_path / name / "last.safetensors") for name in ("whole", "broken"))
    assert whole.keys() == broken.keys()
    for key, value in whole.items():
        assert torch.equal(broken[key], value), key
    state = load_state(tmp_path / "whole" / "last.pth")
    assert state["meta"]["iter"] == 18
    assert state["method"] == {"_extra_state": {}}  # between rounds no perturbed image is kept in a file


# ------------------------------------------------------------------------------------------------------ bad values


def settings(**changes: Any) -> Callable[[], Any]:
    return lambda: METHODS.build(
        {"type": "FreeAdversarial", "attack": {"type": "PGD", "threat": dict(type="Linf", eps=EPS)}, **changes}
    )


def loader(count: int = 40, batch_size: int = 4, **changes: Any) -> Callable[[], Any]:
    return lambda: train_loader(TinyDataset(count), batch_size, seed=0, **changes)


class NoStart(Attack):
    def run(self, victim: Any, *, epoch: int = 0) -> Tensor:
        return victim.x


class NoImage(Objective):
    per_image = False


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (settings(replays=0), "replays .* at least 1; got 0"),
        (settings(replays="20"), "replays .* got '20'"),
        (settings(replays=True), "replays .* got True"),
        (settings(replays=2.0), "replays .* got 2.0"),
        (settings(), "replays"),
        (settings(replays=3, fresh=1), "0 <= fresh < 1; got 1"),
        (settings(replays=3, fresh=-0.5), "got -0.5"),
        (settings(replays=3, fresh="half"), "got 'half'"),
        (settings(replays=3, attack=NoStart(Linf(EPS), name="Square")), "Square cannot start from given images"),
        (settings(replays=3, attack=APGD(Linf(EPS))), "cannot start from given images: use PGD"),
        (settings(replays=3, attack=PGD(Linf(EPS), 1, restarts=2)), "PGD-1 cannot start"),
        (
            settings(
                replays=3,
                attack=WorstOf(Linf(EPS), [NoStart(Linf(EPS)), single("a")], objective=dict(type="ImageLoss")),
            ),
            "WorstOf cannot start",
        ),
        (loader(replays=0), "replays .* got 0"),
        (loader(fresh=0.3, replays=2), "fresh=0.3 of a batch of 4 images is 1.2 images"),
        (loader(fresh=0.9, replays=2, batch_size=2), "is 1.8 images"),
        (loader(fresh=0.5, replays=2, batch_size=1), "is 0.5 images"),
        (loader(fresh=0.5, replays=20), "take 42 training images on each process, which has 40: lower batch_size"),
        (loader(fresh=0.3, replays=2, sampler=dict(type="Hands")), "is 1.2 images"),
        (lambda: WorstOf(Linf(EPS), [single("a")], select="all"), "'image' or 'batch'; got 'all'"),
        (lambda: WorstOf(Linf(EPS), [single("a")]), "needs an objective to choose image by image"),
        (lambda: WorstOf(Linf(EPS), [single("a")], objective=NoImage()), "image by image.*select='batch'"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


def test_held_images() -> None:
    assert [held_images(*pair) for pair in ((32, 0.5), (30, 0.1), (10, 0.7), (7, 0), (3, 1 / 3))] == [16, 27, 3, 7, 2]
