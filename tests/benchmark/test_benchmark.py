from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from natx.attacks import PGD
from natx.benchmark import (
    Item,
    Measured,
    NotRun,
    Paired,
    add_result,
    describe,
    interleave,
    read_results,
    run_item,
    stopwatch,
)
from natx.benchmark.measure import cpu_facts
from natx.benchmark.opponents import (
    Pixels,
    SharedStart,
    above,
    agreement,
    bare_pgd,
    margin_pgd,
    peer,
    peer_columns,
    pixel_batches,
    torch_start,
)
from natx.benchmark.training import Patterns, Trainer, settled, step_units, train_until
from natx.errors import ConfigError
from natx.evaluation import Evaluation, evaluate
from natx.methods import Adversarial, Standard
from natx.testing import LinearTask
from natx.threat import Linf
from natx.training.learner import Learner
from tasks.cls import ClassificationTask

CPU = torch.device("cpu")
MACHINE = {
    "amx": False,
    "avx512_bf16": True,
    "onednn": True,
    "cpu": "a CPU",
    "capability": "AVX512",
    "device": "x86_64 CPU",
    "threads": 2,
    "git": "abc",
    "packages": {"torch": "2"},
}
SETTING = {"model": "m", "batch_size": 8, "threads": 2, "device": "cpu", "command": "python x", "machine": MACHINE}


def item(name: str = "one", run: Callable[[Any], Measured] | None = None, **kwargs: Any) -> Item:
    return Item(name, a="left", b="right", run=run or (lambda _: Measured(Paired([2.0], [1.0]))), **kwargs)


def result(name: str = "one", **kwargs: Any) -> dict[str, Any]:
    return run_item(item(name, **kwargs), None, SETTING)


def task() -> ClassificationTask:
    torch.manual_seed(0)
    return ClassificationTask("small_cnn", 10, model_args=dict(width=4)).eval()


def test_runs_alternate_and_ratios_are_pairwise() -> None:
    calls: list[str] = []
    times = iter([0, 2, 10, 11, 20, 28, 30, 32, 40, 43, 50, 53])  # A 2, B 1, A 8, B 2, A 3, B 3
    paired = interleave(
        lambda: calls.append("A"),
        lambda: calls.append("B"),
        repeats=3,
        measure=stopwatch(CPU, clock=lambda: float(next(times))),
    )
    assert calls == ["A", "B"] * 4  # the first pair is the warm-up, which is not timed
    assert (paired.a, paired.b) == ([2, 8, 3], [1, 2, 3])
    assert paired.ratios == [2, 4, 1]
    assert paired.summary() == {"median": 2, "min": 1, "max": 4}  # not the ratio of medians, 1.5


def test_own_warm_up_and_outputs_of_the_last_pair() -> None:
    counts: Iterator[int] = iter(range(100))
    warmed: list[int] = []
    paired = interleave(
        lambda: next(counts),
        lambda: -next(counts),
        repeats=2,
        measure=lambda run: (1.0, run()),
        warm_up=[lambda: warmed.append(1)],
    )
    assert warmed == [1] and paired.outputs == (2, -3)
    with pytest.raises(ConfigError, match="repeats must be at least 1"):
        interleave(int, int, repeats=0, measure=stopwatch(CPU))


@pytest.mark.parametrize(
    ("limit", "at_least", "ratio", "met"),
    [(1.05, False, 1.05, True), (1.05, False, 1.06, False), (2.5, True, 2.5, True), (2.5, True, 2.4, False)],
)
def test_limit(limit: float, at_least: bool, ratio: float, met: bool) -> None:
    one = item(run=lambda _: Measured(Paired([ratio], [1.0])), limit=limit, at_least=at_least)
    assert run_item(one, None, SETTING)["met"] is met


def test_limit_for_amx_only_and_no_limit() -> None:
    assert item(limit=2.5, at_least=True, needs_amx=True).met(1.0, {"amx": False}) is None
    assert item(limit=2.5, at_least=True, needs_amx=True).met(1.0, {"amx": True}) is False
    assert item().met(1.0, {"amx": True}) is None
    found = result()
    assert found["limit"] is None and found["met"] is None and "no limit" in describe(found)


def test_result_is_plain_and_complete() -> None:
    one = item(
        run=lambda _: Measured(Paired([1 / 3, 2.0], [1.0, 1.0]), predicted=0.6, details={"rows": [{"x": 1 / 3}]}),
        predicted=0.5,
    )
    found = run_item(one, None, SETTING)
    assert json.loads(json.dumps(found)) == found
    assert found["ratio"] == {"median": 1.1667, "min": 0.33333, "max": 2.0} and found["repeats"] == 2
    assert found["predicted"] == 0.6 and found["details"] == {"rows": [{"x": 0.33333}]}
    assert found["machine"] == MACHINE and found["batch_size"] == 8


def test_missing_peer_is_not_run() -> None:
    found = result(run=lambda _: Measured(peer("no_such_library.part")))
    assert found["not_run"].startswith("no no_such_library") and found["not_run"].endswith("pip install natx[bench]")
    assert "ratio" not in found and describe(found).startswith("not run: ")
    with pytest.raises(NotRun, match=r"pip install natx\[det\]"):
        peer("no_such_library", extra="det")


def test_a_setting_of_the_item_is_what_the_result_says() -> None:
    found = result(setting=dict(model="own", batch_size=3))
    assert (found["model"], found["batch_size"], found["threads"]) == ("own", 3, 2) and SETTING["model"] == "m"


def not_run(_: Any) -> Measured:
    raise NotRun("no GPU")


def test_results_merge_by_name_in_the_given_order(tmp_path: Path) -> None:
    out = tmp_path / "results" / "b.json"
    for name in ("two", "one"):
        add_result(out, result(name), order=["one", "two"])
    assert list(read_results(out)) == ["one", "two"]
    add_result(out, result("two", run=lambda _: Measured(Paired([5.0], [1.0]))), order=["one", "two"])
    add_result(out, result("one", run=not_run), order=["one", "two"])  # does not replace a measurement
    add_result(out, result("three", run=not_run), order=["one", "two"])
    kept = read_results(out)
    assert kept["two"]["ratio"]["median"] == 5 and kept["one"]["ratio"]["median"] == 2
    assert kept["three"]["not_run"] == "no GPU"
    add_result(out, result("three"), order=[])
    assert "ratio" in read_results(out)["three"]
    assert sorted(p.name for p in out.parent.iterdir()) == ["b.json", "b.md"]


def test_table(tmp_path: Path) -> None:
    out, order = tmp_path / "b.json", ["one", "two", "three", "four", "five"]
    add_result(out, result("one", limit=1.05, predicted=1.0), order=order)
    add_result(out, result("two", run=not_run), order=order)
    rows = [{"column": "PGD|10", "natx %": 12.5}]
    add_result(out, result("three", run=lambda _: Measured(None, details={"epochs": rows, "n": 3})), order=order)
    add_result(out, {**result("four", limit=3.0), "command": "python y"}, order=order)
    add_result(out, result("five", unit="MB", setting=dict(model="own", batch_size=3)), order=order)
    text = out.with_suffix(".md").read_text()
    assert text.index("python x") < text.index("python y") < text.index("| item |")
    assert text.count("python x") == 1 and text.count("AMX: no") == 1
    table = "2 s | 1 s | 2.000 (2.000 to 2.000) | "
    assert f"| one | left | right | {table}1.000 | at most 1.05 | NO | m, batch 8, 1 repeats |" in text
    assert "| four | left | right | " + table + "- | at most 3 | yes |" in text
    measured = table.replace("2 s", "2 MB").replace("1 s", "1 MB")
    assert f"| five | left | right | {measured}- | - | - | own, batch 3, 1 repeats |" in text  # without a limit
    assert "| not run: no GPU |" in text and "| PGD\\|10 | 12.5 |" in text and "- n: 3" in text


@pytest.mark.parametrize("content", ["{", "[]", '{"items": [{}]}', '{"items": 3}'])
def test_foreign_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "b.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match="holds no benchmark results"):
        read_results(path)
    with pytest.raises(ConfigError, match=r"ends with \.json"):
        read_results(tmp_path / "b.md")


def test_cpu_facts() -> None:
    flags = "fpu avx512_bf16 amx_tile amx_bf16"
    text = f"processor\t: 0\nmodel name\t: Xeon\nflags\t\t: {flags}\n\nprocessor\t: 1\nmodel name\t: Other\n"
    assert cpu_facts(text) == {"cpu": "Xeon", "amx": True, "avx512_bf16": True}
    assert cpu_facts("model name : Old\nflags : fpu amx_tile\n") == {"cpu": "Old", "amx": False, "avx512_bf16": False}
    assert cpu_facts("")["amx"] is False


def test_bare_loop_and_natx_find_the_same() -> None:
    net, eps, size = task(), 8 / 255, 2 / 255
    batch = Patterns(8).__getitems__(list(range(8)))
    attack = SharedStart(Linf(eps), 5, step_size=size)
    attack.starts = torch_start(batch, eps)
    ours = attack(net, batch)
    torch.manual_seed(0)  # torch_start's seed: the first index
    bare = bare_pgd(
        Pixels(net).requires_grad_(False), batch["inputs"], batch["data_samples"], eps=eps, size=size, steps=5
    )
    assert (ours - bare).abs().max() < 1e-6 and (ours - batch["inputs"]).abs().max() > 0.9 * eps


def test_shared_starts_give_torchattacks_outcomes() -> None:
    library, eps = pytest.importorskip("torchattacks"), 8 / 255
    net, data = task(), Patterns(12)
    train_until(net, data, attack=PGD(Linf(eps), 1), judge=PGD(Linf(eps), 2), accuracy=200, most=10)
    batches = pixel_batches(net, data, 5)
    assert [len(b["index"]) for b in batches] == [5, 5, 2]
    ours = [
        SharedStart(Linf(eps), 4, milestones=(2, 4)),
        SharedStart(Linf(eps), 3, objective=dict(type="Margin"), name="C&W"),
    ]
    for attack in ours:
        attack.starts = torch.cat([torch_start(batch, eps) for batch in batches])
    wrapped = Pixels(net)
    theirs: dict[str, Any] = {"Clean": None, **{f"PGD-{k}": library.PGD(wrapped, eps, 2 / 255, k) for k in (2, 4)}}
    theirs["C&W"] = margin_pgd(library)(wrapped, eps, 2 / 255, 3)
    found = evaluate(net, data, ours, batch_size=5, success="last").correct
    other = peer_columns(theirs, wrapped, batches)
    assert all(torch.equal(found[name], other[name]) for name in theirs)


def test_a_weaker_column_is_named() -> None:
    ours = {"Clean": [1, 1, 1, 1], "PGD-10": [1, 1, 0, 0], "C&W": [1, 1, 1, 0], "AA": [0, 0, 0, 0]}
    theirs = {"Clean": [1, 1, 1, 1], "PGD-10": [0, 1, 1, 1], "C&W": [0, 1, 1, 0]}
    ours, theirs = ({k: torch.tensor(v).bool() for k, v in side.items()} for side in (ours, theirs))
    rows = agreement(Evaluation(ours, [], "any"), theirs, library="other")
    assert [row["column"] for row in rows] == list(theirs)
    assert rows[1] == {"column": "PGD-10", "natx %": 50, "other %": 75, "same outcome": 0.25}
    assert above(rows) == "C&W (75.00 against 50.00)"
    assert above(rows[:2]) == "none"


def test_training_stops_at_the_accuracy() -> None:
    net, judge = task().train(), PGD(Linf(0.0), 1)
    text = train_until(net, Patterns(10), attack=PGD(Linf(0.0), 1), judge=judge, accuracy=0, most=50, every=2)
    assert text.startswith("2 steps of PGD-1 training") and not net.training
    assert torch.equal(Patterns(3).images, Patterns(5).images[:3])


def test_units_count_the_attack_and_all_views() -> None:
    """A forward counts 1, the attack's backward 1, a training backward 2."""
    attack = PGD(Linf(8 / 255), 10)
    assert step_units(Standard()) == 1 + 2
    assert step_units(Adversarial(attack)) == 10 * (1 + 1) + 1 + 2
    assert step_units(Adversarial(attack, ("clean", "adv"))) == 10 * (1 + 1) + 2 * (1 + 2)


def test_a_trainer_takes_the_step_of_its_optimizer() -> None:
    generator = torch.Generator().manual_seed(0)
    weight, x = torch.randn(4, 12, generator=generator), torch.rand(6, 3, 2, 2, generator=generator)
    labels = torch.arange(6) % 4
    net = LinearTask(weight, torch.zeros(4)).eval()
    trainer = Trainer(Learner(net, Standard()), torch.optim.SGD(net.parameters(), lr=0.5))
    assert trainer.units == 3 and net.training
    logged = trainer({"inputs": x, "data_samples": labels, "index": torch.arange(6)})
    logits = x.flatten(1) @ weight.T
    residual = (logits.softmax(1) - nn.functional.one_hot(labels, 4)) / 6
    torch.testing.assert_close(net.net[1].weight.detach(), weight - 0.5 * residual.T @ x.flatten(1))
    torch.testing.assert_close(logged["loss_ce"].detach(), nn.functional.cross_entropy(logits, labels))


def test_settled_norms_have_the_batchs_statistics_and_keep_their_momentum() -> None:
    net, batch = task(), Patterns(8).__getitems__(list(range(8)))
    norm = next(m for m in net.modules() if isinstance(m, nn.BatchNorm2d))
    norm.momentum = 0.3
    seen = []
    norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    assert settled(net, batch) is net and not net.training and norm.momentum == 0.3
    torch.testing.assert_close(norm.running_mean, seen[0].mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, seen[0].var((0, 2, 3)))
