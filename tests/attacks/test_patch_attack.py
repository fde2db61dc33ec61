from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from natx.attacks import APGD, FGSM, PGD, AutoAttack, AutoPGD, PatchPGD, PerImagePGD, Targeted, Transfer, WorstOf
from natx.attacks.patch import Patch
from natx.checks import audit
from natx.errors import ConfigError, ConstraintError, UnsupportedError
from natx.evaluation import evaluate
from natx.judging.identity import other_conditions
from natx.models.adversary import Adversary
from natx.report.report import make_report
from natx.report.text import explanation
from natx.testing import LinearTask, TinyCNNTask, TinyDataset, fit
from natx.threat import Linf
from natx.training.images import default_attack

SHAPE = (3, 6, 6)


def linear_scene(seed: int = 0) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Weights of two classes, the direction that raises each image's loss, and a batch."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(2, 108, generator=generator, dtype=torch.float64)
    x = torch.rand(5, *SHAPE, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 1, 0, 1, 1])
    up = (weight[1 - labels] - weight[labels]).view_as(x)
    return weight, up, {"inputs": x, "data_samples": labels, "index": torch.arange(5)}


def test_on_a_linear_model_every_pixel_of_the_patch_ends_black_or_white() -> None:
    weight, up, batch = linear_scene()
    x_adv = PatchPGD(Patch(2, 3, corner=(3, 1)), 10, step_size=0.1)(LinearTask(weight), batch)
    expected = batch["inputs"].clone()
    expected[:, :, 3:5, 1:4] = (up[:, :, 3:5, 1:4] > 0).double()
    torch.testing.assert_close(x_adv, expected, rtol=0, atol=1e-12)


def test_the_grid_finds_the_place_where_grey_raises_the_objective_most() -> None:
    """The margin of a linear model changes by the sum of (grey - x) * up under the rectangle."""
    weight, up, batch = linear_scene()
    attack = PatchPGD(Patch(2), 10, step_size=0.1, place="grid", grid=3, objective=dict(type="Margin"), restarts=1)
    x_adv, x = attack(LinearTask(weight), batch), batch["inputs"]
    for i in range(5):
        gain = {
            (r, c): float(((0.5 - x[i]) * up[i])[:, r : r + 2, c : c + 2].sum()) for r in (0, 2, 4) for c in (0, 2, 4)
        }
        row, column = max(gain, key=gain.__getitem__)
        expected = x[i].clone()
        expected[:, row : row + 2, column : column + 2] = (up[i][:, row : row + 2, column : column + 2] > 0).double()
        torch.testing.assert_close(x_adv[i], expected, rtol=0, atol=1e-12)


def test_equals_a_plain_loop_of_search_and_ascent() -> None:
    """The Rectangular Occlusion Attack in a few lines: search in grey, then signed steps in the rectangle."""
    task, batch = TinyCNNTask(seed=1, double=True).eval(), TinyDataset(20, seed=5).__getitems__(range(4))
    x, labels = batch["inputs"].double(), batch["data_samples"]
    attack = PatchPGD(Patch(3), 4, step_size=0.2, place="grid", grid=2, random_start=False)
    expected = x.clone()
    for i in range(4):
        image, label, best = x[i : i + 1], labels[i : i + 1], (-1.0, 0, 0)
        for r in (0, 5):
            for c in (0, 5):
                grey = image.clone()
                grey[..., r : r + 3, c : c + 3] = 0.5
                best = max(best, (float(F.cross_entropy(task.logits(grey), label).detach()), r, c))
        _, r, c = best
        current = image.clone()
        for _ in range(4):
            current.requires_grad_()
            (grad,) = torch.autograd.grad(F.cross_entropy(task.logits(current), label), current)
            step = current.detach() + 0.2 * grad.sign()
            current = image.clone()
            current[..., r : r + 3, c : c + 3] = step[..., r : r + 3, c : c + 3].clamp(0, 1)
        expected[i] = current[0]
    torch.testing.assert_close(attack(task, {**batch, "inputs": x}), expected, rtol=0, atol=1e-9)


def changed_places(x_adv: Tensor, x: Tensor) -> list[tuple[int, int]]:
    """Row and column of the first changed pixel of each image."""
    changed = (x_adv != x).any(1)
    return [(int(one.any(1).nonzero()[0]), int(one.any(0).nonzero()[0])) for one in changed]


def test_random_places_cover_the_image_and_hang_on_image_seed_epoch_and_restart() -> None:
    weight, _, _ = linear_scene()
    count = 400
    x = torch.full((count, *SHAPE), 0.25, dtype=torch.float64)
    batch = {"inputs": x, "data_samples": torch.zeros(count, dtype=torch.int64), "index": torch.arange(count)}
    task, attack = LinearTask(weight), PatchPGD(Patch(2, 4), 1, step_size=0.1)
    x_adv = attack(task, batch)
    assert torch.equal(x_adv, attack(task, batch))
    places = changed_places(x_adv, x)
    frequency = {place: places.count(place) for place in set(places)}
    assert set(frequency) == {(r, c) for r in range(5) for c in range(3)}
    assert max(frequency.values()) < 60  # 27 of each are expected, give or take 5
    assert changed_places(attack(task, batch, epoch=1), x) != places
    assert changed_places(PatchPGD(Patch(2, 4), 1, seed=1)(task, batch), x) != places


def test_restarts_try_other_places_and_cost_what_is_announced() -> None:
    weight, _, batch = linear_scene()
    grid = PatchPGD(Patch(2), 3, place="grid", grid=4, restarts=2)
    assert grid.cost_per_image() == (16 + 2 * 3 + 2, 6)
    scores = []
    for restarts in (1, 2, 4, 8):
        x_adv = PatchPGD(Patch(2), 10, step_size=0.1, restarts=restarts)(LinearTask(weight), batch)
        logits = x_adv.flatten(1) @ weight.T
        scores.append(
            logits.gather(1, 1 - batch["data_samples"][:, None]) - logits.gather(1, batch["data_samples"][:, None])
        )
    assert all((b >= a).all() for a, b in zip(scores, scores[1:])) and (scores[-1] > scores[0]).any()


def test_restarts_on_a_grid_take_its_next_best_places() -> None:
    """After all of them the best comes again."""
    weight, _, batch = linear_scene()
    x, task = batch["inputs"], LinearTask(weight)
    attack = PatchPGD(Patch(2), 1, place="grid", grid=2, restarts=5)
    victim = attack.bind(task, batch)
    attack.prepare(victim)
    down, right = (side - 2 for side in SHAPE[1:])
    for i, label in enumerate(batch["data_samples"]):
        losses = {}
        for place in [(r, c) for r in (0, down) for c in (0, right)]:
            grey = x[i : i + 1].clone()
            grey[..., place[0] : place[0] + 2, place[1] : place[1] + 2] = 0.5
            losses[place] = float(F.cross_entropy(task.logits(grey), label[None]))
        best = sorted(losses, key=lambda place: -losses[place])
        taken = [attack.placed(victim, epoch=0, restart=r).ball.corners[i].tolist() for r in range(5)]
        assert taken == [list(place) for place in (*best, best[0])]


def test_attacks_of_another_kind_of_threat_are_refused_in_one_line() -> None:
    patch = Patch(2)
    for make in (PGD, FGSM, AutoPGD, partial(PerImagePGD, most_steps=2)):
        with pytest.raises(ConfigError, match="attacks within a norm ball; got patch 2x2: use PatchPGD") as error:
            make(patch)
        assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="PatchPGD attacks within a patch; got Linf 8/255: use PGD"):
        PatchPGD(Linf(8 / 255))
    task = TinyCNNTask()
    for attack in (AutoAttack(patch), APGD(patch)):
        with pytest.raises(UnsupportedError, match="run under Linf and L2; got patch 2x2: use PatchPGD"):
            attack.check(task)
    with pytest.raises(ConfigError, match="and none for a patch with a corner"):
        PatchPGD(Patch(2, corner=(0, 0)), place="grid")
    with pytest.raises(ConfigError, match="grid is how many places"):
        PatchPGD(patch, place="grid", grid=1)


def test_wrappers_take_a_patch_to_the_attacks_inside() -> None:
    weight, _, batch = linear_scene()
    inner: dict[str, Any] = dict(type="PatchPGD", steps=3, step_size=0.4)
    task, patch = LinearTask(weight), Patch(2)
    target = {**inner, "objective": dict(type="TargetedCrossEntropy")}
    for attack in (
        WorstOf(patch, [inner, {**inner, "objective": dict(type="Margin")}], objective=dict(type="Margin")),
        Targeted(patch, target),
        Transfer(patch, Adversary([LinearTask(-weight)]), inner),
    ):
        x_adv = attack(task, batch)
        assert len(changed_places(x_adv, batch["inputs"])) == 5
    with pytest.raises(ConfigError, match="PGD attacks within a norm ball"):
        WorstOf(patch, [dict(type="PGD")], objective=dict(type="Margin"))


class Spilling(PatchPGD):
    """A faulty attack: one pixel beyond the rectangle."""

    def run(self, victim: Any, *, epoch: int = 0) -> Tensor:
        x_adv = super().run(victim, epoch=epoch)
        return x_adv.index_put(
            (torch.tensor(0), torch.tensor(0), torch.tensor(5), torch.tensor(5)), torch.tensor(0.123)
        )


def test_a_result_outside_the_rectangle_is_an_error() -> None:
    weight, _, batch = linear_scene()
    batch["inputs"], corner = batch["inputs"].float(), Patch(2, corner=(0, 0))
    with pytest.raises(ConstraintError, match="outside its patch 2x2 at row 0, column 0"):
        Spilling(corner)(LinearTask(weight.float()), batch)


# ---------------------------------------------------------------------------------------------- judged and told


@pytest.fixture(scope="module")
def judged() -> tuple[TinyCNNTask, TinyDataset, list[PatchPGD]]:
    attacks = [
        PatchPGD(Patch(3, image=8), 8, step_size=0.2, place="grid", grid=3, name="grid", milestones=None),
        PatchPGD(Patch(3, image=8), 8, step_size=0.2, milestones=(2, 8)),
    ]
    return fit(TinyCNNTask(seed=1), TinyDataset(40)), TinyDataset(20, seed=5), attacks


def test_reports_say_the_patch_and_its_worst_case(judged: Any) -> None:
    task, data, attacks = judged
    evaluation = evaluate(task, data, attacks, batch_size=7)
    assert list(evaluation.correct) == ["Clean", "grid", "Patch-2", "Patch-8"]
    assert evaluation.accuracy("Patch-8") <= evaluation.accuracy("Patch-2") < evaluation.accuracy("Clean")
    report = make_report(evaluation, name="a", threat=str(attacks[0].threat), settings={}, provenance={})
    assert "under **patch 3x3 of 8x8**" in explanation(report)
    assert {attack["settings"].get("threat") for attack in report["attacks"][1:]} == {"patch 3x3 of 8x8"}
    assert report["attacks"][1]["settings"]["place"] == "grid"


def test_one_report_mixes_no_norm_ball_with_a_patch(judged: Any) -> None:
    task, data, attacks = judged
    with pytest.raises(ConfigError, match=r"under patch 3x3 of 8x8 and Linf 8/255: a report is of one kind") as error:
        evaluate(task, data, [*attacks, PGD(Linf(8 / 255))])
    assert "\n" not in str(error.value)


def test_a_model_trained_under_linf_is_said_to_be_judged_under_another_threat(judged: Any) -> None:
    _, data, attacks = judged
    (note,) = other_conditions({"threat": "Linf 8/255"}, [attacks[0].threat], data)
    assert note == "the model was trained under Linf 8/255 and is judged under patch 3x3 of 8x8"


def test_checks_that_attack_in_norm_balls_say_that_they_do_not_apply(judged: Any) -> None:
    task, data, attacks = judged
    verdicts = audit(task, data, attacks=attacks, images=4)
    assert {verdict.verdict for verdict in verdicts} == {"not applicable"}
    assert "norm balls, and what is claimed is a patch: patch 3x3 of 8x8" in verdicts[0].reason


def test_training_against_a_patch_selects_by_a_patch() -> None:
    from mmengine.config import Config

    attack = dict(type="PatchPGD", threat=dict(type="Patch", height=3))
    config = Config(dict(task=dict(type="LinearTask"), method=dict(type="Adversarial", attack=attack)))
    assert default_attack(config) == {"type": "PatchPGD", "threat": attack["threat"], "steps": 10}
