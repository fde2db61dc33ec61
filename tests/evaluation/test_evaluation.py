from __future__ import annotations

import copy
import functools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from natx.attacks import APGD, FGSM, PGD
from natx.data.split import Part, subset
from natx.errors import ConfigError
from natx.evaluation import Evaluation, evaluate
from natx.testing import TinyCNNTask, TinyDataset, fit
from natx.threat import Linf

EPS, STEP = 20 / 255, 4 / 255


@functools.cache
def _trained() -> TinyCNNTask:
    return fit(TinyCNNTask(seed=1), TinyDataset(40)).double()


def trained() -> TinyCNNTask:
    return copy.deepcopy(_trained())


def data(count: int = 30) -> TinyDataset:
    """Every seventh label is wrong."""
    dataset = TinyDataset(count, seed=5)
    dataset.labels[::7] = (dataset.labels[::7] + 1) % 5
    return dataset


def attacks() -> list[PGD]:
    margin = dict(type="Margin")
    return [
        FGSM(Linf(EPS)),
        PGD(Linf(EPS), 6, step_size=STEP, milestones=(2, 6)),
        PGD(Linf(EPS), 6, step_size=STEP, objective=margin, name="C&W"),
    ]


COLUMNS = ["Clean", "FGSM", "PGD-2", "PGD-6", "C&W"]


def reference(task: TinyCNNTask, dataset: TinyDataset, success: str) -> dict[str, Tensor]:
    """Image by image, from a start found with a PGD step of length zero: what is right in each column."""
    net, rows = task.net.eval(), []
    for i in range(len(dataset)):
        batch = dataset.__getitems__([i])
        x, y = batch["inputs"].double(), batch["data_samples"]
        start = PGD(Linf(EPS), 1, step_size=0.0)(task, batch)

        def walk(x_adv: Tensor, steps: int, size: float, margin: bool, x: Tensor = x, y: Tensor = y) -> list[bool]:
            right = []
            for _ in range(steps + 1):
                x_adv = x_adv.detach().requires_grad_()
                z = net((x_adv - 0.5) / 0.25)
                right.append(bool(z.argmax(1) == y))
                others = z[0, torch.arange(5) != y]
                score = others.max() - z[0, y] if margin else F.cross_entropy(z, y)
                (grad,) = torch.autograd.grad(score.sum(), x_adv)
                x_adv = torch.clamp(x_adv + size * grad.sign(), x - EPS, x + EPS).clamp(0, 1)
            return right

        fgsm, pgd, cw = walk(x, 1, EPS, False), walk(start, 6, STEP, False), walk(start, 6, STEP, True)
        clean = fgsm[0]
        if success == "any":
            row = [clean, all(fgsm), clean and all(pgd[:3]), clean and all(pgd), clean and all(cw)]
        else:
            row = [clean, fgsm[1], pgd[2], pgd[6], cw[6]]
        rows.append(row)
    return dict(zip(COLUMNS, torch.tensor(rows).T))


@pytest.mark.parametrize("success", ["any", "last"])
def test_outcomes_equal_an_independent_loop(success: str) -> None:
    task, dataset = trained(), data()
    evaluation = evaluate(task, dataset, attacks(), batch_size=7, success=success)
    expected = reference(trained(), dataset, success)
    assert list(evaluation.correct) == COLUMNS and evaluation.count == 30 and evaluation.success == success
    for column in COLUMNS:
        assert torch.equal(evaluation.correct[column], expected[column]), column
        assert evaluation.accuracy(column) == pytest.approx(100 * int(expected[column].sum()) / 30)
    survivors = sum(all(bool(expected[c][i]) for c in COLUMNS) for i in range(30))
    assert evaluation.worst_case() == pytest.approx(100 * survivors / 30)
    assert 0 < survivors <= min(int(expected[c].sum()) for c in COLUMNS) < int(expected["Clean"].sum()) == 25


def test_worst_case_is_an_and_over_images_not_the_smallest_column() -> None:
    correct = {"Clean": [1, 1, 1, 1], "A": [0, 1, 1, 1], "B": [1, 0, 1, 1]}
    evaluation = Evaluation({k: torch.tensor(v).bool() for k, v in correct.items()}, [], "any")
    assert evaluation.worst_case() == 50 and evaluation.accuracy("A") == evaluation.accuracy("B") == 75


@pytest.mark.parametrize("success", ["any", "last"])
def test_batch_size_makes_no_difference(success: str) -> None:
    task, dataset = trained(), data()
    expected = evaluate(task, dataset, attacks(), batch_size=30, success=success).correct
    for batch_size in (1, 7, 1000):
        correct = evaluate(task, dataset, attacks(), batch_size=batch_size, success=success).correct
        assert all(torch.equal(correct[column], expected[column]) for column in COLUMNS)


def test_library_attacks_get_the_same_blocks_at_any_batch_size() -> None:
    task, dataset = trained().float(), data(12)
    sizes: list[int] = []

    class Spy(APGD):
        def run_judged(self, victim, *, success):
            sizes.append(len(victim))
            return super().run_judged(victim, success=success)

    results = [
        evaluate(task, dataset, [Spy(Linf(EPS), steps=4, block_size=5)], batch_size=size).correct["APGD-CE"]
        for size in (1, 4, 12)
    ]
    assert sizes == [5, 5, 2] * 3  # whole blocks in index order, images that are wrong without attack included
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])
    assert 0 < int(results[0].sum()) < 10  # of ten images that are right without attack


def test_an_image_in_a_subset_meets_the_same_attack() -> None:
    task, dataset = trained(), data()
    whole = evaluate(task, dataset, attacks()).correct
    first = evaluate(task, subset(dataset, 11), attacks()).correct
    alone = {i: evaluate(task, Part(dataset, [i]), attacks()).correct for i in range(30)}
    for column in COLUMNS:
        assert torch.equal(first[column], whole[column][:11])
        assert [bool(alone[i][column]) for i in range(30)] == whole[column].tolist()


@pytest.mark.parametrize(("success", "attacked"), [("any", 25), ("last", 30)])
def test_which_images_are_attacked(success: str, attacked: int) -> None:
    evaluation = evaluate(trained(), data(), [FGSM(Linf(0.0))], success=success)
    clean, fgsm = evaluation.attacks
    assert (clean.cost.forwards, clean.cost.backwards) == (30, 0)
    assert (fgsm.cost.forwards, fgsm.cost.backwards) == (2 * attacked, attacked)
    assert torch.equal(evaluation.correct["FGSM"], evaluation.correct["Clean"])  # eps = 0 changes nothing


def test_nothing_is_attacked_where_nothing_is_right() -> None:
    dataset = TinyDataset(6, seed=5)
    dataset.labels = (dataset.labels + 1) % 5
    evaluation = evaluate(trained(), dataset, attacks())
    assert evaluation.worst_case() == 0 and all(a.cost.forwards == 0 for a in evaluation.attacks[1:])


def test_modes_flags_buffers_and_generators_are_restored() -> None:
    task = trained().train()
    task.net[1].eval()
    task.net[0].bias.requires_grad_(False)
    modes, flags = [m.training for m in task.modules()], [p.requires_grad for p in task.parameters()]
    tensors, state = copy.deepcopy(task.state_dict()), torch.get_rng_state()
    evaluation = evaluate(task, data(), attacks())
    assert [m.training for m in task.modules()] == modes
    assert [p.requires_grad for p in task.parameters()] == flags
    assert all(torch.equal(value, tensors[key]) for key, value in task.state_dict().items())
    assert all(p.grad is None for p in task.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    expected = evaluate(trained(), data(), attacks()).correct  # and it was judged in eval mode
    assert all(torch.equal(evaluation.correct[c], expected[c]) for c in COLUMNS)


class Breaks(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        raise RuntimeError("broken network")


def test_modes_are_restored_when_the_network_fails() -> None:
    task = trained().train()
    task.net.append(Breaks())
    with pytest.raises(RuntimeError, match="broken network"):
        evaluate(task, data(), [])
    assert all(m.training for m in task.modules()) and all(p.requires_grad for p in task.parameters())


def test_judged_in_full_precision_under_autocast() -> None:
    task, dataset = trained().float(), data()
    expected = evaluate(task, dataset, attacks()).correct
    with torch.autocast("cpu", dtype=torch.bfloat16):
        correct = evaluate(task, dataset, attacks()).correct
    assert all(torch.equal(correct[column], expected[column]) for column in COLUMNS)


@pytest.mark.parametrize(
    ("pair", "column"),
    [
        ([PGD(Linf(EPS), 10), PGD(Linf(EPS / 2), 10)], "PGD-10"),
        ([PGD(Linf(EPS), 20, milestones=(10, 20)), PGD(Linf(EPS), 10)], "PGD-10"),
        ([FGSM(Linf(EPS), name="Clean")], "Clean"),
    ],
)
def test_two_attacks_with_one_column_are_refused_before_any_work(pair: list[PGD], column: str) -> None:
    task = trained()
    task.net.append(Breaks())
    with pytest.raises(ConfigError, match=f"column {column}: ") as error:
        evaluate(task, data(), pair)
    assert "\n" not in str(error.value)


def test_set_level_tasks_are_refused() -> None:
    task = trained()
    task.per_image_success = False
    with pytest.raises(ConfigError, match="TinyCNNTask has no per-image success"):
        evaluate(task, data(), [])


def test_results_describe_attacks_and_progress_is_told() -> None:
    told: list[tuple] = []

    class Meter:
        def begin(self, name, total, **_):
            told.append((name, total))

        def advance(self, count):
            told.append((count,))

        def end(self):
            told.append(())

    evaluation = evaluate(trained(), data(), [FGSM(Linf(EPS))], batch_size=20, success="last", meter=Meter())
    assert told == [("Clean", 30), (20,), (10,), (), ("FGSM", 30), (20,), (10,), ()]
    assert [a.columns for a in evaluation.attacks] == [["Clean"], ["FGSM"]]
    assert evaluation.attacks[1].settings["threat"] == "Linf 20/255"
