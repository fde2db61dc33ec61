"""How often the audit is wrong: what is measured, how wrong verdicts are counted, and that the page is the records'."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from natx.attacks import PGD, AutoAttack
from natx.benchmark import audit_power
from natx.benchmark.audit_power import markdown, measure
from natx.benchmark.audit_subjects import (
    LATER_SEEDS,
    LATER_SIZES,
    MASKS,
    SEEDS,
    SIZES,
    THREAT,
    UNMASKED,
    BriefAutoAttack,
    Subject,
    attacks,
    digits,
    honest,
    masked,
    net,
    wrapped,
)
from natx.benchmark.masks import BetweenLevels, LargestCut, Purified, Weary
from natx.checks import CHECKS

RESULTS = Path(__file__).resolve().parents[2] / "results" / "audit_power.json"
KNOWN = {check.id for check in CHECKS}


def test_there_are_as_many_models_as_the_page_promises() -> None:
    names = [name for seed in SEEDS for name, _ in honest(seed)]
    masks = [name for name, _ in masked()]
    assert len(names) >= 30 and len(masks) >= 20 and len({*names, *masks}) == len(names) + len(masks)
    assert sum(name.startswith("new: ") for name in MASKS) >= 3
    for mask in MASKS.values():
        assert mask.made_for and set(mask.made_for) <= KNOWN
    covered = {check for mask in MASKS.values() for check in mask.made_for}
    assert covered | UNMASKED.keys() == KNOWN and not covered & UNMASKED.keys()


def test_nets_seen_after_the_limits_were_set_are_others() -> None:
    later = [name for seed in LATER_SEEDS for name, _ in honest(seed)]
    assert len(later) >= 12 and not {*later} & {name for seed in SEEDS for name, _ in honest(seed)}
    assert not {*LATER_SEEDS} & {*SEEDS} and {*LATER_SIZES} > {*SIZES}
    records = [record for record in json.loads(RESULTS.read_text())["records"] if record["kind"] == "later"]
    assert {record["name"] for record in records} == {*later}


def gradient_at(mask: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The gradient of the sum of a layer's outputs."""
    x = x.clone().requires_grad_()
    (grad,) = torch.autograd.grad(mask(x).sum(), x)
    return grad


def test_masks_leave_answers_and_change_gradients_as_they_say() -> None:
    level = torch.randint(0, 17, (2, 1, 8, 8), generator=torch.Generator().manual_seed(0)) / 16
    between = level.clone()
    between[1, 0, 0, 0] += 0.02
    for factor in (0.0, -1.0):
        mask = BetweenLevels(factor, mean=0.3, deviation=0.4, levels=16)
        x = (between - 0.3) / 0.4
        assert torch.equal(mask(x), x)
        assert [float(value) for value in gradient_at(mask, x).flatten(1).mean(1)] == [1.0, factor]
    weary, x = Weary(2), level
    assert [float(gradient_at(weary, x).mean()) for _ in range(4)] == [1, 1, -1, -1]
    weary(x)  # a call without gradient ends the row
    assert float(gradient_at(weary, x).mean()) == 1
    z = torch.tensor([[1.0, 5.0, 3.0, 4.0]])
    assert torch.equal(LargestCut()(z), z) and gradient_at(LargestCut(), z).tolist() == [[1, 0, 1, 0]]


def test_a_purified_image_is_nearer_to_its_own_answer() -> None:
    linear = nn.Sequential(nn.Flatten(), nn.Linear(4, 3, bias=False)).requires_grad_(False)
    x = torch.tensor([[0.2, -0.1, 0.4, 0.3]]).view(1, 1, 2, 2)
    with torch.no_grad():
        plain, purified = (F.softmax(net(x), 1) for net in (linear, Purified(linear, 0.1)))
    answer = int(plain.argmax())
    assert int(purified.argmax()) == answer and purified[0, answer] > plain[0, answer]


def test_training_and_test_images_are_apart() -> None:
    train, test = digits()
    assert (len(train), len(test)) == (797, 1000) and test.labels.bincount().min() > 80
    kept = {image.numpy().tobytes() for image in train.images}
    assert sum(image.numpy().tobytes() in kept for image in test.images) == 0


def test_the_short_attack_stands_where_the_checks_look_for_autoattack() -> None:
    short = BriefAutoAttack(THREAT)
    assert isinstance(short, AutoAttack) and short.describe()["type"] == "AutoAttack" and short.columns() == ["AA"]
    assert [attack.name for attack in attacks()] == ["FGSM", "PGD", "C&W", "Square", "AA"]


@pytest.mark.parametrize("moved", [False, True])
def test_a_record_has_every_verdict_at_every_number_of_images(moved: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_power, "IMAGES", (12, 50))
    monkeypatch.setattr(audit_power, "DRAWS", 2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        task = wrapped(net("mlp")).eval().requires_grad_(False)
    test = digits()[1]
    truth = task.predict(test.__getitems__(range(1000)))
    labels = (truth + moved) % 10
    attack = PGD(THREAT, 3, step_size=0.1)
    record = measure(Subject("a net", "honest", "none", task, task, [attack], labels=labels), path="P=1")
    assert json.loads(json.dumps(record)) == record and record["path"] == "P=1"
    assert record["accuracies"]["Clean"] == (0 if moved else 100)
    assert set(record["audits"]) == {"12", "50"}
    for audit in record["audits"].values():
        assert set(audit["checks"]) == KNOWN and audit["robust"] is False
    assert (record["audits"]["50"]["checks"]["G14"][0] == "red") == moved


def record(kind: str, number: int, red: dict[str, list[int]], **settings: Any) -> dict[str, Any]:
    """A record in which checks are red at some numbers of images, and G5 never applies."""
    audits = {}
    for images in (100, 200, 1000):
        checks: dict[str, list[Any]] = {check: ["green", 0.5, 2.0, 0.4] for check in KNOWN}
        checks["G5"] = ["not applicable", None, None, None]
        checks |= {check: ["red", 3.0, 2.0, 0.001] for check, at in red.items() if images in at}
        audits[str(images)] = {"robust": not any(images in at for at in red.values()), "checks": checks}
    entries = {"name": f"{kind} {number}", "kind": kind, "group": f"group {number}", "natx": "0.5.0", "made_for": []}
    return {**entries, "path": "", "seconds": 30.0, "accuracies": {}, "audits": audits, **settings}


def test_wrong_verdicts_are_counted_by_check_and_by_model() -> None:
    records = [record("honest", i, {"G11": [1000]} if i < 2 else {}) for i in range(3)]
    records.append(record("honest", 3, {"G8": [200]}))
    records.append(record("later", 0, {"G3": [100]}))
    records += [record("masked", 0, {"G9": [200, 1000], "G6": [1000]}, made_for=["G9", "G16"])]
    content = {"records": records, "command": "python x.py", "machine": "a CPU", "attacks": []}
    page = markdown(content)
    assert "Made by `python x.py` on a CPU in 3 min of computing." in page and "Judged by natx 0.5.0: 6." in page
    assert "| 1000 | 4 | 2 | 0 | 0.0 to 49.0 % | 5 % | 2 |" in page  # what is red on all images is no chance
    assert "| 200 | 4 | 1 | 1 | 4.6 to 69.9 % | 5 % | 3 |" in page
    assert "That is so of G11 (drop from 1 to 10 random starts): group 0 1 of 1, group 1 1 of 1." in page
    rows = {line.split()[1]: line for line in page.splitlines() if line.startswith("| G")}
    none = "0 of 1 | 0 of 1 | 0 of 1"
    assert rows["G11"].endswith(f"| 0 of 4 | 0 of 4 | 2 of 4 | {none} | – | – | – |")
    assert rows["G9"].endswith(f"| 0 of 4 | 0 of 4 | 0 of 4 | {none} | 1 of 1 | 0 of 1 | 0 of 1 |")
    assert rows["G3"].endswith("| 0 of 4 | 0 of 4 | 0 of 4 | 1 of 1 | 0 of 1 | 0 of 1 | – | – | – |")
    later = page.split("## Nets seen after the limits were set")[1].split("\n## ")[0]
    assert "| 100 | 1 | 1 | 1 | 20.7 to 100.0 % | 5 % | 0 |" in later and "| 200 | 1 | 0 | 0 |" in later
    assert rows["G16"].endswith("| 1 of 1 | 1 of 1 | 1 of 1 |") and "| – | – | – | – | – | – |" in rows["G5"]
    assert "| group 0 | G9 G16 | none | G9 | G6 G9 | 100 |" in page.replace("G9 G6", "G6 G9")
    assert "- honest 0, 1000 images: G11 3, red at 2, p 0.001" in page


def test_the_published_page_is_its_records() -> None:
    assert RESULTS.with_suffix(".md").read_text() == markdown(json.loads(RESULTS.read_text()))
