"""tools/analyze.py from end to end on a small net for the digits and the same net with three times the logits."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.spatial.distance import cdist

from natx.cli.main import start
from natx.data import subset
from natx.models.checkpoint import save_weights
from natx.testing import fit
from tasks.cls import ClassificationTask
from tasks.cls.datasets import Digits

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
custom_imports = dict(imports=["tasks.cls"])
threat = dict(type="Linf", eps=30 / 255)
task = dict(type="ClassificationTask", model="small_cnn", num_classes=10, model_args=dict(in_chans=1, width=4))
data = dict(train=dict(type="Digits", train=True), test=dict(type="Digits", train=False))
method = dict(type="Standard", terms=[dict(type="NastyKL", temperature=5.0)])
"""
COUNT = 120


def run(*arguments: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["analyze.py", *map(str, arguments), "--device", "cpu"])
        patch.setitem(sys.modules, "umap", None)  # its compiler alone takes longer than all tests here
        start("analyze", [*map(str, arguments), "--device", "cpu"])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ClassificationTask]:
    """A folder with a config, a trained net and the same net with three times the class layer; the net."""
    folder = tmp_path_factory.mktemp("analyze")
    (folder / "digits.py").write_text(CONFIG)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        task = ClassificationTask("small_cnn", 10, model_args=dict(in_chans=1, width=4))
    fit(task, subset(Digits(train=True), 400), steps=40)
    save_weights(folder / "one.safetensors", task, meta={})
    with torch.no_grad():
        for parameter in task.classifier().parameters():
            parameter.mul_(3)
    save_weights(folder / "three.safetensors", task, meta={})
    with torch.no_grad():
        for parameter in task.classifier().parameters():
            parameter.div_(3)
    return folder, task


@pytest.fixture(scope="module")
def analysis(made: tuple[Path, ClassificationTask]) -> tuple[dict[str, Any], Path]:
    folder, _ = made
    pairs = [folder / "digits.py", folder / "one.safetensors", folder / "digits.py", folder / "three.safetensors"]
    what = ["--what", "sparsity", "series", "boundaries", "weights"]
    run(*pairs, *what, "--subset", COUNT, "--work-dir", folder / "out", "--class", "3")
    return json.loads((folder / "out" / "analysis.json").read_text()), folder / "out"


def test_the_numbers(analysis: tuple[dict[str, Any], Path], made: tuple[Path, ClassificationTask]) -> None:
    found, task = analysis[0], made[1]
    one, three = found["models"]
    assert [one["name"], three["name"]] == ["digits", "digits (2)"]
    assert found["temperatures"] == [1, 5] and found["shown"] == "3" and found["missing"] == []
    assert found["attack"]["threat"] == "Linf 30/255" and found["attack"]["steps"] == 20
    batch = Digits(train=False).__getitems__(range(COUNT))
    logits = task.logits(task.pixels(batch)).detach()
    right = 100 * float((logits.argmax(1) == batch["data_samples"]).double().mean())
    assert one["accuracy"]["clean"] == pytest.approx(right, abs=1e-3) and right > 80
    assert one["accuracy"]["adversarial"] < right
    # Around adversarial images nothing is claimed; around clean ones the estimate is a share of the rows.
    assert "beyond_eps" not in one["boundaries"]["adversarial"]["input_margin"]
    assert 0 <= one["boundaries"]["clean"]["input_margin"]["beyond_eps"] <= right
    p = torch.softmax(logits / 5, 1)[batch["data_samples"] == 3].mean(0)
    assert one["sparsity"]["clean"][1]["mean_output"][3] == pytest.approx(p.tolist(), rel=1e-3)
    weight = task.classifier().weight.detach()
    expected = torch.from_numpy(cdist(weight, weight))
    torch.testing.assert_close(torch.tensor(one["weights"]["difference"]).double(), expected, rtol=1e-4, atol=1e-5)


def test_the_series_is_against_the_first_model(analysis: tuple[dict[str, Any], Path], made: Any) -> None:
    found, task = analysis[0], made[1]
    one, three = found["models"]
    assert found["adversary"] == "digits" and "series" not in one
    logits = task.logits(task.pixels(Digits(train=False).__getitems__(range(COUNT)))).detach().double()
    for tau, entry in zip((1, 5), three["series"]["clean"]):
        target, adversary = torch.log_softmax(3 * logits / tau, 1), torch.log_softmax(logits / tau, 1)
        kl = (target.exp() * (target - adversary)).sum(1)
        assert entry["negative_kl"] == pytest.approx(-float(kl.mean()), rel=1e-3)
        inside = (adversary.exp() <= 2 * target.exp()).all(1)
        assert entry["converging"] == pytest.approx(100 * float(inside.double().mean()), abs=100 / COUNT + 1e-3)
        delta, q = adversary.exp() - target.exp(), target.exp()
        assert entry["terms"][1] == pytest.approx(float((-(delta**2) / q / 2).sum(1).mean()), rel=1e-2)
    assert three["series"]["adversarial"][0]["negative_kl"] < 0
    assert "Series of the nasty term" in (analysis[1] / "analysis.md").read_text()


def test_a_series_takes_two_models(made: Any, capsys: pytest.CaptureFixture[str]) -> None:
    model = (made[0] / "digits.py", made[0] / "one.safetensors")
    for words, message in (
        (model, "give the adversary's config and checkpoint"),
        ((*model, *model, "--adversary", "b"), "is none of the models: give digits, digits (2)"),
    ):
        with pytest.raises(SystemExit, match="2"):
            run(*words, "--what", "series")
        assert message in capsys.readouterr().err


def test_the_scale_of_the_logits_alone_is_no_sparsity(analysis: tuple[dict[str, Any], Path]) -> None:
    one, three = analysis[0]["models"]
    assert one["accuracy"]["clean"] == three["accuracy"]["clean"]
    at = [{entry["at"]: entry for entry in model["sparsity"]["clean"]} for model in (one, three)]
    assert at[1]["tau=1"]["all"]["gini"] > at[0]["tau=1"]["all"]["gini"]
    assert at[1]["matched confidence"]["temperature"] == pytest.approx(3, rel=1e-3)
    for kind in ("all", "non_target"):
        assert at[1]["matched confidence"][kind] == pytest.approx(at[0]["tau=1"][kind], rel=1e-3)
    near = [model["boundaries"]["clean"] for model in (one, three)]
    for key in ("feature_margin", "input_margin"):
        assert near[1][key]["correct"]["median"] == pytest.approx(near[0][key]["correct"]["median"], rel=1e-3)
    assert near[1]["own_class_distance"] == pytest.approx(near[0]["own_class_distance"], rel=1e-3)
    mean = [model["weights"]["mean"] for model in (one, three)]
    for key, factor in {"difference": 3, "shortest": 3, "shortest_symmetrised": 3, "angle": 1}.items():
        assert mean[1][key] == pytest.approx(factor * mean[0][key], rel=1e-3)


def test_the_files(analysis: tuple[dict[str, Any], Path]) -> None:
    found, folder = analysis
    files = set(found["figures"].values())
    assert files == {path.name for path in folder.glob("*.png")} and len(files) == 7
    assert all((folder / name).read_bytes().startswith(b"\x89PNG\r\n") for name in files)
    text = (folder / "analysis.md").read_text()
    assert all(f"({name})" in text for name in files) and "Eq. 13 is not computed" in text
    assert not list(folder.glob(".*.tmp"))


@pytest.mark.parametrize(("images", "why"), [(40, "pip install"), (2, "at least 5 rows, clean and adversarial ones")])
def test_without_umap_all_else_is_written(
    made: tuple[Path, ClassificationTask], capsys: pytest.CaptureFixture[str], images: int, why: str
) -> None:
    folder = made[0]
    out = folder / f"without-{images}"
    with pytest.raises(SystemExit) as stopped:
        run(folder / "digits.py", folder / "one.safetensors", "--subset", images, "--what", "umap", "--work-dir", out)
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert stopped.value.code == 2 and error.startswith("error: ") and why in error
    found = json.loads((out / "analysis.json").read_text())["models"][0]["separation"]
    if images == 40:
        assert -1 <= found["clean"]["silhouette"] <= 1 and found["clean"]["knn_accuracy"] > 50


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["digits.py"], "pairs CONFIG CHECKPOINT"),
        (["digits.py", "missing.safetensors"], "missing.safetensors"),
        (["digits.py", "one.safetensors", "--names", "a", "b"], "--names"),
        (["digits.py", "one.safetensors", "--class", "eleven"], "--class eleven is no class"),
        (["digits.py", "one.safetensors", "--temperatures", "0"], "temperature"),
        (["digits.py", "one.safetensors", "--subset", "0"], "subset"),
        (["digits.py", "one.safetensors", "--batch-size", "0"], "--batch-size"),
        (["digits.py", "one.safetensors", "other.py", "one.safetensors"], "different images"),
    ],
)
def test_bad_input_is_one_line(
    made: tuple[Path, ClassificationTask], capsys: pytest.CaptureFixture[str], arguments: list[str], match: str
) -> None:
    folder = made[0]
    (folder / "other.py").write_text(CONFIG.replace("train=False", "train=True"))
    paths = [folder / a if a.endswith((".py", ".safetensors")) else a for a in arguments]
    small = [] if "--subset" in arguments else ["--subset", "20"]
    with pytest.raises(SystemExit) as stopped:
        run(*paths, *small, "--what", "sparsity", "--work-dir", folder / "bad")
    error = capsys.readouterr().err.strip().splitlines()
    assert stopped.value.code == 2 and error[-1].startswith("error: ") and match in error[-1]
    assert not (folder / "bad" / "analysis.json").exists()
