"""How often the audit is wrong: what is measured, how wrong verdicts are counted, and that the page is the records'."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from natx.attacks import PGD, AutoAttack
from natx.benchmark import audit_power
from natx.benchmark.audit_power import markdown, measure
from natx.benchmark.audit_subjects import (
    MASKS,
    SEEDS,
    THREAT,
    BriefAutoAttack,
    Subject,
    attacks,
    digits,
    honest,
    masked,
    net,
    wrapped,
)
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
    entries = {"name": f"{kind} {number}", "kind": kind, "group": f"group {number}", "path": "", "seconds": 30.0}
    return {**entries, "made_for": [], "accuracies": {}, "audits": audits, **settings}


def test_wrong_verdicts_are_counted_by_check_and_by_model() -> None:
    records = [record("honest", i, {"G11": [1000]} if i < 2 else {}) for i in range(3)]
    records.append(record("honest", 3, {"G8": [200]}))
    records += [record("masked", 0, {"G9": [200, 1000], "G6": [1000]}, made_for=["G9", "G16"])]
    content = {"records": records, "command": "python x.py", "machine": "a CPU", "attacks": []}
    page = markdown(content)
    assert "Made by `python x.py` on a CPU in 2 min of computing." in page
    assert "| 1000 | 4 | 2 | 0 | 0.0 to 49.0 % | 5 % | 2 |" in page  # what is red on all images is no chance
    assert "| 200 | 4 | 1 | 1 | 4.6 to 69.9 % | 5 % | 3 |" in page
    assert "That is so of G11 (drop from 1 to 10 random starts): group 0 1 of 1, group 1 1 of 1." in page
    rows = {line.split()[1]: line for line in page.splitlines() if line.startswith("| G")}
    assert rows["G11"].endswith("| 0 of 4 | 0 of 4 | 2 of 4 | – | – | – |")
    assert rows["G9"].endswith("| 0 of 4 | 0 of 4 | 0 of 4 | 1 of 1 | 0 of 1 | 0 of 1 |")
    assert rows["G16"].endswith("| 1 of 1 | 1 of 1 | 1 of 1 |") and "| – | – | – | – | – | – |" in rows["G5"]
    assert "| group 0 | G9 G16 | none | G9 | G6 G9 | 100 |" in page.replace("G9 G6", "G6 G9")
    assert "- honest 0, 1000 images: G11 3, red at 2, p 0.001" in page


def test_the_published_page_is_its_records() -> None:
    assert RESULTS.with_suffix(".md").read_text() == markdown(json.loads(RESULTS.read_text()))
