"""tools/test.py killed, by itself or as one of two processes, and gone on with by --resume."""

from __future__ import annotations

import json
import shutil
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from forks import Fork, run_tool, run_tool_pair
from safetensors.torch import load_file, save_file
from workshop import DIGITS, Workshop, merged, write_config

from natx.config import load_config
from natx.evaluation.robust import _Judging
from natx.judging.judge import judge
from natx.training.run import train

IMAGES, BATCH, RANKS = 90, 10, 2
PGD = {"type": "PGD", "steps": 4, "step_size": 0.02, "milestones": (2, 4)}
MARGIN = {"type": "PGD", "steps": 3, "step_size": 0.02, "objective": {"type": "Margin"}, "name": "C&W"}
TABLE = {"threat": {"type": "Linf", "eps": 15 / 255}, "success": "any", "attacks": [PGD, MARGIN]}
CPU = torch.device("cpu")
# Imported by a config: kills its process when that is about to keep its twelfth block.
DYING = """
import os, signal
from natx.evaluation.progress import Block

plain, blocks = Block.plain, []

def dying(block):
    blocks.append(block)
    if len(blocks) == 12:
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(block)

Block.plain = dying
"""
# The same for the second of two processes, in its second block of the first attack.
DYING_SECOND = """
import os, signal
from natx.evaluation.progress import Block

plain, blocks = Block.plain, []

def dying(block):
    blocks.append(block)
    if os.environ["RANK"] == "1" and len(blocks) == 6:  # four of the clean pass and one of the attack are on the disk
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(block)

Block.plain = dying
"""
# Imported by a config: notes which images each process loads.
NOTING = """
import os
from pathlib import Path
from natx.evaluation.robust import _Judging

load = _Judging._load

def noting(judging, images):
    with Path(__file__).with_name(f"loaded{os.environ['RANK']}.txt").open("a") as file:
        print(*images, file=file)
    return load(judging, images)

_Judging._load = noting
"""


class Judged:
    """A trained model, and configs that judge it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.weights = folder, folder / "run" / "best.safetensors"
        content = merged(DIGITS, {"train_cfg": {"max_epochs": 8}})
        self.config = write_config(folder / "digits.py", content)
        for name, module in (("dying", DYING), ("dying_second", DYING_SECOND), ("noting", NOTING)):
            (folder / f"{name}.py").write_text(module)
            imports = {"custom_imports": {"imports": ["tasks.cls", name]}}
            write_config(folder / f"with_{name}.py", merged(content, imports))
        self.table = write_config(folder / "table.py", TABLE)
        train(load_config(self.config), folder / "run", device=CPU)

    def arguments(self, out: Path, *more: str, config: Path | None = None, **changed: Path) -> list[str]:
        given = [config or self.config, changed.get("weights", self.weights), "--attacks"]
        given += [changed.get("table", self.table), "--out", out, "--subset", IMAGES, "--batch-size", BATCH]
        return [*map(str, given), "--name", "tiny", *more]

    def pair(self, module: str, out: Path, *more: str) -> list[Fork]:
        """The tool in two processes, with a module."""
        words = self.arguments(out, *more, config=self.folder / f"with_{module}.py")
        return run_tool_pair("test.py", *words, folders=(self.folder,))


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    return Judged(tmp_path_factory.mktemp("judged"))


@pytest.fixture(scope="module")
def killed(judged: Judged, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an evaluation that was killed when its clean pass and two blocks of its first attack were kept."""
    out = tmp_path_factory.mktemp("killed") / "out"
    words = judged.arguments(out, config=judged.folder / "with_dying.py")
    died = run_tool("test.py", *words, folders=(judged.folder,))
    assert died.returncode == -signal.SIGKILL, died.stderr
    return out


def blocks(out: Path) -> list[tuple[str, str]]:
    """The name of the attack and the images of each block that is on the disk."""
    contents = [json.loads(path.read_text())["blocks"] for path in sorted(out.glob("progress*.json"))]
    return [(name, block["images"]) for content in contents for name, found in content.items() for block in found]


def numbers(report: dict[str, Any]) -> dict[str, Any]:
    """A report without what may differ: times, the config's path, the number of processes, the git revision."""
    attacks = [{key: value for key, value in attack.items() if key != "seconds"} for attack in report["attacks"]]
    other = ("processes", "config", "config_fingerprint")
    settings = {key: value for key, value in report["settings"].items() if key not in other}
    return json.loads(json.dumps({**report, "attacks": attacks, "settings": settings, "provenance": None}))


@pytest.fixture(scope="module")
def whole(judged: Judged, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an evaluation reports that nobody stopped, in one process."""
    configs = load_config(judged.config), judged.weights, load_config(judged.table)
    how = {"device": CPU, "name": "tiny", "subset_size": IMAGES, "batch_size": BATCH}
    return numbers(judge(*configs, **how, pictures=tmp_path_factory.mktemp("whole")))


def test_a_killed_evaluation_is_gone_on_with(
    shop: Workshop, judged: Judged, killed: Path, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, kept = shop.folder / "out", blocks(killed)
    assert [name for name, _ in kept] == ["Clean"] * 9 + ["PGD-2, PGD-4"] * 2 and len(set(kept)) == 11
    shutil.copytree(killed, out)
    load, loaded = _Judging._load, []

    def noting(judging: _Judging, images: list[int]) -> Any:
        loaded.append(images)
        return load(judging, images)

    monkeypatch.setattr(_Judging, "_load", noting)
    ran = shop.run("test.py", *judged.arguments(out, "--resume"))
    assert ran.code == 0, ran.err
    assert numbers(json.loads((out / "report.json").read_text())) == whole
    assert not list(out.glob("progress*")) and not list(out.glob(".*"))
    names = {column["name"]: column["accuracy"] for column in whole["columns"]}
    assert list(names) == ["Clean", "PGD-2", "PGD-4", "C&W"] and 0 < whole["worst_case"] < names["Clean"]
    # Attacks get the images that are right without attack, in blocks; two of the first attack's are known.
    attacked = -(-round(names["Clean"] / 100 * IMAGES) // BATCH)
    assert len(loaded) == (attacked - 2) + attacked


@pytest.mark.parametrize("change", ["checkpoint", "attack"])
def test_another_checkpoint_or_attack_is_refused(shop: Workshop, judged: Judged, killed: Path, change: str) -> None:
    changed: dict[str, Path] = {}
    if change == "checkpoint":
        changed["weights"] = shop.folder / "other.safetensors"
        save_file({key: value * 1.5 for key, value in load_file(judged.weights).items()}, changed["weights"])
        part = "checkpoint_sha256 was"
    else:
        changed["table"] = shop.write("table.py", {**TABLE, "attacks": [{**PGD, "step_size": 0.03}, MARGIN]})
        part = "attacks.0.step_size was 0.02 and is 0.03"
    before = (killed / "progress.json").read_bytes()
    line = shop.run("test.py", *judged.arguments(killed, "--resume", **changed)).error()
    assert part in line and "is of another evaluation" in line and "another --out" in line
    assert (killed / "progress.json").read_bytes() == before and not (killed / "report.json").exists()


def test_what_was_killed_is_not_begun_anew_without_being_asked(shop: Workshop, judged: Judged, killed: Path) -> None:
    assert "not finished: add --resume" in shop.run("test.py", *judged.arguments(killed)).error()


def test_two_processes_of_which_one_was_killed_are_gone_on_with(
    shop: Workshop, judged: Judged, whole: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    _, second = judged.pair("dying_second", out)
    assert second.returncode == -signal.SIGKILL, second.stderr
    before = blocks(out)
    assert [name for name, _ in before].count("Clean") == 9 and len(before) >= 10 and len(set(before)) == len(before)
    line = shop.run("test.py", *judged.arguments(out, "--resume")).error()
    assert "processes was 2 and is 1 now" in line
    for fork in judged.pair("noting", out, "--resume"):
        assert fork.returncode == 0, fork.stderr
    report = json.loads((out / "report.json").read_text())
    assert numbers(report) == whole and report["settings"]["processes"] == RANKS
    assert not list(out.glob("progress*"))
    # Each image once: each attack judges those that are right without attack, but for the blocks that are known.
    texts = [(judged.folder / f"loaded{rank}.txt").read_text().split() for rank in range(RANKS)]
    counts = Counter(int(word) for text in texts for word in text)
    known = {i for name, images in before if name != "Clean" for i in expanded(images)}
    assert known and all(texts) and not set(texts[0]) & set(texts[1])
    assert len(counts) == round(whole["columns"][0]["accuracy"] / 100 * IMAGES)
    assert all(count == (1 if i in known else 2) for i, count in counts.items())


def expanded(text: str) -> list[int]:
    """The images of a block as the file has them: ``0-3,5``."""
    parts = [part.split("-") for part in text.split(",")]
    return [i for part in parts for i in range(int(part[0]), int(part[-1]) + 1)]
