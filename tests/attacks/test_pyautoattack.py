"""AutoAttack, APGD and Square through natx against pyautoattack called directly."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
from torch import Tensor, nn

from natx.attacks import APGD, FGSM, AutoAttack, Square
from natx.attacks.pyaa import contained, run_members
from natx.attacks.victim import Cost, Victim
from natx.errors import ConfigError
from natx.evaluation import evaluate
from natx.models.wrap import ModuleTask
from natx.testing import LinearTask, TinyCNNTask, TinyDataset, WrappedTask, fit
from natx.threat import L2, Linf, ThreatModel

pyautoattack = pytest.importorskip("pyautoattack")


@functools.cache
def _trained(classes: int) -> TinyCNNTask:
    return fit(TinyCNNTask(classes, seed=1, width=4), TinyDataset(8 * classes, num_classes=classes))


def trained(classes: int = 5) -> TinyCNNTask:
    return copy.deepcopy(_trained(classes))


def images(count: int, classes: int = 5) -> dict[str, Tensor]:
    return TinyDataset(count, num_classes=classes, seed=5).__getitems__(range(count))


def direct(
    task: TinyCNNTask,
    batch: dict[str, Tensor],
    threat: ThreatModel,
    members: list[str] | None,
    *,
    targets: int,
    steps: int | None = None,
    queries: int | None = None,
    seed: int = 3,
) -> Tensor:
    """The library as its own documentation uses it."""
    library = pyautoattack.AutoAttack(
        lambda x: task.net((x - task.mean) / task.std),
        attacks=members,
        device="cpu",
        eps=threat.eps,
        norm=type(threat).__name__,
        seed=seed,
        version="custom" if members else "standard",
    )
    library.apgd_targeted.n_target_classes = library.fab.n_target_classes = targets
    library.apgd.n_restarts = 1
    if steps is not None:  # fresh attacks of that length, so that their schedules are the library's own
        for name in ("apgd", "apgd_targeted"):
            old = getattr(library, name)
            new = type(old)(
                old.model, n_restarts=1, n_iter=steps, eps=old.eps, norm=old.norm, rho=0.75, seed=seed, device="cpu"
            )
            setattr(library, name, new)
        library.apgd_targeted.n_target_classes = targets
    if queries is not None:
        library.square.n_queries = queries
    with torch.random.fork_rng():
        return library.run_standard_evaluation(batch["inputs"], batch["data_samples"], batch_size=250)[0]


MEMBERS = [
    ("apgd-ce", lambda t: APGD(t, steps=20, seed=3), dict(steps=20)),
    ("apgd-dlr", lambda t: APGD(t, steps=20, seed=3, loss="dlr"), dict(steps=20)),
    ("apgd-t", lambda t: APGD(t, steps=20, seed=3, loss="targeted"), dict(steps=20)),
    ("square", lambda t: Square(t, queries=60, seed=3), dict(queries=60)),
]


@pytest.mark.parametrize("threat", [Linf(24 / 255), L2(1.0)], ids=str)
@pytest.mark.parametrize(("member", "make", "settings"), MEMBERS, ids=[m[0] for m in MEMBERS])
def test_members_equal_the_library(threat: ThreatModel, member: str, make, settings: dict[str, int]) -> None:
    if member == "square":
        threat = Linf(48 / 255) if isinstance(threat, Linf) else L2(2.5)
    task, batch = trained(), images(10)
    found = make(threat).judge(task, batch)
    expected = direct(task, batch, threat, [member], targets=4, **settings)
    assert torch.equal(found.x_adv, expected)
    moved = (expected != batch["inputs"]).flatten(1).any(1)
    assert 0 < int(moved.sum()) and torch.equal(next(iter(found.broken.values())), moved)


def test_standard_autoattack_equals_the_library() -> None:
    """All four members run: one image is broken, the other withstands all of Square's 5,000 queries."""
    task = fit(LinearTask(torch.zeros(5, 48)), TinyDataset(40, shape=(3, 4, 4)), lr=0.05)
    batch, threat = TinyDataset(8, shape=(3, 4, 4), seed=5).__getitems__([4, 5]), Linf(21 / 255)
    found = AutoAttack(threat, seed=3).judge(task, batch)
    expected = direct(task, batch, threat, None, targets=4)
    assert torch.equal(found.x_adv, expected)
    with torch.no_grad():
        broken = task.logits(expected).argmax(1) != batch["data_samples"]
    assert torch.equal(found.broken["AA"], broken)
    assert broken.tolist() == [False, True]
    assert found.cost.forwards > 5000


def test_seed_matters() -> None:
    task, batch = trained(), images(10)
    results = [APGD(Linf(24 / 255), steps=5, seed=seed)(task, batch) for seed in (3, 3, 4)]
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])


def test_every_target_is_attacked_and_the_note_says_how_many() -> None:
    targets: set[int] = set()

    class Seen(WrappedTask):
        """Records which class's logit an attack pulls up, from the gradient that reaches the logits."""

        def logits(self, x: Tensor) -> Tensor:
            z = super().logits(x)
            if z.requires_grad:
                z.register_hook(lambda grad: targets.update(((grad > 0).nonzero()[:, 1]).tolist()))
            return z

    task = Seen(trained().net, 5, mean=0.5, std=0.25)
    batch = {key: value[:1] for key, value in images(5).items()}  # label 0
    found = APGD(Linf(1 / 255), steps=2, loss="targeted").judge(task, batch)
    assert not found.broken["APGD-T"].any()  # a broken image would spare the remaining targets
    assert targets >= {1, 2, 3, 4}
    assert found.notes == ["5 classes: targeted members use 4 targets instead of 9"]


def test_ten_classes_need_no_note() -> None:
    found = APGD(Linf(1 / 255), steps=1, loss="targeted").judge(trained(10), images(2, 10))
    assert found.notes == []


def test_note_about_targets_only_where_there_are_targets() -> None:
    assert APGD(Linf(1 / 255), steps=1, loss="ce").judge(trained(), images(2)).notes == []


@pytest.mark.parametrize("settings", [None, dict(loss="targeted")])
def test_targeted_losses_need_four_classes(settings: dict[str, str] | None) -> None:
    task, batch = LinearTask(torch.randn(3, 192)), images(2, 3)
    attack = AutoAttack(Linf(8 / 255)) if settings is None else APGD(Linf(8 / 255), **settings)
    with pytest.raises(ConfigError, match="at least 4 classes; got 3") as error:
        attack.judge(task, batch)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("make", [lambda t: APGD(t, steps=2), lambda t: Square(t, queries=3)])
def test_the_other_members_run_on_two_classes(make) -> None:
    torch.manual_seed(0)
    task, batch = LinearTask(torch.randn(2, 192)), images(2, 2)
    assert set(make(Linf(8 / 255)).judge(task, batch).broken) == set(make(Linf(8 / 255)).columns())
    with pytest.raises(ConfigError, match="DLR loss needs at least 3"):
        APGD(Linf(8 / 255), loss="dlr").judge(task, batch)


def test_a_task_with_fixed_pixels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LinearTask, "perturbable", lambda self, batch: torch.ones(len(batch["index"]), 1, 8, 8))
    with pytest.raises(ConfigError, match="must not change"):
        Square(Linf(8 / 255)).judge(LinearTask(torch.randn(5, 192)), images(2, 5))


class Random(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return z + 0.5 * torch.randn_like(z)


class Probabilities(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return z.softmax(1)


class Inner(nn.Module):
    """Takes a gradient within its forward pass, like defences that optimise at test time."""

    def forward(self, z: Tensor) -> Tensor:
        with torch.enable_grad():
            w = torch.ones(1, requires_grad=True)
            (w * w).sum().backward()
        return z


@pytest.mark.parametrize(
    ("layer", "flag"),
    [(Random(), "randomized defense"), (Probabilities(), "probability distribution"), (Inner(), "dynamic")],
)
def test_flags_become_notes_and_do_not_stick(layer: nn.Module, flag: str) -> None:
    task = trained(10)
    task.net.append(layer)
    attack = APGD(Linf(4 / 255), steps=1, loss="targeted")
    result = evaluate(task, TinyDataset(4, num_classes=10, seed=5), [FGSM(Linf(4 / 255)), attack]).attacks
    assert any(flag in note for note in result[2].notes)
    assert all("\n" not in note for note in result[2].notes)
    assert result[1].notes == []
    assert attack.judge(trained(10), images(2, 10)).notes == []  # the next model starts with a clean record


def test_library_speaks_through_notes_only(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    task = trained(10)
    task.net.append(Random())
    found = APGD(Linf(4 / 255), steps=1).judge(task, images(2, 10))
    assert found.notes and capfd.readouterr() == ("", "") and not caplog.records


class Pooled(nn.Module):
    """A classifier of images of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(48, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(nn.functional.adaptive_avg_pool2d(x, 4).flatten(1))


@pytest.mark.parametrize("height", [1, 4, 5, 8, 12, 13, 14, 16, 18, 22, 24, 28, 32])
@pytest.mark.parametrize("wide", [0.5, 1, 2])
def test_square_is_refused_where_the_library_fails(height: int, wide: float) -> None:
    width = max(1, int(wide * height))
    x = torch.rand(4, 3, height, width, generator=torch.Generator().manual_seed(0))
    model = Pooled()
    labels = model(x).argmax(1)
    victim = Victim(ModuleTask(model, 5), {"data_samples": labels}, ball=L2(1e-3).around(x), cost=Cost())
    try:
        with contained(x.device):
            library = pyautoattack.AutoAttack(
                model, attacks=["square"], norm="L2", eps=1e-3, version="custom", device=x.device
            )
            library.square.n_queries = 2
            library.run_standard_evaluation(x, labels, batch_size=4)
    except (RuntimeError, ZeroDivisionError):
        with pytest.raises(ConfigError, match=f"{height} x {width}"):
            run_members(victim, ["square"], seed=0, batch_size=4, queries=2)
    else:
        run_members(victim, ["square"], seed=0, batch_size=4, queries=2)
