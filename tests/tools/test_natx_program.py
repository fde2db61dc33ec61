"""The program natx: its commands, names of configs from any folder, and what a wheel holds."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tomllib
import zipfile
from importlib import invalidate_caches
from pathlib import Path

import pytest
from workshop import ROOT, Workshop, environment, nat

from natx.cli import console, run
from natx.cli.main import COMMANDS, start
from natx.config import find, find_config, fingerprint, frozen_models, load_config, plain_dict, shipped_configs
from natx.config.text import resolved_text
from natx.errors import ConfigError
from natx.version import __version__

TORCHLESS = ["--help", "--version", "train --help", "tran", "configs --help"]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path / "elsewhere"


def natx(*words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["natx", *words])
    start(words[0], words[1:])


@pytest.mark.parametrize("line", TORCHLESS)
def test_the_program_answers_without_loading_a_library(line: str) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "natx", *line.split()]
    ran = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    imported = {words.rsplit("|", 1)[-1].strip().split(".")[0] for words in ran.stderr.splitlines() if "|" in words}
    assert not imported & {"torch", "numpy", "mmengine", "rich", "matplotlib", "timm", "tasks"}
    if line == "--version":
        assert ran.stdout.strip() == f"natx {__version__}"
    elif line == "--help":
        assert all(f"\n  {name} " in ran.stdout for name in COMMANDS)
    elif line == "tran":
        assert ran.returncode == 2
        assert "error: natx has no command 'tran': is 'train' meant?" in ran.stderr
    else:
        assert f"natx {line.split()[0]}" in ran.stdout and "python tools" not in ran.stdout


def test_signs_that_the_terminals_encoding_lacks_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A judging ended in a traceback where its table was printed."""
    screen = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", screen)
    run(lambda: console().print("55.6 \u2013 74.4"), debug=False)
    screen.seek(0)
    assert screen.read().strip() == "55.6 ? 74.4"


def test_threads_wait_asleep_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable must be there before torch is, which the commands load."""
    for value, kept in ((None, "PASSIVE"), ("ACTIVE", "ACTIVE")):
        monkeypatch.setenv("OMP_WAIT_POLICY", "")
        monkeypatch.delenv("OMP_WAIT_POLICY") if value is None else monkeypatch.setenv("OMP_WAIT_POLICY", value)
        with pytest.raises(SystemExit):
            start("tran", [])
        assert os.environ["OMP_WAIT_POLICY"] == kept


def test_every_command_has_a_module_and_every_script_a_command() -> None:
    modules = {path.stem for path in (ROOT / "natx" / "cli").glob("*.py")} - {"__init__", "main"}
    assert modules == set(COMMANDS)
    alone = {"audit_power", "gpu_check"}  # measurements of this project, no commands of a user's
    scripts = {path.stem for path in (ROOT / "tools").glob("*.py")} - alone
    assert {name.replace("benchmark", "bench") for name in scripts} <= modules


# --- names of configs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cls/digits_nat", "cls/digits_nat.py", "configs/cls/digits_nat.py"])
def test_shipped_configs_are_found_from_any_folder(elsewhere: Path, name: str) -> None:
    assert find_config(name).resolve() == ROOT / "configs/cls/digits_nat.py"


def test_the_working_folder_comes_first(elsewhere: Path) -> None:
    (elsewhere / "cls").mkdir()
    (elsewhere / "cls" / "digits_nat.py").write_text("seed = 7\n")
    assert load_config("cls/digits_nat").seed == 7


def test_a_name_that_is_no_config_says_what_is_close(elsewhere: Path) -> None:
    with pytest.raises(ConfigError, match=r"no config at cls/digits_nta: .*; close: .*cls/digits_nat"):
        find_config("cls/digits_nta")


@pytest.mark.parametrize("name", ["", ".", "/", "x" * 300, "a\0b"])
def test_what_cannot_be_a_name_is_no_config(elsewhere: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="no config at"):
        find_config(name)


def test_bases_are_found_beside_the_file_and_then_among_the_shipped_ones(elsewhere: Path) -> None:
    (elsewhere / "mine.py").write_text("seed = 3\n")
    (elsewhere / "bases.py").write_text('_base_ = ["mine.py", "_base_/models/resnet8_cifar", "_base_/methods/mart"]\n')
    config = load_config("bases")
    assert (config.seed, config.task.model, config.method.type) == (3, "resnet8_cifar", "Adversarial")
    (elsewhere / "gone.py").write_text('_base_ = ["nowhere.py"]\n')
    with pytest.raises(ConfigError, match="a _base_ file is missing"):
        load_config("gone")
    (elsewhere / "twice.py").write_text('_base_ = ["_base_/models/resnet8_cifar", "_base_/models/resnet20_cifar"]\n')
    with pytest.raises(ConfigError, match="bases resnet8_cifar.* and resnet20_cifar.* both define task"):
        load_config("twice")


def test_what_a_configs_own_code_does_is_told_with_its_line(elsewhere: Path) -> None:
    (elsewhere / "opens.py").write_text('seed = 1\nfile = open("nowhere.txt")\n')
    with pytest.raises(ConfigError, match=r"opens\.py, line 2: .*No such file.*nowhere\.txt"):
        load_config("opens")
    (elsewhere / "latin.py").write_bytes("# Caf\xe9\nseed = 1\n".encode("latin-1"))
    for read in (load_config, resolved_text):
        with pytest.raises(ConfigError, match=r"latin\.py: UnicodeDecodeError"):
            read("latin")


def test_an_adversary_is_named_relative_to_the_config(shop: Workshop, elsewhere: Path) -> None:
    vanilla = shop.digits("vanilla.py", seed=5)
    config = load_config(shop.digits("nat.py", method=nat({"config": "vanilla.py"})))
    (entry,) = frozen_models(config)
    assert load_config(entry["config"]).seed == 5
    assert Path(entry["config"]) == vanilla
    (shipped,) = frozen_models(load_config("cls/digits_nat"))
    assert shipped["config"] == "configs/cls/digits_vt.py"  # as it is written: results hold it


# --- natx configs, natx config ---------------------------------------------------------------------------------------


def test_configs_are_listed_with_what_they_are(
    elsewhere: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    natx("configs", "cls/digits", monkeypatch=monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [name for name in shipped_configs() if name.startswith("cls/digits")]
    assert any(line.startswith("cls/digits_nat ") and "NAT on the digits" in line for line in lines)
    with pytest.raises(SystemExit):
        natx("configs", "nothing like it", monkeypatch=monkeypatch)
    assert "no shipped config matches" in capsys.readouterr().err


def test_a_copied_config_says_the_same_without_its_bases(
    elsewhere: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    natx("config", "cls/r18_cifar10_nat_awp", "--copy", "my.py", monkeypatch=monkeypatch)
    text = (elsewhere / "my.py").read_text()
    assert "_base_" not in text and text.startswith("# ")
    copy, shipped = load_config("my.py"), load_config("cls/r18_cifar10_nat_awp")
    assert plain_dict(copy) == plain_dict(shipped) and fingerprint(copy) == fingerprint(shipped)
    natx("config", "cls/r18_cifar10_nat_awp", monkeypatch=monkeypatch)
    assert text in capsys.readouterr().out
    for words, part in ((["--copy", "my.py"], "my.py exists"), (["--copy", "my.txt"], "Python files")):
        with pytest.raises(SystemExit):
            natx("config", "cls/digits_nat", *words, monkeypatch=monkeypatch)
        assert part in capsys.readouterr().err


@pytest.mark.parametrize("name", [*shipped_configs()][::9])
def test_resolved_text_is_the_config(name: str, tmp_path: Path) -> None:
    file = tmp_path / "copy.py"
    file.write_text(resolved_text(name))
    assert plain_dict(load_config(file)) == plain_dict(load_config(name))
    assert all(len(line) <= 120 or "'" in line for line in file.read_text().splitlines())


# --- the package -----------------------------------------------------------------------------------------------------


def test_a_users_own_tasks_are_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text("")
    command = [sys.executable, "-m", "natx", "train", "cls/digits_vt", "--dry-run", "--device", "cpu"]
    ran = subprocess.run(command, env=environment(), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 2 and len(ran.stderr.splitlines()) == 1
    assert "tasks.py hides natx's own package 'tasks'" in ran.stderr


def test_a_users_own_package_of_that_name_is_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find.shadow() is None
    (tmp_path / "tasks").mkdir()
    monkeypatch.delitem(sys.modules, "tasks", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert str(tmp_path) not in (find.shadow() or "")  # a folder without __init__.py hides nothing
    (tmp_path / "tasks" / "__init__.py").write_text("")
    invalidate_caches()
    assert str(tmp_path / "tasks") in (find.shadow() or "")


def test_a_wheel_holds_programs_configs_and_adapters(tmp_path: Path) -> None:
    build = pytest.importorskip("setuptools.build_meta", reason="a wheel is built by setuptools")
    script = f"import os, sys; os.chdir(sys.argv[1]); from {build.__name__} import build_wheel as b; b(sys.argv[2])"
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for name in ("natx", "natx_bench", "tasks", "configs", "pyproject.toml", "setup.py", "README.md", "LICENSE"):
        (checkout / name).symlink_to(ROOT / name)
    command = [sys.executable, "-c", script, str(checkout), str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    (wheel,) = tmp_path.glob("natx-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry = next(archive.read(name).decode() for name in names if name.endswith("entry_points.txt"))
    shipped = {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").rglob("*") if path.suffix in (".py", ".json")
    }
    assert {f"natx/{name}" for name in shipped} == {name for name in names if name.startswith("natx/configs/")}
    assert {name.split("/")[0] for name in names if "dist-info" not in name} == {"natx", "natx_bench", "tasks"}
    assert {"natx/__main__.py", "natx/cli/train.py", "natx/py.typed", "tasks/cls/imagenet100.txt"} <= names
    assert "natx = natx.cli.main:main" in entry


def test_an_installed_package_has_its_configs_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "SHIPPED", tmp_path / "natx")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "natx" / "configs" / "cls"
    folder.mkdir(parents=True)
    (folder / "one.py").write_text("# What it is.\nseed = 1\n")
    assert find_config("cls/one") == find_config("configs/cls/one.py") == folder / "one.py"
    assert list(shipped_configs()) == ["cls/one"]


def test_the_package_says_what_it_is() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["urls"] and project["keywords"] and len(project["classifiers"]) > 5
    assert project["scripts"] == {"natx": "natx.cli.main:main"}
    assert (ROOT / "CITATION.cff").is_file() and (ROOT / "CONTRIBUTING.md").is_file()
