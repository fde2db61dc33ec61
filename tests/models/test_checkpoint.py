"""Checkpoints load anywhere, run nothing and never half-exist."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from workshop import DIGITS, Workshop, merged

from natx.errors import CheckpointError, StorageError
from natx.models.checkpoint import load_state, load_weights, plain, save_state, save_weights
from natx.models.weights import read_meta
from natx.registry import TASKS
from natx.runtime.files import sha256, write_atomic
from tasks.cls import ClassificationTask

TIMM = {"model": "test_resnet", "num_classes": 5, "image_size": 32}


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return Path.touch, (self.target,)


def small(**changes: Any) -> ClassificationTask:
    with torch.random.fork_rng():
        torch.manual_seed(changes.pop("seed", 0))
        return TASKS.build(merged(DIGITS["task"], changes)).eval()


def images(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def one_line(error: pytest.ExceptionInfo, *parts: str) -> None:
    message = str(error.value)
    assert "\n" not in message.strip()
    for part in parts:
        assert part in message


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work dir of a finished run of the tools (one epoch of the tiny digits net)."""
    from workshop import write_config

    from natx.config import load_config
    from natx.training.run import train

    folder = tmp_path_factory.mktemp("trained")
    path = write_config(folder / "digits.py", merged(DIGITS, {"train_cfg": {"max_epochs": 1}}))
    train(load_config(path), folder / "run", device=torch.device("cpu"))
    return folder / "run"


# --- what a run writes ------------------------------------------------------------------------------------------------

LOOK = """
import sys, torch
from safetensors.torch import load_file
folder = sys.argv[1]
weights = {name: load_file(f"{folder}/{name}.safetensors") for name in ("best", "last")}
state = torch.load(f"{folder}/last.pth", map_location="cpu", weights_only=True)
assert not {"natx", "tasks", "mmengine"} & {name.split(".")[0] for name in sys.modules}
assert all(torch.equal(weights["last"][key], value) for key, value in state["weights"].items())
assert weights["last"].keys() == state["weights"].keys()
assert state["meta"]["epoch"] == 1
print(sorted(state), sorted(weights["best"])[:1])
"""


def test_files_load_in_a_process_without_natx(trained: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(trained)],
        cwd=tmp_path,  # where no natx can be imported from
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "body.0.0.weight" in done.stdout


def test_weights_say_what_they_are(trained: Path) -> None:
    meta = read_meta(trained / "best.safetensors")
    assert meta["task"] == DIGITS["task"]
    assert meta["epoch"] == 1
    assert meta["selected_on"].startswith("100 held-out training images, by ")
    with safe_open(trained / "best.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["natx"]) == meta


def test_done_names_the_best_weights_by_hash(trained: Path) -> None:
    assert json.loads((trained / "done.json").read_text())["best"] == sha256(trained / "best.safetensors")


def test_weights_load_in_plain_timm_with_equal_logits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = ClassificationTask(**TIMM)
    task.train()
    for seed in range(3):  # batch-norm statistics that are not the initial ones
        task.net(torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(seed)))
    task.eval()
    save_weights(tmp_path / "best.safetensors", task, meta={})
    net = timm.create_model("test_resnet", num_classes=5).eval()
    net.load_state_dict(load_file(tmp_path / "best.safetensors"), strict=True)
    cfg = timm.get_pretrained_cfg("test_resnet")
    x = images(4, 3, 32, 32)
    normalised = (x - torch.tensor(cfg.mean).view(3, 1, 1)) / torch.tensor(cfg.std).view(3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(task.logits(x), net(normalised), rtol=1e-6, atol=1e-6)


def test_tied_weights_are_saved(tmp_path: Path) -> None:
    task = small()
    task.net.register_parameter("again", task.net.fc.weight)
    save_weights(tmp_path / "tied.safetensors", task, meta={})
    state = load_file(tmp_path / "tied.safetensors")
    assert torch.equal(state["again"], state["fc.weight"])


# --- what is accepted -------------------------------------------------------------------------------------------------


def wrappings() -> dict[str, Any]:
    def prefixed(state: dict[str, Any]) -> dict[str, Any]:
        return {f"module.{key}": value for key, value in state.items()}

    return {
        "plain": lambda state: state,
        "module prefix": prefixed,
        "state_dict": lambda state: {"state_dict": state, "epoch": 3},
        "model": lambda state: {"model": state, "optimizer": {"lr": 0.1}},
        "nested with prefix": lambda state: {"state_dict": {"model": prefixed(state)}},
        "ordered": OrderedDict,
    }


@pytest.mark.parametrize("way", wrappings())
def test_state_dicts_of_other_tools_are_accepted(tmp_path: Path, way: str) -> None:
    source, target = small(seed=1), small(seed=2)
    path = tmp_path / "weights.pth"
    torch.save(wrappings()[way](source.net.state_dict()), path)
    assert load_weights(target, path).keys() == {"weights"}
    x = images(3, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(source.logits(x), target.logits(x))


def test_upstream_safetensors_and_last_pth_are_accepted(tmp_path: Path, trained: Path) -> None:
    source, target = small(seed=1), small(seed=2)
    save_file(source.net.state_dict(), tmp_path / "upstream.safetensors")
    assert load_weights(target, tmp_path / "upstream.safetensors") == {"weights": "upstream.safetensors"}
    assert torch.equal(source.net.fc.weight, target.net.fc.weight)
    meta = load_weights(target, trained / "last.pth")
    assert meta["epoch"] == 1
    assert torch.equal(load_file(trained / "last.safetensors")["fc.weight"], target.net.fc.weight)


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["the whole file", "a value", "a key of the state", "legacy pickle"])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path: Path, where: str) -> None:
    target = tmp_path / "executed"
    payload, path = Payload(target), tmp_path / "evil.pth"
    state = small().net.state_dict()
    if where == "the whole file":
        path.write_bytes(pickle.dumps(payload, protocol=2))
    elif where == "a value":
        torch.save({"state_dict": state, "extra": payload}, path)
    elif where == "a key of the state":
        torch.save({**state, "fc.weight": payload}, path)
    else:
        torch.save({"state_dict": state, "extra": payload}, path, _use_new_zipfile_serialization=False)
    for read in (lambda: load_weights(small(), path), lambda: load_state(path)):
        with pytest.raises(CheckpointError) as error:
            read()
        one_line(error, str(path))
    assert not target.exists()
    torch.load(path, weights_only=False) if where != "the whole file" else pickle.loads(path.read_bytes())
    assert target.exists()  # the payload works: only the refusal kept it from running


def test_config_text_in_a_checkpoint_is_inert(tmp_path: Path, shop: Workshop) -> None:
    """mmengine's own resume runs the text in meta['config']."""
    marker = tmp_path / "executed"
    text = f"__import__('pathlib').Path({str(marker)!r}).touch()"
    config = shop.digits(train_cfg={"max_epochs": 1})
    run = tmp_path / "run"
    assert shop.run("train.py", config, "--work-dir", run).code == 0
    state = torch.load(run / "last.pth", weights_only=True)
    state["meta"]["config"] = state["meta"]["cfg"] = text
    state["config"] = text
    torch.save(state, run / "last.pth")
    assert load_weights(small(), run / "last.pth")["config"] == text
    resumed = shop.run("train.py", config, "--work-dir", run, "--resume")
    assert resumed.code == 0, resumed.err
    assert "1 of 1 epochs done" in resumed.out
    assert not marker.exists()


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.99])
@pytest.mark.parametrize("name", ["best.safetensors", "last.pth"])
def test_truncated_files(trained: Path, tmp_path: Path, name: str, kept: float) -> None:
    content = (trained / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(CheckpointError) as error:
        load_weights(small(), path)
    one_line(error, str(path), "truncated")


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_files_that_are_no_checkpoints(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(CheckpointError) as error:
        load_weights(small(), path)
    one_line(error, f"no checkpoint at {path}")
    path.write_text("Git LFS pointer: this is no model at all\n" * 10)
    with pytest.raises(CheckpointError) as error:
        load_weights(small(), path)
    one_line(error, str(path))


@pytest.mark.parametrize(
    "content",
    [[], {}, {"a": 1}, torch.ones(2), {"state_dict": {}}, {"format": "natx-1"}, {"format": "natx-1", "weights": 3}],
)
def test_tensor_files_without_a_state_dict(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError) as error:
        load_weights(small(), tmp_path / "odd.pth")
    one_line(error, "no state dict")


def test_resuming_from_something_else_is_refused(tmp_path: Path) -> None:
    torch.save(small().net.state_dict(), tmp_path / "last.pth")
    with pytest.raises(CheckpointError) as error:
        load_state(tmp_path / "last.pth")
    one_line(error, "no natx training state")


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"model": "resnet8_cifar", "model_args": {"in_chans": 1, "width": 1}}, ["another architecture"]),
        ({"num_classes": 7}, ["fc.", "(10", "(7", "number of classes"]),
        ({"model_args": {"width": 8}}, ["does not fit"]),
    ],
)
def test_another_architecture_and_class_count(trained: Path, changes: dict[str, Any], parts: list[str]) -> None:
    task = small(**changes)
    before = {key: value.clone() for key, value in task.net.state_dict().items()}
    with pytest.raises(CheckpointError) as error:
        load_weights(task, trained / "best.safetensors")
    one_line(error, "best.safetensors", *parts)
    assert all(torch.equal(value, before[key]) for key, value in task.net.state_dict().items())


# --- writing ----------------------------------------------------------------------------------------------------------


def test_plain_turns_numpy_scalars_into_numbers() -> None:
    value = plain(
        {"a": np.float64(0.5), "b": [np.int64(3), (np.bool_(True), None)], 4: "text", "t": nn.Parameter(torch.ones(2))}
    )
    assert value["a"] == 0.5
    assert type(value["a"]) is float
    assert type(value["b"][0]) is int
    assert type(value["b"][1][0]) is bool
    assert type(value["t"]) is torch.Tensor
    assert not value["t"].requires_grad
    assert value[4] == "text"
    assert type(plain(OrderedDict(a=1))) is dict


@pytest.mark.parametrize("value", [Path("x"), {1, 2}, np.ones(2), object(), small, torch.float32, b"bytes"])
def test_plain_refuses_unknown_types(value: object) -> None:
    with pytest.raises(TypeError, match=type(value).__name__):
        plain({"outer": [value]})


def test_a_refused_state_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "last.pth"
    save_state(path, {"weights": {"a": torch.ones(2)}})
    with pytest.raises(TypeError):
        save_state(path, {"weights": object()})
    assert torch.equal(load_state(path)["weights"]["a"], torch.ones(2))
    assert os.listdir(tmp_path) == ["last.pth"]


@pytest.mark.parametrize("interruption", [ValueError, OSError, KeyboardInterrupt, SystemExit])
def test_write_atomic_keeps_the_old_file_when_the_writer_raises(
    tmp_path: Path, interruption: type[BaseException]
) -> None:
    path = tmp_path / "file"
    write_atomic(path, lambda file: file.write(b"old"))

    def write(file: Any) -> None:
        file.write(b"half of the n")
        file.flush()
        assert path.read_bytes() == b"old"  # nobody ever sees the new file before it is whole
        raise interruption

    with pytest.raises(StorageError if interruption is OSError else interruption):
        write_atomic(path, write)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_write_atomic_flushes_to_disk_before_it_renames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append(("sync", os.fstat(handle).st_size)), sync(handle)))
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append(("rename", None)), replace(*paths)))
    write_atomic(tmp_path / "new" / "file", lambda file: file.write(b"12345"))
    assert done == [("sync", 5), ("rename", None)]
    assert (tmp_path / "new" / "file").read_bytes() == b"12345"
    assert (tmp_path / "new" / "file").stat().st_mode & 0o777 == 0o644
