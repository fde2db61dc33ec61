"""An evaluation that is killed and resumed reports what one that was never stopped does."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

import natx.attacks.autoattack
from natx.attacks import Victim
from natx.errors import ConfigError, DataError
from natx.evaluation.progress import Block, Progress, by_content, clear_progress, difference, positions, ranges
from natx.judging.judge import judge
from natx.models.checkpoint import save_weights
from natx.runtime.files import sha256
from natx.testing import TinyCNNTask, TinyDataset, fit

CPU = torch.device("cpu")
IMAGES, BATCH, LIBRARY_BATCH = 30, 7, 9
TASK = {"type": "TinyCNNTask", "batch_norm": False, "double": True, "seed": 1}
TEST = {"type": "TinyDataset", "count": IMAGES, "seed": 5, "noise": 0.3}
PGD = {"type": "PGD", "steps": 6, "step_size": 4 / 255, "milestones": (2, 6)}
MARGIN = {"type": "PGD", "steps": 6, "step_size": 4 / 255, "objective": {"type": "Margin"}, "name": "C&W"}
LIBRARY = {"type": "APGD", "steps": 3, "block_size": LIBRARY_BATCH}
TABLE = {"threat": {"type": "Linf", "eps": 20 / 255}, "success": "any", "attacks": [PGD, MARGIN, LIBRARY]}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    settings = {key: value for key, value in TASK.items() if key != "type"}
    save_weights(path, fit(TinyCNNTask(**settings), TinyDataset(40)), meta={"epoch": 4})
    return path


def judged(weights: Path, folder: Path | None, *, resume: bool = True, **changes: Any) -> dict[str, Any]:
    """The report; ``changes`` to task, test, table, batch_size, seed, subset_size and compiled."""
    config = {"task": {**TASK, **changes.get("task", {})}, "data": {"test": {**TEST, **changes.get("test", {})}}}
    table = {**TABLE, **changes.get("table", {})}
    options = {key: changes[key] for key in ("seed", "subset_size", "compiled") if key in changes}
    return judge(
        Config(config),
        weights,
        Config(table),
        device=CPU,
        batch_size=changes.get("batch_size", BATCH),
        progress=folder,
        resume=resume,
        **options,
    )


def numbers(report: dict[str, Any]) -> dict[str, Any]:
    """A report without what may differ: times, the number of processes, the git revision."""
    attacks = [{key: value for key, value in attack.items() if key != "seconds"} for attack in report["attacks"]]
    settings = {key: value for key, value in report["settings"].items() if key != "processes"}
    return json.loads(json.dumps({**report, "attacks": attacks, "settings": settings, "provenance": None}))


# --- killing real processes ------------------------------------------------------------------------------------------


def child(work: Callable[[], None]) -> int:
    """Do some work in a process of its own; its id."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        torch.set_num_threads(1)
        work()
        code = 0
    finally:
        os._exit(code)


def outcome(process: int) -> int:
    """Wait for a process; its exit status, negative for the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dying(owner: Any, name: str, call: int) -> None:
    """Kill this process in the given call of a function, before it does anything."""
    original, calls = getattr(owner, name), []

    def counted(*arguments: Any, **settings: Any) -> Any:
        calls.append(1)
        if len(calls) == call:
            die()
        return original(*arguments, **settings)

    setattr(owner, name, counted)


def dying_in_write(call: int) -> None:
    """Kill this process in the given write, when half of the new file is on the disk."""
    sync, calls = os.fsync, []

    def torn(handle: int) -> None:
        calls.append(1)
        if len(calls) == call:
            os.ftruncate(handle, os.fstat(handle).st_size // 2)
            die()
        sync(handle)

    os.fsync = torn


DEATHS: list[tuple[str, Callable[[], None]]] = [
    ("half of the first file written", lambda: dying_in_write(1)),
    ("in the middle of the clean pass", lambda: dying(TinyDataset, "__getitems__", 3)),
    ("in a step of the first attack", lambda: dying(Victim, "gradient", 10)),
    ("between the end of a block and its file", lambda: dying(Block, "plain", 3)),
    ("half of a later file written", lambda: dying_in_write(3)),
    ("in a block of the library", lambda: dying(natx.attacks.autoattack, "run_members", 2)),
]


class Loads:
    """Counts how often a data set is asked for images."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        load, self.images = TinyDataset.__getitems__, []

        def counted(dataset: TinyDataset, images: list[int]) -> Any:
            self.images.append(list(images))
            return load(dataset, images)

        monkeypatch.setattr(TinyDataset, "__getitems__", counted)


def test_an_evaluation_killed_again_and_again_gives_the_same_report(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = judged(weights, None, resume=False)
    kept = tmp_path / "progress.json"
    finished = []
    for moment, arm in DEATHS:

        def work(arm: Callable[[], None] = arm) -> None:
            arm()
            judged(weights, tmp_path)

        assert outcome(child(work)) == -signal.SIGKILL, moment
        content = json.loads(kept.read_text()) if kept.exists() else {"blocks": {}}
        finished.append(sum(map(len, content["blocks"].values())))
    assert finished[0] == 0
    assert finished == sorted(finished)
    assert finished[1] == 2  # two of five blocks of the clean pass
    assert finished[-1] > finished[-2] > finished[-3] == finished[2] + 2 > 5
    loads = Loads(monkeypatch)
    resumed = judged(weights, tmp_path)
    assert numbers(resumed) == numbers(whole)
    known = [block["images"] for blocks in content["blocks"].values() for block in blocks]
    now = json.loads(kept.read_text())["blocks"]
    assert len(loads.images) == sum(map(len, now.values())) - len(known) > 0  # nothing is judged twice
    assert ", ".join(now) == "Clean, PGD-2, PGD-6, C&W, APGD-CE"
    for column in whole["columns"]:
        assert column["images"] == IMAGES
    assert 0 < whole["worst_case"] < whole["columns"][0]["accuracy"] < 100
    seconds = [sum(block["seconds"] for block in blocks) for blocks in now.values()]
    for attack, spent in zip(resumed["attacks"], seconds):
        assert attack["seconds"] >= spent - 0.05  # time spent before a death counts
    clear_progress(tmp_path)
    assert list(tmp_path.iterdir()) == []  # nor any half of a file


def test_refilled_batches_are_killed_and_resumed_too(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their blocks end in another order than they begin, as on an accelerator."""
    more = {"test": {"count": 100}}
    whole = judged(weights, None, resume=False, **more)  # with whole blocks: refilling changes no outcome and no cost
    monkeypatch.setattr("natx.evaluation.robust.worthwhile", lambda device: True)
    finished = []
    for step in (30, 30, 10):

        def work(step: int = step) -> None:
            dying(Victim, "gradient", step)
            judged(weights, tmp_path, **more)

        assert outcome(child(work)) == -signal.SIGKILL
        blocks = json.loads((tmp_path / "progress.json").read_text())["blocks"]
        finished.append(sum(map(len, blocks.values())))
    assert 15 < finished[0] < finished[-1], finished  # the 15 of the clean pass, and some of an attack
    assert numbers(judged(weights, tmp_path, **more)) == numbers(whole)


def test_the_file_is_readable(weights: Path, tmp_path: Path) -> None:
    report = judged(weights, tmp_path, resume=False)
    content = json.loads((tmp_path / "progress.json").read_text())
    clean = content["blocks"]["Clean"]
    assert [block["images"] for block in clean] == ["0-6", "7-13", "14-20", "21-27", "28-29"]
    dataset, net = TinyDataset(**{key: value for key, value in TEST.items() if key != "type"}), TinyCNNTask()
    assert "".join(block["right"][0] for block in clean).count("1") == report["columns"][0]["correct"]
    assert all(len(row) == 7 for row in clean[0]["right"])
    assert len(content["blocks"]["PGD-2, PGD-6"][0]["right"]) == 2
    assert content["evaluation"]["attacks"][0]["steps"] == 6
    assert content["evaluation"]["processes"] == 1
    assert len(dataset) == IMAGES and net.num_classes == 5


# --- what is refused -------------------------------------------------------------------------------------------------


class Stopped(Exception):
    pass


@pytest.fixture(scope="module")
def unfinished(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an evaluation that stopped in its first attack."""
    folder = tmp_path_factory.mktemp("unfinished")

    def stop(*_: Any) -> None:
        raise Stopped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Victim, "gradient", stop)
        with pytest.raises(Stopped):
            judged(weights, folder)
    return folder


CHANGES: dict[str, dict[str, Any]] = {
    "attacks.0.steps was 6 and is 7": {"table": {"attacks": [{**PGD, "steps": 7, "milestones": (2, 7)}]}},
    "attacks.1.objective.type": {"table": {"attacks": [PGD, {**MARGIN, "objective": {"type": "DLR"}}, LIBRARY]}},
    'success was "any" and is "last"': {"table": {"success": "last"}},
    "pool was false and is true": {"table": {"pool": True}},
    'threat.0 was "Linf 20/255" and is "Linf 10/255"': {"table": {"threat": {"type": "Linf", "eps": 10 / 255}}},
    "seeds.0 was 0 and is 3": {"seed": 3},
    "batch_size was 7 and is 8": {"batch_size": 8},
    "data was": {"subset_size": 20},
    'compiled was null and is "eager"': {"compiled": "eager"},
    "data_fingerprint was": {"test": {"noise": 0.2}},
    "task.dropout was null and is 0.3": {"task": {"dropout": 0.3}},
}


@pytest.mark.parametrize("key", CHANGES)
def test_another_configuration_is_refused_and_named(weights: Path, unfinished: Path, key: str) -> None:
    changes = CHANGES[key]
    if "attacks.0" in key:
        changes = {"table": {"attacks": [*changes["table"]["attacks"], MARGIN, LIBRARY]}}
    before = (unfinished / "progress.json").read_bytes()
    with pytest.raises(ConfigError) as error:
        judged(weights, unfinished, **changes)
    text = str(error.value)
    assert key in text and "progress.json is of another evaluation" in text
    assert "another --out" in text and "delete the file" in text
    assert "\n" not in text and len(text) < 500
    assert (unfinished / "progress.json").read_bytes() == before


def test_other_weights_are_refused(unfinished: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    save_weights(path, TinyCNNTask(batch_norm=False, double=True), meta={})
    with pytest.raises(ConfigError, match="another evaluation: checkpoint_sha256 was "):
        judged(path, unfinished)


def test_a_folder_with_an_unfinished_evaluation_is_not_overwritten(weights: Path, unfinished: Path) -> None:
    with pytest.raises(ConfigError, match="not finished: add --resume") as error:
        judged(weights, unfinished, resume=False)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"format": "else"}', '{"format": "natx-evaluation-1", "evaluation": {}}'],
    ids=["empty", "list", "other format", "no blocks"],
)
def test_a_damaged_file_is_refused(weights: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "progress.json").write_text(content)
    with pytest.raises(ConfigError, match=r"progress.json is damaged .*: delete it to start anew") as error:
        judged(weights, tmp_path)
    assert "\n" not in str(error.value)


def test_a_block_without_an_outcome_for_each_image_is_damage(weights: Path, unfinished: Path, tmp_path: Path) -> None:
    content = json.loads((unfinished / "progress.json").read_text())
    content["blocks"]["Clean"][0]["right"][0] = "1" * (BATCH - 1)
    (tmp_path / "progress.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="damaged .*7 images without a 0 or 1 for each"):
        judged(weights, tmp_path)


def test_a_set_has_no_worst_case_of_images_alone(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TinyCNNTask, "per_image_success", False)
    with pytest.raises(ConfigError, match="pool=True is for tasks in which an image by itself") as error:
        judged(weights, tmp_path, table={"pool": True})
    assert "\n" not in str(error.value)


# --- several processes -----------------------------------------------------------------------------------------------


def pair(weights: Path, folder: Path, meeting: str, *, arm: Callable[[int], None] | None = None) -> list[int]:
    """Two processes (gloo) that go on with the evaluation in a folder; their ids."""

    def work(rank: int) -> None:
        if arm is not None:
            arm(rank)
        where = f"file://{folder}/{meeting}"
        torch.distributed.init_process_group("gloo", init_method=where, rank=rank, world_size=2)
        with pytest.MonkeyPatch.context() as patch:
            loads = Loads(patch)
            try:
                report = judged(weights, folder / "work")
            except ConfigError as error:
                report = {"error": str(error)}
        torch.distributed.destroy_process_group()
        (folder / f"{meeting}{rank}.json").write_text(json.dumps([report, loads.images]))

    return [child(lambda rank=rank: work(rank)) for rank in range(2)]


def finished_blocks(folder: Path) -> list[tuple[str, str]]:
    files = [json.loads(path.read_text())["blocks"] for path in sorted((folder / "work").glob("progress-rank*.json"))]
    return [(name, block["images"]) for file in files for name, blocks in file.items() for block in blocks]


def test_two_processes_go_on_where_they_were_killed(weights: Path, tmp_path: Path) -> None:
    whole = judged(weights, None, resume=False)

    def arm(rank: int) -> None:
        if rank == 1:
            dying(Block, "plain", 4)  # in the first attack, after two blocks of the clean pass and one of its own

    first, second = pair(weights, tmp_path, "first", arm=arm)
    assert outcome(second) == -signal.SIGKILL
    os.kill(first, signal.SIGKILL)  # as a launcher does
    assert outcome(first) in (-signal.SIGKILL, 1)
    before = finished_blocks(tmp_path)
    assert len(before) >= 6 and len(set(before)) == len(before)
    # One process, or none of their settings: refused, on all processes alike.
    with pytest.raises(ConfigError, match="progress-rank0.json is of another evaluation: processes was 2 and is 1 now"):
        judged(weights, tmp_path / "work")
    assert [outcome(process) for process in pair(weights, tmp_path, "second")] == [0, 0]
    after = finished_blocks(tmp_path)
    assert len(set(after)) == len(after)  # each image once
    reports, loads = zip(*(json.loads((tmp_path / f"second{rank}.json").read_text()) for rank in range(2)))
    for report in reports:
        assert numbers(report) == numbers(whole)
        assert report["settings"]["processes"] == 2
    assert sum(map(len, loads)) == len(after) - len(before) > 0


def test_all_processes_refuse_what_one_cannot_read(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "progress-rank1.json").write_text("{")
    assert [outcome(process) for process in pair(weights, tmp_path, "refused")] == [0, 0]
    for rank in range(2):
        report, loads = json.loads((tmp_path / f"refused{rank}.json").read_text())
        assert "progress-rank1.json is damaged" in report["error"] and loads == []


# --- the parts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "text"), [([0, 1, 2, 3], "0-3"), ([5], "5"), ([0, 2, 3, 9], "0,2-3,9"), ([3, 4, 1], "3-4,1")]
)
def test_positions_as_text(images: list[int], text: str) -> None:
    assert ranges(images) == text and positions(text) == images


def test_a_block_survives_its_text() -> None:
    block = Block([0, 2, 3], torch.tensor([[True, False, True], [False] * 3]), notes=["a flag"], seconds=1.25)
    block.cost.forwards, block.cost.backwards = 9, 6
    read = Block.read(json.loads(json.dumps(block.plain())))
    assert block.plain()["right"] == ["101", "000"]
    assert torch.equal(read.right, block.right) and read.right.dtype == torch.bool
    assert (read.images, read.cost, read.notes, read.seconds) == (block.images, block.cost, block.notes, block.seconds)


def test_blocks_of_other_images_are_not_found(tmp_path: Path) -> None:
    Progress(tmp_path, {"seed": 1}).add("A", Block([0, 1], torch.tensor([[True, True]])))
    progress = Progress(tmp_path, {"seed": 1}, resume=True)
    [block] = progress.stored("A", [[0, 1]])
    assert block.right.tolist() == [[True, True]]
    assert progress.stored("A", [[0, 1, 2], [0]]) == progress.stored("B", [[0, 1]]) == []


@pytest.mark.parametrize(
    ("there", "here", "expected"),
    [
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 2]}}, None),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, ("a.b.1", 2, 3)),
        ({"a": [1, 2]}, {"a": [1]}, ("a", [1, 2], [1])),
        ({"a": 1}, {"a": 1, "b": 2}, ("b", None, 2)),
        ({"a": 1, "b": 2}, {"a": 1}, ("b", 2, None)),
        ({"a": {"b": 1}}, {"a": 1}, ("a", {"b": 1}, 1)),
    ],
)
def test_the_first_difference(there: Any, here: Any, expected: tuple | None) -> None:
    assert difference(there, here) == expected


def test_files_that_a_config_names_count_by_their_content(tmp_path: Path) -> None:
    path = tmp_path / "surrogate.pth"
    config = {"attacks": [{"type": "PGD", "adversary": {"checkpoint": str(path)}, "steps": (1, 2)}]}
    path.write_bytes(b"one")
    first = by_content(config)
    path.write_bytes(b"two")
    assert difference(first, by_content(config))[0] == "attacks.0.adversary.checkpoint"
    assert first["attacks"][0]["type"] == "PGD" and first["attacks"][0]["steps"] == [1, 2]
    described = {"attacks": "type=PGD, steps=3; " * 30, "zero": "\0", "root": str(tmp_path)}  # no files, no weights
    assert by_content(described) == described


def test_a_folder_of_weights_counts_by_what_is_read_of_it(tmp_path: Path) -> None:
    first, copy = tmp_path / "first", tmp_path / "copy"
    first.mkdir()
    (first / "model.safetensors").write_bytes(b"weights")
    (first / "config.json").write_text("{}")
    shutil.copytree(first, copy)
    (copy / "README.md").write_text("of no consequence")

    def content(folder: Path) -> Any:
        return by_content({"adversary": {"checkpoint": str(folder)}})

    assert content(first) == content(copy) and str(tmp_path) not in str(content(first))
    (copy / "config.json").write_text('{"mean": [0.5]}')  # how pixels are normalised
    assert difference(content(first), content(copy))[0] == "adversary.checkpoint.config.json"
    (first / "model.safetensors").write_bytes(b"others")
    assert content(first)["adversary"]["checkpoint"]["model.safetensors"] == sha256(first / "model.safetensors")


def test_a_stored_model_counts_by_its_content_too(tmp_path: Path) -> None:
    """Its name without the fingerprint finds it (natx.models.weights.weights_path)."""
    folder = tmp_path / "adversaries" / "vt-0123456789abcdef"
    folder.mkdir(parents=True)
    (folder / "done.json").write_text("{}")
    (folder / "best.safetensors").write_bytes(b"one")
    config = {"checkpoint": str(tmp_path / "vt" / "best.safetensors")}
    assert by_content(config) == by_content({"checkpoint": str(folder / "best.safetensors")})
    assert by_content(config)["checkpoint"] == sha256(folder / "best.safetensors")


@pytest.mark.parametrize("right", [[], ["1"], ["10", "1"], ["12"]])
def test_blocks_that_do_not_fit_are_damage(tmp_path: Path, right: list[str]) -> None:
    progress = Progress(tmp_path, {"seed": 1})
    progress.add("A", Block([0, 1], torch.tensor([[True, True]])))
    content = json.loads(progress.path.read_text())
    content["blocks"]["A"][0]["right"] = right
    progress.path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="is damaged"):
        Progress(tmp_path, {"seed": 1}, resume=True)


def test_progress_is_json_for_strict_readers_and_goes_on_with_what_json_cannot_say(tmp_path: Path) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(word)

    evaluation = {"cap": float("inf"), "sizes": (1.5, float("nan")), "name": "größer"}
    Progress(tmp_path, evaluation).add("A", Block([0], torch.tensor([[True]]), notes=["größer"]))
    content = json.loads((tmp_path / "progress.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert content["evaluation"] == {"cap": None, "sizes": [1.5, None], "name": "größer", "processes": 1}
    [block] = Progress(tmp_path, evaluation, resume=True).stored("A", [[0]])
    assert block.notes == ["größer"]


def test_models_whose_logits_are_no_numbers_are_refused(tmp_path: Path) -> None:
    """argmax would call some class of them."""
    task = TinyCNNTask(batch_norm=False, double=True)
    with torch.no_grad():
        task.net[0].weight[0, 0, 0, 0] = torch.nan
    save_weights(tmp_path / "tiny.safetensors", task, meta={})
    with pytest.raises(DataError, match="NaN or infinite logits for clean images") as error:
        judged(tmp_path / "tiny.safetensors", None, resume=False)
    assert "\n" not in str(error.value)
