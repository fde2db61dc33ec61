"""Training and judging re-identification models: copies, identity maps, other heads, resuming, plain torchreid."""

from __future__ import annotations

import json
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forks import run_tool
from mmengine.config import Config
from PIL import Image
from safetensors.torch import load_file
from street import draw_street
from torch import Tensor
from workshop import Workshop, merged, write_config

from natx.attacks import PGD
from natx.config import load_config, plain_dict
from natx.data import hold_out, subset
from natx.errors import CheckpointError, ConfigError
from natx.evaluation import evaluate_set
from natx.judging.judge import judge
from natx.models.checkpoint import load_state, load_weights, save_weights
from natx.models.weights import read_meta
from natx.registry import TASKS
from natx.threat import Linf
from natx.training.build import build_runner
from natx.training.frozen_models import adversary_recipe, frozen_models
from natx.training.rehearsal import rehearse
from natx.training.run import train
from natx.training.selection import Selection
from tasks.reid import ReIDTask
from tasks.reid.datasets import MSMT17, Market1501
from tasks.reid.metrics import Retrieval
from tasks.reid.objectives import FNA, IFGSM

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its ranking wants a Cython extension
    from torchreid.reid.models import build_model
    from torchreid.reid.utils import load_pretrained_weights

CPU = torch.device("cpu")
MODEL, SIZE = "squeezenet1_1", {"height": 64, "width": 32}
EIGHT = {"type": "Linf", "eps": 8 / 255}
CLIMB = {"type": "PGD", "threat": EIGHT, "steps": 3, "step_size": 2 / 255, "random_start": False}
IMAGENET = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])

ATTACKS = {
    "attacks": [
        {**CLIMB, "name": "FNA", "objective": {"type": "FNA"}},
        {**CLIMB, "name": "SMA", "objective": {"type": "SMA"}, "random_start": True},
        {**CLIMB, "name": "IFGSM", "objective": {"type": "IFGSM"}},
    ],
    "paper": {"None": {"Clean": "78.49/92.01", "FNA": "0.20/0.17"}},
}
PICTURES = {name: f"examples-{name}.png" for name in ("FNA", "SMA", "IFGSM")}


def base(root: Path, **changes: Any) -> dict[str, Any]:
    """Three steps an epoch on clean images, four people with two images each in a batch."""
    content: dict[str, Any] = {
        "custom_imports": {"imports": ["tasks.reid"]},
        "seed": 0,
        "data": {
            "train": {"type": "Market1501", "root": str(root), "train": True, **SIZE},
            "test": {"type": "Market1501", "root": str(root), "train": False, **SIZE},
            "heldout": 0,
            "batch_size": 8,
            "sampler": {"type": "IdentitySampler", "instances": 2},
            "augments": [
                {"type": "RandomFlip"},
                {"type": "RandomCrop", "padding": 4},
                {"type": "RandomErasing"},
            ],
        },
        "task": {"type": "ReIDTask", "model": MODEL, "num_classes": 6, **SIZE},
        "method": {"type": "Standard"},
        "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "Adam", "lr": 1e-3}},
        "train_cfg": {"max_epochs": 2},
        "metric": {"type": "Retrieval"},
        "paper_row": "None",
        "vis_backends": [{"type": "LocalVisBackend"}],
    }
    return merged(content, changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, draw_street: Callable[..., Path]) -> Path:
    """Configs beside a small street, and trainings on offline copies without and with the nasty term."""
    folder = tmp_path_factory.mktemp("reid")
    first = base(draw_street(folder / "street"))
    source = {"config": str(write_config(folder / "base.py", first))}
    climb = {**CLIMB, "objective": {"type": "IFGSM", "guides": "all"}}
    method: dict[str, Any] = {
        "type": "Adversarial",
        "views": ("clean", "adv"),
        "attack": {"type": "Copies", "threat": EIGHT},
    }
    amd = merged(first, {"data": {"copies": {"source": source, "attack": climb}}, "method": method, "paper_row": None})
    nasty = {"type": "NastyKL", "weight": 0.01, "temperature": 20.0, "adversary": source}
    amd_nat = {**amd, "method": {**method, "terms": [{"type": "TaskLoss"}, nasty]}}
    write_config(folder / "attacks.py", ATTACKS)
    for name, content in (("amd", amd), ("amd_nat", amd_nat)):
        config = write_config(folder / f"{name}.py", {**content, "train_cfg": {"max_epochs": 1}})
        train(load_config(config), folder / "runs" / name, device=CPU)
    return folder


@pytest.fixture(scope="module")
def weights(folder: Path) -> Path:
    """The undefended model's."""
    (path,) = (folder / "runs" / "adversaries").glob("base-*/best.safetensors")
    return path


def config(folder: Path, name: str = "base", **options: Any) -> Config:
    return load_config(folder / f"{name}.py", options=options)


def model(path: Path | None = None, **settings: Any) -> ReIDTask:
    """In eval mode, with weights from a file or the same random ones every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        task = ReIDTask(MODEL, 6, **SIZE, **settings)
    if path is not None:
        load_weights(task, path)
    return task.eval()


def scalars(work_dir: Path) -> list[dict[str, Any]]:
    (path,) = work_dir.glob("*/vis_data/scalars.json")
    return [json.loads(line) for line in path.read_text().splitlines()]


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[key]) for key, value in first.items())


def images(count: int = 4) -> Tensor:
    return torch.rand(count, 3, 64, 32, generator=torch.Generator().manual_seed(0))


def normalised(x: Tensor) -> Tensor:
    mean, deviation = IMAGENET.view(2, 1, 3, 1, 1)
    return (x - mean) / deviation


def refused(error: Any, *texts: str) -> None:
    """A user's mistake in one line."""
    assert "\n" not in str(error.value) and all(text in str(error.value) for text in texts), str(error.value)


# --- clean, then on copies, then with the nasty term -----------------------------------------------------------------


def test_the_undefended_model_is_trained_once_as_the_source_of_copies_and_as_the_adversary(folder: Path) -> None:
    store = sorted(path.name.split("-")[0] for path in (folder / "runs" / "adversaries").iterdir())
    assert store == ["base", "copies"]
    for name, nasty in (("amd", False), ("amd_nat", True)):
        (logged,) = [line for line in scalars(folder / "runs" / name) if "loss" in line][-1:]
        assert {"loss_id", "loss_triplet", "total_clean", "total_adv"} <= logged.keys()
        assert ("loss_nasty" in logged) == nasty and np.isfinite(logged["loss"])
        assert load_state(folder / "runs" / name / "last.pth")["meta"]["iter"] == 3
    trained = [load_file(folder / "runs" / name / "best.safetensors") for name in ("amd", "amd_nat")]
    assert trained[0].keys() == trained[1].keys() and not equal(*trained)


def test_the_copies_lie_in_the_ball_and_away_from_their_identity(folder: Path, weights: Path) -> None:
    (block,) = (folder / "runs" / "adversaries").glob("copies-*/block-*.npy")
    copies, data = torch.from_numpy(np.load(block)), Market1501(folder / "street", **SIZE)
    x = data.__getitems__(range(24))["inputs"]
    assert copies.dtype == torch.uint8 and copies.shape == x.shape == (24, 3, 64, 32)
    assert int((copies.int() - x.int()).abs().max()) == 6  # three steps of 2
    clean, moved = (model(weights).predict({"inputs": pixels}) for pixels in (x, copies))
    means = torch.stack([clean[data.labels == label].mean(0) for label in data.labels])
    assert ((moved - means).norm(dim=1) > (clean - means).norm(dim=1)).all()


def test_a_checkpoint_names_its_identities(folder: Path, weights: Path) -> None:
    for path in (weights, folder / "runs" / "amd_nat" / "last.safetensors"):
        assert read_meta(path)["classes"] == ["2", "5", "7", "11", "13", "17"]
    assert read_meta(folder / "runs" / "amd_nat" / "best.safetensors")["terms"][1]["type"] == "NastyKL"
    assert load_state(folder / "runs" / "amd" / "last.pth")["meta"]["classes"][-1] == "17"


def test_an_adversary_with_other_identities_is_refused_though_their_number_is_the_same(
    folder: Path, weights: Path, tmp_path: Path
) -> None:
    task, other = model(weights), tmp_path / "other.safetensors"
    save_weights(other, task, meta={**read_meta(weights), "classes": ["2", "5", "7", "11", "13", "18"]})
    asked = config(folder, "amd_nat")
    for entry, known in ((asked.method.terms[1].adversary, other), (asked.data.copies.source, weights)):
        entry.checkpoint = str(known)
    with pytest.raises(ConfigError) as error:
        train(asked, tmp_path / "run", device=CPU)
    refused(error, "trained on other classes", "class 5 is '18' there and '17' here")
    # A file from elsewhere says nothing of identities: the number of classes has to do.
    torch.save(task.upstream.state_dict(), tmp_path / "plain.pth")
    asked.method.terms[1].adversary.checkpoint = str(tmp_path / "plain.pth")
    build_runner(asked, tmp_path / "plain" / "run", device=CPU)


def test_online_training_takes_its_guides_from_the_batch(folder: Path, tmp_path: Path) -> None:
    attack = {**CLIMB, "steps": 2, "random_start": True, "objective": {"type": "IFGSM", "guides": "batch"}}
    asked = config(folder, train_cfg={"max_epochs": 1})
    asked.method = {"type": "Adversarial", "views": ("clean", "adv"), "attack": attack}
    train(asked, tmp_path / "run", device=CPU)
    assert np.isfinite(scalars(tmp_path / "run")[-1]["loss"])
    assert not (tmp_path / "adversaries").exists()


def test_copies_and_batches_of_identities_are_those_of_the_images_that_are_not_held_out(
    folder: Path, weights: Path
) -> None:
    asked = config(folder, "amd", **{"data.heldout": 2})
    asked.data.copies.source.checkpoint = str(weights)
    loader = build_runner(asked, folder / "runs" / "held out", device=CPU).train_dataloader
    (block,) = (folder / "runs" / "adversaries").glob("copies-*/block-*.npy")  # no other folder was made
    whole, rest = Market1501(folder / "street", **SIZE), hold_out(Market1501(folder / "street", **SIZE), 2)[0]
    assert len(loader) == 2 and len(rest) == 16
    for batch in loader:
        index = batch["index"]
        assert set(index.tolist()) <= set(rest.positions)
        assert torch.equal(batch["data_samples"], whole.labels[index])
        assert sorted(batch["data_samples"].bincount().tolist())[-4:] == [2, 2, 2, 2]
        assert torch.equal(batch["copies"], torch.from_numpy(np.load(block))[index])


def test_held_out_identities_choose_the_epoch_under_a_guided_attack(folder: Path, weights: Path) -> None:
    """Their images keep the index that they have in the training set."""
    _, held = hold_out(Market1501(folder / "street", **SIZE), 3, seed=0)
    assert max(held.index) >= len(held)
    attack = PGD(Linf(8 / 255), 2, random_start=False, objective=FNA())
    scores = Selection(held, "held-out identities", attack=attack, metric=Retrieval())(model(weights))
    assert 0 < scores["robust"] < scores["clean"] <= 100


def test_the_weights_and_their_average_are_both_judged(folder: Path, tmp_path: Path) -> None:
    options = {"data.heldout": 2, "ema.decay": 0.9, "ema.warmup": 0.0, "train_cfg.max_epochs": 1}
    best = train(config(folder, **options), tmp_path / "run", device=CPU)
    meta, state = read_meta(best), load_state(tmp_path / "run" / "last.pth")
    assert meta["holds"] == meta["best"]["weights"]
    assert equal(load_file(best), state["weights" if meta["holds"] == "average" else "live"])
    assert not equal(state["weights"], state["live"])
    assert "their average: clean" in next((tmp_path / "run").rglob("*.log")).read_text()


# --- judging ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def report(folder: Path, weights: Path) -> dict[str, Any]:
    return judge(config(folder), weights, load_config(folder / "attacks.py"), device=CPU, batch_size=3)


def test_a_report_has_every_column_its_values_and_the_paper_s_row(report: dict[str, Any]) -> None:
    values = {column["name"]: column["values"] for column in report["columns"]}
    assert list(values) == ["Clean", "FNA", "SMA", "IFGSM"] and report["cell"] == ["mAP", "Rank-1"]
    assert all(values[name]["mAP"] < values["Clean"]["mAP"] <= 100 for name in ("FNA", "SMA", "IFGSM"))
    assert (report["images"], report["attacked"]) == (7 + 9, 7)  # junk is left out
    assert report["paper"]["name"] == "paper: None" and report["settings"]["data"] == "Market1501, all 7 query images"
    costs = [(attack["forwards"], attack["backwards"]) for attack in report["attacks"]]
    assert costs == [(16, 0), (7 * 4, 7 * 3), (7 * 5, 7 * 3), (7 * 4, 7 * 3)]
    assert "head" not in report["settings"]


def test_a_person_with_a_single_query_is_reported_under_ifgsm(report: dict[str, Any]) -> None:
    notes = {attack["columns"][0]: [n for n in attack["notes"] if "guide" in n] for attack in report["attacks"]}
    assert notes["FNA"] == notes["SMA"] == []
    (note,) = notes["IFGSM"]
    assert note.startswith("1 of 7 attacked images have no guide of their identity but themselves")


def test_judging_does_without_a_head_of_another_number_of_identities(
    folder: Path, weights: Path, report: dict[str, Any]
) -> None:
    attacks = load_config(folder / "attacks.py")
    other = judge(config(folder, **{"task.num_classes": 9}), weights, attacks, device=CPU, batch_size=3)
    for key in ("columns", "images", "attacked"):
        assert other[key] == report[key]
    told = "the checkpoint was trained with other settings of task than base.py has now"
    assert other["notes"] == [*report["notes"], told]
    assert [attack["notes"] for attack in other["attacks"]] == [attack["notes"] for attack in report["attacks"]]
    assert other["settings"]["head"] == "classifier.weight of best.safetensors does not fit and was not loaded"


def test_judging_refuses_another_network_whatever_its_head(folder: Path, weights: Path) -> None:
    attacks = load_config(folder / "attacks.py")
    for option, value, reason in (
        ("task.model", "shufflenet_v2_x0_5", "another architecture"),
        ("task.bnneck", False, "set task.bnneck=True"),
    ):
        with pytest.raises(CheckpointError) as error:
            judge(config(folder, **{option: value, "task.num_classes": 9}), weights, attacks, device=CPU)
        refused(error, reason)


def test_a_model_is_judged_on_people_of_another_set(folder: Path, weights: Path, tmp_path: Path) -> None:
    """Cross-domain: another reader and other people; the head of the training's identities takes no part."""
    street, root = draw_street(tmp_path / "other", people=(3, 4)), tmp_path / "MSMT17"
    for part, source in (("query", "query"), ("gallery", "bounding_box_test")):
        lines = []
        for path in sorted((street / source).glob("01*.png")):
            person, camera = path.name.split("_")[0], path.name.split("_c")[1][0]
            name = f"{person}/{person}_{len(lines):03d}_0{camera}_0113noon_0_0.png"
            (root / "test" / person).mkdir(parents=True, exist_ok=True)
            path.rename(root / "test" / name)
            lines.append(f"{name} {int(person) - 100}")
        (root / f"list_{part}.txt").write_text("\n".join(lines))
    attacks = load_config(folder / "attacks.py")
    elsewhere = {"data.test.type": "MSMT17", "data.test.root": str(root), "metric.rerank.k1": 5}
    report = judge(config(folder, **elsewhere), weights, attacks, device=CPU)
    other = judge(config(folder, **elsewhere, **{"task.num_classes": 702}), weights, attacks, device=CPU)
    assert report["settings"]["data"].startswith("MSMT17") and report["columns"] == other["columns"]
    dataset = MSMT17(root, train=False, **SIZE)
    with torch.no_grad():
        features = model(weights).predict(dataset.__getitems__(range(len(dataset))))
    values = Retrieval(rerank={"k1": 5})(features, dataset)
    assert report["columns"][0]["values"] == pytest.approx(values, abs=0.1) and "mAP re-ranked" in values


def test_a_smaller_batch_reaches_the_models_that_are_trained_first(folder: Path, tmp_path: Path) -> None:
    """Six people fill no batch of eight: what the user lowers is lowered for the adversary and the copies' source."""
    street = draw_street(tmp_path / "street", people=(2, 5, 7))
    few = {"data.train.root": str(street), "data.test.root": str(street), "task.num_classes": 3}
    changed = config(folder, "amd_nat", **few, **{"data.batch_size": 6})
    for entry in frozen_models(changed):
        recipe = adversary_recipe(changed, entry, tmp_path)
        assert recipe.data.batch_size == 6 and recipe.data.sampler == changed.data.sampler
        own = adversary_recipe(changed, {**entry, "options": {"data.batch_size": 4}}, tmp_path)
        assert own.data.batch_size == 4
    assert [type(step).__name__ for step in rehearse(changed, tmp_path / "run", device=CPU)][-1] == "Rehearsal"
    with pytest.raises(ConfigError) as error:
        for _ in rehearse(config(folder, "amd_nat", **few), tmp_path / "run", device=CPU):
            pass
    refused(error, "base.py", "a batch of 8 with instances=2 needs 4 identities; the training set has 3")


def test_training_and_adversaries_refuse_a_head_of_another_number_of_identities(
    folder: Path, weights: Path, tmp_path: Path, draw_street: Callable[..., Path]
) -> None:
    nine = {"task.num_classes": 9}
    with pytest.raises(CheckpointError) as error:
        train(config(folder, **nine, **{"task.checkpoint": str(weights)}), tmp_path / "start", device=CPU)
    refused(error, "cannot start this training: classifier.weight is (6, 512), the model's (9, 512)")
    started = TASKS.build(
        plain_dict(config(folder, **nine, **{"task.checkpoint": str(weights), "task.new_head": True}).task)
    )
    assert started.classes is None and len(started.net.classifier.weight) == 9
    assert torch.equal(started.net.bnneck.running_mean, load_file(weights)["bnneck.running_mean"])
    asked = config(folder, "amd_nat")
    asked.data.pop("copies")
    asked.method.terms[1].adversary = {"task": {**asked.task, "num_classes": 9}, "checkpoint": str(weights)}
    with pytest.raises(CheckpointError) as error:
        train(asked, tmp_path / "adversary", device=CPU)
    refused(error, "classifier.weight is (6, 512), expected (9, 512)", "check the number of classes")
    street = draw_street(folder / "more people", people=(2, 5, 7, 11, 13, 17, 19))
    options = {"task.num_classes": 7, "data.train.root": str(street)}
    with pytest.raises(CheckpointError) as error:
        train(config(folder, "base", **options), weights.parent, device=CPU, resume=True)
    refused(error, "another config")


def test_resuming_over_weights_of_another_number_of_identities_is_refused(folder: Path, tmp_path: Path) -> None:
    """Even where the state claims to be of this config."""
    run, asked = tmp_path / "run", config(folder, **{"train_cfg.max_epochs": 1})
    train(asked, run, device=CPU)
    state = load_state(run / "last.pth")
    state["weights"]["classifier.weight"] = torch.zeros(9, 512)
    torch.save(state, run / "last.pth")
    with pytest.raises(CheckpointError) as error:
        train(asked, run, device=CPU, resume=True)
    refused(error, "classifier.weight is (9, 512), expected (6, 512)")


def test_the_tool_writes_report_and_pictures(folder: Path, weights: Path, shop: Workshop) -> None:
    out = shop.folder / "out"
    options = ("--attacks", folder / "attacks.py", "--out", out, "--subset", "3", "--cfg-options", "task.num_classes=9")
    ran = shop.run("test.py", folder / "base.py", weights, *options)
    assert ran.code == 0, ran.err
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [*PICTURES.values(), "report.json", "report.md", "report.html"]
    )
    written = json.loads((out / "report.json").read_text())
    assert written["attacked"] == 3 and written["pictures"] == PICTURES
    assert written["settings"]["data"] == "Market1501, 3 evenly spaced of the 7 query images"
    for file in PICTURES.values():
        with Image.open(out / file) as picture:
            assert picture.format == "PNG" and np.asarray(picture.convert("L")).std() > 10
    text = (out / "report.md").read_text()
    assert all(f"![{name}: examples clean and attacked]({file})" in text for name, file in PICTURES.items())
    assert "| paper: None | 78.49/92.01 | 0.20/0.17 |" in text
    for attack in written["attacks"][1:]:
        size = attack["perturbation"]
        assert size["linf"] == pytest.approx(6 / 255, abs=3 / 255) and size["changed"] == size["images"] == 3
        assert f"mean PSNR {size['psnr']:.1f} dB, 3 of 3 images changed |" in text and "success" not in attack
    assert "- head: classifier.weight of best.safetensors does not fit and was not loaded" in text
    clean = written["columns"][0]["values"]
    cell = f"{clean['mAP']:.2f}/{clean['Rank-1']:.2f}"
    assert cell in text and cell in ran.out
    assert "note: images of identity -1 left out of bounding_box_test: 1 of 10" in ran.out
    assert "no guide of their identity" not in ran.out  # queries that are not judged are guides all the same
    assert "\nFNA: perturbation at most " in ran.out and "written:" in ran.out
    assert all(f"picture ({name}): {out / file}" in ran.out for name, file in PICTURES.items())
    chance = next(note for note in written["notes"] if note.startswith("a ranking at random gives mAP/Rank-1 of "))
    assert f"Note: {chance}." in text and f"Note: {chance}." in (out / "report.html").read_text()


def test_a_query_in_a_subset_is_attacked_as_in_the_whole_set(folder: Path, weights: Path) -> None:
    whole, given = Market1501(folder / "street", False, **SIZE), []

    class Recorded(Retrieval):
        def __call__(self, predictions: Tensor, dataset: Any) -> dict[str, float]:
            given.append(predictions)
            return super().__call__(predictions, dataset)

    for objective in (FNA, IFGSM):
        attack = PGD(Linf(8 / 255), 3, random_start=False, objective=objective(), name="guided")
        given.clear()
        pixels, few_pixels = (
            evaluate_set(model(weights), dataset, [attack], metric=Recorded(), batch_size=1).examples.columns["guided"][
                1
            ]
            for dataset in (whole, subset(whole, 3))  # the queries 0, 2 and 4 of 7
        )
        _, features, _, few_features = given
        assert torch.equal(few_pixels[0], pixels[0]) and torch.equal(few_pixels[1], pixels[2])
        assert torch.equal(few_features[[0, 2, 4]], features[[0, 2, 4]])
        assert not torch.equal(few_features[1], features[1])  # not judged, so not attacked


# --- resuming --------------------------------------------------------------------------------------------------------

# Named in custom_imports: SIGKILL after the second step of the second epoch.
KILLER = """
import os, signal
from natx.training.hooks import LogValues

check = LogValues.after_train_iter


def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
    check(self, runner, batch_idx, data_batch, outputs)
    if [runner.epoch + 1, batch_idx + 1] == [2, 2]:
        os.kill(os.getpid(), signal.SIGKILL)


if os.environ.get("NATX_TEST_KILL"):
    LogValues.after_train_iter = after_train_iter
"""


def test_a_run_that_was_killed_ends_with_the_weights_of_one_that_was_not(
    folder: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other run is the copies' source: the same config."""
    (tmp_path / "natx_test_reid_killer.py").write_text(KILLER)
    monkeypatch.syspath_prepend(tmp_path)
    content = base(folder / "street", custom_imports={"imports": ["tasks.reid", "natx_test_reid_killer"]})
    path, run = write_config(tmp_path / "killed.py", content), tmp_path / "run"
    words = (path, "--work-dir", run)
    done = run_tool("train.py", *words, folders=(tmp_path,), NATX_TEST_KILL="yes")
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert load_state(run / "last.pth")["meta"]["epoch"] == 1
    train(load_config(path), run, device=CPU, resume=True)
    assert load_state(run / "last.pth")["meta"]["epoch"] == 2
    assert equal(load_file(run / "last.safetensors"), load_file(weights.parent / "last.safetensors"))


# --- plain torchreid -------------------------------------------------------------------------------------------------


def plain(classes: int = 6) -> Any:
    return build_model(MODEL, num_classes=classes, loss="triplet", pretrained=False, use_gpu=False).eval()


def embedded(net: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        return net(normalised(x))


def test_weights_without_neck_load_strictly_into_plain_torchreid(tmp_path: Path) -> None:
    task, net, x = model(bnneck=False), plain(), images()
    save_weights(tmp_path / "weights.safetensors", task, meta={})
    net.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(embedded(net, x), task.predict({"inputs": x}))


def test_weights_with_neck_give_plain_torchreid_the_backbone(weights: Path, tmp_path: Path, capsys: Any) -> None:
    net, x, tensors = plain(), images(), load_file(weights)
    with torch.no_grad():
        feature = model(weights).network(x, {})["feature"]
    found = net.load_state_dict(tensors, strict=False)
    neck = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert found.missing_keys == ["classifier.bias"]
    assert sorted(found.unexpected_keys) == sorted(f"bnneck.{key}" for key in neck)
    assert torch.equal(embedded(net, x), feature)
    torch.save({"state_dict": tensors}, tmp_path / "weights.pth")
    net = plain(9)  # its own loader skips what does not fit, a head of other identities too
    load_pretrained_weights(net, str(tmp_path / "weights.pth"))
    assert "Successfully loaded" in capsys.readouterr().out
    assert torch.equal(embedded(net, x), feature)


@pytest.mark.parametrize("nested", [False, True])
def test_plain_torchreid_weights_load_into_the_task_without_neck(tmp_path: Path, nested: bool) -> None:
    net, x, path = plain(), images(), tmp_path / "plain.pth"
    torch.save({"state_dict": net.state_dict(), "epoch": 60} if nested else net.state_dict(), path)
    expected = embedded(net, x)
    for task in (model(path, bnneck=False), model(bnneck=False, checkpoint=path)):
        raw = task.network(x, {})
        assert torch.equal(raw["embedding"], expected)
        assert torch.equal(raw["logits"], net.classifier(expected))
    with pytest.raises(CheckpointError) as error:
        model(path)
    refused(error, "no batch-norm neck", "task.bnneck=False")
