"""natx init on generated folders, and the whole way from a folder to a model that is loaded again."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from baselines import without_nasty_term
from mmengine.logging import MMLogger
from PIL import Image
from workshop import ROOT

from natx.cli.main import start
from natx.config import TRAINING, frozen_models, load_config, plain_dict
from natx.data.starter import batch_size, epochs, quick_epochs
from natx.training.frozen_models import adversary_recipe
from natx.training.plan import describe_plan

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    texts = [*map(str, words)]
    MMLogger._instance_dict.clear()  # loggers of earlier runs write to streams that are closed by now
    monkeypatch.setattr(sys, "argv", ["natx", *texts])
    start(texts[0], texts[1:])


def picture(path: Path, *, number: int, height: int, width: int, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 60, (height, width, 3)) + shade
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def class_folders(root: Path, *, train: int, test: int, height: int = 40, width: int = 50) -> Path:
    """Images of a dark and a bright class."""
    for part, count in (("train", train), ("val", test)):
        for label, (name, shade) in enumerate((("dark", 20), ("bright", 170))):
            for i in range(count):
                file = root / part / name / f"{i}.png"
                picture(file, number=1000 * label + i, height=height, width=width, shade=shade)
    return root


def test_batches_and_epochs_follow_the_number_of_images() -> None:
    assert [batch_size(n) for n in (5, 10, 160, 1280, 50_000)] == [5, 8, 8, 64, 128]
    assert [epochs(n, batch_size(n)) for n in (10, 160, 1280, 50_000)] == [100, 100, 100, 10]
    assert epochs(12_800, 128) == 30


@pytest.mark.parametrize("method", ["nat", "at_union", "at", "standard"])
def test_a_config_for_folders_of_classes_has_ten_lines_with_reasons(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class_folders(tmp_path / "photos", train=10, test=4)
    run(monkeypatch, "init", "cls", "--data", "photos", "--model", "resnet10t", "--image-size", 64, "--method", method)
    file = Path(f"photos_{method}.py")
    lines = file.read_text().splitlines()
    assert len(lines) <= 10
    reasons = {line.split(" = ")[0]: line.partition("  # ")[2] for line in lines[2:]}
    assert all(
        reasons[key] for key in ("task", "threat", "_read", "data", "optim_wrapper", "train_cfg, param_scheduler")
    )
    assert "bright, dark" in reasons["task"] and "40 pixels" in reasons["_read"]
    config = load_config(file, kind=TRAINING)
    assert (config.task.model, config.task.num_classes, config.task.image_size) == ("resnet10t", 2, 64)
    assert config.threat.eps == 8 / 255 and config.data.batch_size == 8
    assert "next:" in (out := capsys.readouterr().out) and "attacks/linf8_quick --eps 8/255" in out
    learner = describe_plan(config, Path("unused"), device=CPU)
    assert any("resnet10t" in line for line in learner)
    if method == "nat":
        (entry,) = frozen_models(config)
        for _ in range(2):  # asked twice, as a run does
            recipe = adversary_recipe(config, entry, tmp_path / "store")
            assert plain_dict(recipe.method) == {"type": "Standard"} and recipe.task == config.task


def test_what_is_not_said_is_seen_from_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class_folders(tmp_path / "large", train=3, test=1, height=300, width=260)
    run(monkeypatch, "init", "cls", "--data", "large", "--out", "a.py")
    config = load_config("a.py", kind=TRAINING)
    assert (config.task.model, config.task.image_size, config.threat.eps) == ("resnet18", 224, 4 / 255)
    assert (config.data.train.resize, config.data.augments[0].type) == (256, "RandomResizedCrop")
    assert "too few to hold any out" in Path("a.py").read_text() and config.data.heldout == 0
    run(monkeypatch, "init", "cls", "--data", "large", "--eps", "2/255", "--epochs", 7, "--out", "b.py")
    config = load_config("b.py", kind=TRAINING)
    assert config.threat.eps == config.method.attack.threat.eps == 2 / 255
    assert config.method.attack.step_size == 0.5 / 255 and config.train_cfg.max_epochs == 7
    run(monkeypatch, "init", "cls", "--data", "large", "--model", "hf-hub:owner/name", "--out", "c.py")
    config = load_config("c.py", kind=TRAINING)
    # Who names a repository wants its weights, and has other classes.
    assert config.task.pretrained and config.task.new_head and config.task.model == "hf-hub:owner/name"


def test_a_config_is_called_as_its_folder_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").symlink_to(class_folders(tmp_path / "disk" / "part1", train=3, test=1))
    run(monkeypatch, "init", "cls", "--data", "photos")
    assert load_config("photos_nat.py", kind=TRAINING).data.train.root == "photos/train"
    monkeypatch.chdir(tmp_path / "disk" / "part1")
    run(monkeypatch, "init", "cls", "--data", ".")
    assert Path("part1_nat.py").is_file()


def test_what_is_quick_is_a_small_net_on_single_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class_folders(tmp_path / "photos", train=10, test=5)
    monkeypatch.setattr("natx.runtime.device.pick_device", lambda name: CPU)
    run(monkeypatch, "init", "cls", "--data", "photos", "--out", "usual.py")
    assert "note: there is no GPU here" in capsys.readouterr().out
    both = ["clean", "adv"]
    for method, views in (("nat", both), ("at_union", both), ("at", ["adv"]), ("standard", ["clean"])):
        file = f"{method}.py"
        run(monkeypatch, "init", "cls", "--data", "photos", "--quick", "--method", method, "--out", file)
        assert "note:" not in (out := capsys.readouterr().out) and "quick: about 40,000 images, at most 60" in out
        config = load_config(file, kind=TRAINING)
        assert (config.task.model, config.task.image_size, config.train_cfg.max_epochs) == ("resnet8_cifar", 32, 60)
        assert len(Path(file).read_text().splitlines()) <= 10
        plan = describe_plan(config, Path("unused"), device=CPU)
        assert any(f"views {' + '.join(views)}" in line for line in plan)
        assert method == "standard" or config.method.attack.type == "SingleStep"
    assert [quick_epochs(n) for n in (0, 450, 4_000, 100_000)] == [60, 60, 10, 1]


@pytest.mark.parametrize("quick", [[], ["--quick"]], ids=["usual", "quick"])
def test_the_union_differs_from_nat_in_the_nasty_term_alone(
    quick: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is called NAT's baseline sees the same images by the same attack."""
    class_folders(tmp_path / "photos", train=10, test=5)
    for method in ("nat", "at_union"):
        run(monkeypatch, "init", "cls", "--data", "photos", "--method", method, *quick)
    assert "\n  natx test photos_at_union.py work_dirs/photos_at_union --attacks" in capsys.readouterr().out
    union = plain_dict(load_config("photos_at_union.py", kind=TRAINING))
    assert union == without_nasty_term("photos_nat.py")


def test_commands_can_be_pasted_whatever_the_folder_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = 'it\'s "new" (2)'
    class_folders(tmp_path / name, train=10, test=5)
    run(monkeypatch, "init", "cls", "--data", name, "--quick")
    file = f"{name}_nat.py"
    assert frozen_models(load_config(file, kind=TRAINING)).__next__()["config"] == str(tmp_path / file)
    steps = [shlex.split(line) for line in capsys.readouterr().out.split("next:\n")[1].splitlines()]
    words = [["natx", "train", file, "--dry-run"], ["natx", "train", file]]
    words += [["natx", "test", file, f"work_dirs/{name}_nat", "--attacks", "attacks/linf8_quick", "--eps", "8/255"]]
    assert steps == [*words, ["natx", "export", file, f"work_dirs/{name}_nat", "--out", f"export/{name}_nat"]]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["cls", "--data", "photos"], "photos is to hold train/<class>/<image> and test/<class>/<image>"),
        (["cls", "--data", "unsorted"], "it holds cat, dog: sort the images so, about one of five"),
        (["cls", "--data", "nowhere"], "there is no such folder"),
        (["cls", "--data", "photos", "--out", "a.txt"], "Python files"),
        (["cls", "--data", "photos", "--eps", "0"], "--eps must be above 0"),
        (["cls", "--data", "photos", "--eps", "nan"], "a number or a fraction such as 4/255; got 'nan'"),
        (["cls", "--data", "photos", "--eps", "4/"], "a number or a fraction such as 4/255; got '4/'"),
        (["cls", "--data", "photos", "--eps", "8"], "write eps=8/255"),
        (["reid", "--data", "photos", "--quick"], "--quick is for cls"),
        (["reid", "--data", "photos"], "no folder bounding_box_train"),
    ],
)
def test_what_cannot_be_a_start_is_one_line(
    words: list[str], part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("photos", "unsorted/cat", "unsorted/dog"):
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(SystemExit):
        run(monkeypatch, "init", *words)
    assert part in capsys.readouterr().err and not [*tmp_path.glob("*.py")]


def test_one_class_is_no_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Training refuses it: there would be nothing to tell apart."""
    for part in ("train", "val"):
        picture(tmp_path / "cats" / part / "cat/1.png", number=0, height=40, width=40, shade=20)
    with pytest.raises(SystemExit):
        run(monkeypatch, "init", "cls", "--data", "cats")
    assert "cats/train has one class, cat: put" in capsys.readouterr().err and not [*tmp_path.glob("*.py")]


def test_the_readme_shows_the_command() -> None:
    assert "natx init cls --data" in (ROOT / "README.md").read_text()
