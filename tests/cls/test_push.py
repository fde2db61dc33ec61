"""An exported classifier on the hub: pushed, described, and loaded from there by natx, by timm and by the tools."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from hub import TOKEN, served
from huggingface_hub import ModelCard
from workshop import PGD, Workshop

import natx
import tasks.cls  # noqa: F401 - registers its tasks
from natx.config import short_name
from natx.models.checkpoint import save_weights
from natx.registry import TASKS

TASK = dict(type="ClassificationTask", model="test_resnet", num_classes=10, model_args=dict(in_chans=1), image_size=8)
TERMS = [dict(type="TaskLoss"), dict(type="NastyKL", weight=0.06, temperature=4.0, adversary=dict(config="vt.py"))]
COLUMNS = [
    dict(name="Clean", accuracy=75.0, correct=30, images=40),
    dict(name="AA", accuracy=40, correct=16, images=40),
]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a hub's repositories."""
    (tmp_path / "hub").mkdir()
    with served(tmp_path / "hub", tmp_path / "cache", monkeypatch):
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield tmp_path / "hub"


@pytest.fixture
def trained(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A config and the checkpoint of a run, with a report of it."""
    monkeypatch.chdir(shop.folder)
    network = {
        "task": None,
        "method": {"type": "Adversarial", "views": ("clean", "adv"), "attack": PGD, "terms": TERMS},
    }
    config = shop.digits("mine.py", **network)
    config.write_text(f"{config.read_text()}task = {TASK!r}\n")
    path = shop.folder / "run" / "best.safetensors"
    path.parent.mkdir()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        task = TASKS.build(dict(TASK))
    save_weights(path, task, meta=dict(task=TASK, epoch=2, seed=7, input_size=[1, 8, 8], classes=list("0123456789")))
    report = dict(
        name="mine",
        threat="Linf 51/255",
        success="any",
        images=40,
        columns=COLUMNS,
        worst_case=40.0,
        settings=dict(checkpoint_sha256=sha256(path.read_bytes()).hexdigest(), data="Digits, 40 of 360 test images"),
        provenance=dict(command=f"natx test mine.py {path} --attacks attacks/linf8_table --eps 51/255"),
    )
    (path.parent / "test").mkdir()
    (path.parent / "test" / "report.json").write_text(json.dumps(report))
    return config, path


def export(shop: Workshop, config: Path, path: Path | str, *words: object) -> Any:
    return shop.run("export.py", config, path, "--out", "out", *words)


def test_what_is_pushed_loads_in_natx_in_timm_and_in_the_tools(
    hub: Path, trained: tuple[Path, Path], shop: Workshop
) -> None:
    config, path = trained
    ran = export(shop, config, path, "--push", "owner/digits", "--license", "mit")
    assert ran.code == 0, ran.err
    assert f"/owner/digits/commit/{'a' * 40}" in ran.out
    there = hub / "owner" / "digits"
    assert sorted(file.name for file in there.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    x = torch.rand(3, 1, 8, 8)
    expected = natx.load(path)(x)
    model = natx.load("hf-hub:owner/digits")
    assert torch.equal(model(x), expected) and model.classes == tuple("0123456789")
    net = timm.create_model("hf-hub:owner/digits", pretrained=True).eval()
    assert torch.allclose(net((x - 0.5) / 0.5), expected, atol=1e-5)
    attacks = shop.write("quick.py", {"attacks": [PGD]})
    judged = shop.run("test.py", config, "hf-hub:owner/digits", "--attacks", attacks, "--subset", 10)
    assert judged.code == 0, judged.err
    # Beside the fetched copy it would be lost with the cache.
    assert Path("work_dirs/owner--digits/test-quick-model-10/report.json").is_file()
    started = shop.digits(
        "started.py",
        task=None,
        train_cfg={"max_epochs": 1},
        start={"checkpoint": "hf-hub:owner/digits"},
    )
    started.write_text(f"{started.read_text()}task = {TASK!r}\n")
    planned = shop.run("train.py", started, "--dry-run")
    assert planned.code == 0 and "hf-hub:owner/digits" in planned.out, planned.err


def test_the_card_has_licence_threat_command_and_the_reports_figures(
    hub: Path, trained: tuple[Path, Path], shop: Workshop
) -> None:
    config, path = trained
    ran = export(shop, config, path, "--push", "owner/digits", "--license", "mit", "--dry-run")
    assert ran.code == 0 and "not pushed to owner/digits" in ran.out, ran.err
    assert not [*hub.iterdir()]
    card = ModelCard.load("out/README.md")
    data = card.data
    assert (data.license, data.library_name, data.pipeline_tag) == ("mit", "timm", "image-classification")
    assert data.tags == ["natx", "adversarial-training"]
    assert data.natx["threat"] == "Linf 51/255" and data.natx["data"] == "Digits"
    assert data.natx["checkpoint_sha256"] == sha256(path.read_bytes()).hexdigest()
    figures = {figure.metric_name: (figure.metric_value, figure.metric_args) for figure in data.eval_results}
    assert {name: value for name, (value, _) in figures.items()} == {
        "Clean": 75.0,
        "AA, Linf 51/255": 40,
        "Worst case, Linf 51/255": 40.0,
    }
    low, high = figures["AA, Linf 51/255"][1]["interval"]
    assert 20 < low < 40 < high < 60
    assert {figure.dataset_name for figure in data.eval_results} == {"Digits, 40 of 360 test images"}
    for words in (
        'natx.load("hf-hub:owner/digits")',
        'timm.create_model("hf-hub:owner/digits", pretrained=True)',
        "natx train mine.py --seed 7",
        "natx test mine.py best.safetensors --attacks attacks/linf8_table --eps 51/255",
    ):
        assert words in card.text
    assert str(shop.folder) not in card.content


@pytest.mark.parametrize(
    ("words", "token", "line"),
    [
        (["--push", "owner/digits", "--license", "mit"], None, "--push needs a token of the Hugging Face hub"),
        (["--push", "owner/digits"], TOKEN, "say under which licence, --license apache-2.0"),
        (["--push", "digits", "--license", "mit"], TOKEN, "--push takes owner/name; got 'digits'"),
        (["--push", "a/b/c", "--license", "mit"], TOKEN, "--push takes owner/name; got 'a/b/c'"),
        (["--dry-run"], TOKEN, "--private and --dry-run are for --push"),
        (["--push", "owner/x", "--license", "mit"], "hf_another", "owner/x was not pushed: the Hugging Face hub"),
        (
            ["--push", "stranger/x", "--license", "mit"],
            TOKEN,
            "stranger/x was not pushed: the Hugging Face hub refuses",
        ),
    ],
)
def test_what_cannot_be_pushed_is_one_line(
    words: list[str],
    token: str | None,
    line: str,
    hub: Path,
    trained: tuple[Path, Path],
    shop: Workshop,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    assert line in export(shop, *trained, *words).error()
    assert Path("out").exists() == ("was not pushed" in line)  # the files are whole and can be pushed again


def test_configs_are_called_by_their_shipped_names() -> None:
    assert short_name("/somewhere/configs/cls/digits_nat.py") == "cls/digits_nat"
    assert short_name("attacks/linf8_table") == "attacks/linf8_table"
    assert short_name("/home/me/photos_nat.py") == "photos_nat.py"
