"""GOAT's guides and its attack against a loop as CEA-LIST adv-reid describes it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from natx.attacks import PGD
from natx.data import Part, build_dataset
from natx.data.on_device import OnDevice
from natx.errors import ConfigError
from natx.task import Output, Task
from natx.threat import Linf
from tasks.reid.goat import GOAT
from tasks.reid.guides import WithGuides

EPS, STEP, STEPS, GUIDES = 5 / 255, 1 / 255, 3, 4
LABELS = torch.tensor([2, 0, 2, 1, 0, 1, 1, 2, 2, 0])
PATCH = (2, 3, 4)


class Normalised(Task):
    """A network with batch norm from pixels to embeddings, in float64."""

    num_classes = 3

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            self.net = nn.Sequential(
                nn.Flatten(), nn.Linear(24, 7), nn.BatchNorm1d(7), nn.Tanh(), nn.Linear(7, 5)
            ).double()

    @property
    def upstream(self) -> nn.Module:
        return self.net

    def pixels(self, batch: dict[str, Any]) -> Tensor:
        return batch["inputs"].double() / 255

    def network(self, x: Tensor, batch: dict[str, Any]) -> Tensor:
        return self.net(x)

    def read(self, raw: Tensor, batch: dict[str, Any], *, rows: Any = None) -> Output:
        n = len(raw)
        return Output({}, raw[:, :3], None, torch.arange(n), raw.new_ones(n), n, features=raw)


class People:
    """Ten images of three people."""

    classes = ("a", "b", "c")
    labels = LABELS

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(1)
        self.images = torch.randint(40, 200, (10, *PATCH), generator=generator, dtype=torch.uint8)

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, positions: Any) -> dict[str, Tensor]:
        index = torch.as_tensor(positions)
        return {"inputs": self.images[index], "data_samples": LABELS[index], "index": index}


def whose(guides: Tensor, people: People) -> Tensor:
    """The position of each guide in the set, ``[N, count]``."""
    same = (guides[:, :, None] == people.images[None, None]).flatten(3).all(3)
    assert bool((same.sum(2) == 1).all())
    return same.int().argmax(2)


def test_guides_are_images_of_the_same_person_from_the_whole_set() -> None:
    people = People()
    guided = WithGuides(people, GUIDES)
    seen = torch.cat([whose(guided.__getitems__([1, 0, i])["guides"], people)[1] for i in range(2, 10)])
    assert set(seen.tolist()) == set((LABELS == 2).nonzero().flatten().tolist())  # the image itself included
    batch = guided.__getitems__([3, 8])
    assert batch["guides"].shape == (2, GUIDES, *PATCH)
    assert torch.equal(LABELS[whose(batch["guides"], people)], LABELS[[3, 8]][:, None].expand(-1, GUIDES))
    assert torch.equal(batch["inputs"], people.images[[3, 8]])
    assert len(guided) == 10 and guided.classes == people.classes  # all else is the set's own


def test_a_draw_of_guides_repeats_and_depends_on_seed_and_batch() -> None:
    people = People()
    draws = [
        whose(WithGuides(people, 9, seed=seed).__getitems__(positions)["guides"], people)[0].tolist()
        for seed, positions in ((0, [0, 1]), (0, [0, 1]), (1, [0, 1]), (0, [0, 3]))
    ]
    assert draws[0] == draws[1]
    assert draws[0] != draws[2] and draws[0] != draws[3]


def test_guides_do_not_stay_what_they_were_when_a_device_read_them() -> None:
    guided = WithGuides(People(), GUIDES)
    for images in (guided, Part(guided, [0, 1, 2, 3]), guided.hold_out(3)[0]):
        with pytest.raises(ConfigError, match="data.on_device keeps .* guides are drawn anew for each batch"):
            OnDevice(images, torch.device("cpu"))


def test_images_held_out_guide_nobody() -> None:
    people = People()
    rest, held = build_dataset(WithGuides(people, GUIDES)).hold_out(3, seed=0)
    positions = {int(i) for i in held.__getitems__(range(3))["index"]}
    for i in range(len(rest)):
        assert not positions & set(whose(rest.__getitems__([i])["guides"], people).flatten().tolist())


@pytest.mark.parametrize("pull", [True, False])
def test_goat_attacks_as_its_code_does(pull: bool) -> None:
    people, task = People(), Normalised()
    batch = WithGuides(people, GUIDES).__getitems__([0, 1, 3, 4, 7])
    attack = PGD(
        Linf(EPS), STEPS, step_size=STEP, bn_mode="train", random_start=False, objective=GOAT(pull=pull, guides=GUIDES)
    )
    before = {name: value.clone() for name, value in task.state_dict().items()}
    x_adv = attack(task, batch)
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())

    net, x = task.net.train(), batch["inputs"].double() / 255
    with torch.no_grad():
        guides = [net(batch["guides"][:, g].double() / 255) for g in range(GUIDES)]
        clean = net(x)
        furthest = [
            max((j for j in range(5) if j != i), key=lambda j, i=i: float((clean[i] - clean[j]).norm()))
            for i in range(5)
        ]
    expected = x.clone()
    for _ in range(STEPS):
        expected.requires_grad_()
        features = net(expected)
        loss = sum((features - guide).square().sum() for guide in guides)
        if pull:
            loss = loss - (features - clean[furthest]).square().sum()
        (grad,) = torch.autograd.grad(loss, expected)
        expected = (expected.detach() + STEP * grad.sign()).clamp(x - EPS, x + EPS).clamp(0, 1)
    torch.testing.assert_close(x_adv, expected, rtol=0, atol=1e-12)
    assert attack.cost_per_image() == (GUIDES + int(pull) + STEPS, STEPS)


def test_a_batch_without_guides_is_refused_in_one_line() -> None:
    attack = PGD(Linf(EPS), 1, objective=GOAT())
    with pytest.raises(ConfigError, match=r"GOAT is for training.*WithGuides.*judge with FNA"):
        attack(Normalised(), People().__getitems__([0, 1]))
    with pytest.raises(ConfigError, match="at least one guide"):
        WithGuides(People(), 0)
