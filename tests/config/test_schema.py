"""Configs against their schema: every shipped one fits; whatever nothing reads is one line that names the key."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from workshop import DIGITS, PGD, ROOT, Workshop, merged, nat

from natx.config import (
    ANALYSED,
    ATTACKS,
    EXPORTED,
    JUDGED,
    PAPER_TABLES,
    STUDY,
    TRAINING,
    Kind,
    check,
    load_config,
    with_options,
)
from natx.config.docs import PAGE, page
from natx.config.schema.arguments import arguments, misfit
from natx.config.schema.training import Ema, Select
from natx.errors import ConfigError
from natx.registry import ATTACKS as ATTACK_CLASSES
from natx.training.hooks import EMA
from natx.training.selection import Selection

KINDS = {"attacks": ATTACKS, "studies": STUDY, "cls": TRAINING, "reid": TRAINING, "det": TRAINING}
SHIPPED = sorted(
    path.relative_to(ROOT).as_posix() for folder in KINDS for path in (ROOT / "configs" / folder).glob("*.py")
)
PGD_AT = "configs/attacks/digits_table.py"


def refusal(path: str | Path, kind: Kind, **options: Any) -> str:
    """What is said of a config with options."""
    with pytest.raises(ConfigError) as caught:
        load_config(path, kind=kind, options={key.replace("__", "."): value for key, value in options.items()})
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("path", SHIPPED)
def test_shipped_configs_fit(path: str) -> None:
    load_config(ROOT / path, kind=KINDS[path.split("/")[1]])


def test_the_papers_tables_fit() -> None:
    content = json.loads((ROOT / "configs/paper/tables.json").read_text())
    check(content, PAPER_TABLES, path="tables.json")
    content["tables"]["table1"]["groups"][0]["rows"][0]["cels"] = []
    with pytest.raises(ConfigError, match=r"tables.table1.groups.0.rows.0.cels is read by nothing: is 'cells' meant\?"):
        check(content, PAPER_TABLES, path="tables.json")


def test_the_page_is_made_from_the_schema() -> None:
    assert PAGE.read_text() == page(), "stale: python -m natx.config.docs"


# option: (its value, the key that is meant)
MISSPELT: dict[str, tuple[Any, str]] = {
    "data.batchsize": (7, "batch_size"),
    "data.held_out": (0, "heldout"),
    "data.num_worker": (3, "num_workers"),
    "data.train.trian": (True, "train"),
    "data.test.tset_fraction": (0.2, "test_fraction"),
    "data.copies.sourc": ({"config": "x.py"}, "source"),
    "select.evry": (2, "every"),
    "select.attack.stepps": (2, "steps"),
    "ema.deccay": (0.9, "decay"),
    "start.checkpont": ("x.safetensors", "checkpoint"),
    "train_cfg.max_epoch": (3, "max_epochs"),
    "optim_wrapper.optimizer.momentun": (0.9, "momentum"),
    "optim_wrapper.optimiser": ({"type": "SGD"}, "optimizer"),
    "optim_wrapper.paramwise_cfg.norm_decay_mlt": (0.0, "norm_decay_mult"),
    "optim_wrapper.clip_grad.max_nrm": (1.0, "max_norm"),
    "param_scheduler.0.T_maxx": (3, "T_max"),
    "method.view": (("adv",), "views"),
    "method.attack.step": (3, "steps"),
    "method.attack.threat.epss": (0.1, "eps"),
    "method.terms.0.onn": (("adv",), "on"),
    "method.terms.1.wieght": (0.1, "weight"),
    "method.terms.1.adversary.confg": ("x.py", "config"),
    "method.terms.1.adversary.task.num_class": (3, "num_classes"),
    "threat.epps": (0.1, "eps"),
    "task.modle": ("small_cnn", "model"),
}


@pytest.fixture
def training(shop: Workshop) -> Path:
    """A config with every part that misspellings are tried in."""
    select = {"attack": {"type": "PGD", "steps": 2}}
    return shop.digits(method=nat({"task": DIGITS["task"], "state": "random"}), select=select, ema={"decay": 0.9})


@pytest.mark.parametrize("option", MISSPELT)
def test_misspelt_keys_are_named_with_the_one_that_is_meant(shop: Workshop, training: Path, option: str) -> None:
    value, meant = MISSPELT[option]
    line = refusal(training, TRAINING, **{option: value})
    assert f"{option} is " in line and f"is {meant!r} meant?" in line
    content = Config.fromfile(training)
    content.merge_from_dict({option: value})
    in_file = shop.write("misspelt.py", content.to_dict())
    assert f"misspelt.py: {line.partition(': ')[2]}" in refusal(in_file, TRAINING)


# option: (its value, what is said)
WRONG: dict[str, tuple[Any, str]] = {
    "data.batch_size": ("a", "data.batch_size should be a valid integer; got 'a'"),
    "data.num_workers": (-1, "data.num_workers should be greater than or equal to 0; got -1"),
    "data.heldout": (2.5, "data.heldout should be a valid integer; got 2.5"),
    "data.train": (3, "data.train should be a dataset as dict(type='...', ...); got 3"),
    "data.augments": ({"type": "RandomFlip"}, "data.augments should be a list of dict(type='...')"),
    "train_cfg.max_epochs": (0, "train_cfg.max_epochs should be greater than 0; got 0"),
    "seed": (-1, "seed should be greater than or equal to 0; got -1"),
    "method": (3, "method should be a method as dict(type='...', ...); got 3"),
    "task": ({"model": None}, "task.model should be a valid string or should be a valid dictionary"),
    "select": (2, "select should be a valid dictionary; got 2"),
    "ema.decay": (1.5, "ema.decay should be less than 1; got 1.5"),
    "method.attack.steps": ("many", "method.attack.steps should be a valid integer"),
    "method.attack.type": ("PDG", "method.attack.type is an unknown attack 'PDG'; close: PGD"),
    "method.attack.step_size": ("0.1", "method.attack.step_size should be a valid number; got '0.1'"),
    "method.attack": ({"type": "PGD", "steps": 2.0}, "method.attack.steps should be a valid integer; got 2.0"),
    "optim_wrapper.accumulative_counts": (1.5, "optim_wrapper.accumulative_counts should be a valid integer"),
    "optim_wrapper.clip_grad": ({"type": "value", "max_norm": 1.0}, "clip_grad type='value' needs clip_value"),
    "optim_wrapper.clip_grad.norm_type": (2.0, "optim_wrapper.clip_grad type='norm' needs max_norm"),
    "optim_wrapper.clip_grad.clip_value": (0.5, "optim_wrapper.clip_grad type='norm' needs max_norm"),
    "param_scheduler.0": (
        {"type": "MultiStepLR", "milestones": 5},
        "param_scheduler.0.milestones should be a valid list; got 5",
    ),
    "param_scheduler": (
        [{"type": "LinearLR", "start_factor": 0.1, "end": "5"}],
        "param_scheduler.0.end should be a valid integer; got '5'",
    ),
    "optim_wrapper.type": ("OptimWraper", "optim_wrapper.type is an unknown optim_wrapper 'OptimWraper'; close: Optim"),
    "amp": ("float16", "amp should be 'bfloat16'; got 'float16'"),
    "widht": (8, "the option widht is read by nothing"),
    "width": (8, "the option width is read by nothing"),
    "tasc.model": ("x", "the option tasc.model is read by nothing: is 'task' meant?"),
}


@pytest.mark.parametrize("option", WRONG)
def test_values_that_do_not_fit(training: Path, option: str) -> None:
    value, said = WRONG[option]
    training.write_text(f"width = 4\n{training.read_text()}")  # a variable of the config's own: too late to change it
    assert said in refusal(training, TRAINING, **{option: value})


# option: (its value, how that is said to be asked for)
ELSEWHERE: dict[str, tuple[Any, str]] = {
    "strategy": ({"type": "FSDPStrategy"}, "strategy shards the network"),
    "model_wrapper_cfg": ({"type": "MMFullyShardedDataParallel"}, "shard_optimizer=True shares out"),
    "optim_wrapper.type": ("DeepSpeedOptimWrapper", "optim_wrapper.type shards the network"),
    "optim_wrapper.optimizer.type": ("ZeroRedundancyOptimizer", "is asked for by shard_optimizer=True"),
}


@pytest.mark.parametrize(
    ("kind", "text"), [("LBFGS", "take one that goes by the gradient"), ("SparseAdam", "take Adam")]
)
def test_optimisers_that_cannot_step_here_are_refused(training: Path, kind: str, text: str) -> None:
    """They were built, and ended in a traceback of torch's at the first step."""
    said = refusal(training, TRAINING, **{"optim_wrapper.optimizer.type": kind})
    assert f"optim_wrapper.optimizer.type is {kind}, " in said and text in said


@pytest.mark.parametrize("option", ELSEWHERE)
def test_what_mmengine_shards_by_is_refused_with_what_to_use(shop: Workshop, training: Path, option: str) -> None:
    value, text = ELSEWHERE[option]
    assert text.partition(" ")[2] in refusal(training, TRAINING, **{option: value})
    content = Config.fromfile(training)
    content.merge_from_dict({option: value})
    assert text in refusal(shop.write("sharded.py", content.to_dict()), TRAINING)


@pytest.mark.parametrize("kind", ["AmpOptimWrapper", "ApexOptimWrapper"])
def test_a_wrapper_that_casts_is_refused_with_what_does(training: Path, kind: str) -> None:
    assert "set amp='bfloat16'" in refusal(training, TRAINING, **{"optim_wrapper.type": kind})


def test_arguments_that_natx_gives_are_not_a_configs(training: Path) -> None:
    sampler = {"type": "DefaultSampler", "seed": 3}
    assert "data.sampler.seed is no argument of DefaultSampler" in refusal(training, TRAINING, data__sampler=sampler)


def test_none_takes_away_what_a_base_says_where_there_may_be_nothing(training: Path) -> None:
    load_config(training, kind=TRAINING, options={"select.attack": None, "data.sampler": None})
    assert "method.terms.0 should be" in refusal(training, TRAINING, method__terms=[None])


def test_variables_of_a_config(shop: Workshop) -> None:
    load_config(shop.write("own.py", {"width": 4, "teacher": {"any": 1}, **DIGITS}), kind=TRAINING)
    assert "selekt is read by nothing: is 'select' meant?" in refusal(shop.digits(selekt={"every": 2}), TRAINING)
    # Also beside the key that it looks like: a base has that, and the file means to change it.
    both = shop.digits("both.py", select={"every": 2}, selekt={"every": 3})
    assert "selekt is read by nothing: is 'select' meant?" in refusal(both, TRAINING)


def test_another_kind_of_config(shop: Workshop, training: Path) -> None:
    assert "lacks task, data, method" in refusal(ROOT / PGD_AT, TRAINING)
    assert "lacks attacks" in refusal(training, ATTACKS)
    assert "lacks title, seeds, attacks, rows" in refusal(training, STUDY)
    assert "lacks data.test" in refusal(shop.digits(data={"test": None}), JUDGED)
    load_config(shop.write("bare.py", {key: DIGITS[key] for key in ("custom_imports", "task")}), kind=EXPORTED)


def test_options_that_a_use_does_not_read(training: Path) -> None:
    with_options(load_config(training), {"task.image_size": 16, "data.test.upscale": 1}, kind=JUDGED)
    for option in ({"threat.eps": 0.1}, {"data.batch_size": 3}, {"method.attack.steps": 3}, {"seed": 1}):
        assert "is read by nothing in judging, which reads task, data.test" in refusal(training, JUDGED, **option)
    with_options(load_config(training), {"threat.eps": 0.1, "data.train.test_fraction": 0.5}, kind=ANALYSED)


def test_an_option_of_a_threat_that_does_not_reach_the_attack_is_refused(shop: Workshop) -> None:
    """Attacks that name a threat model do not look at the config's: the method would train at its old radius."""
    line = refusal(ROOT / "configs/cls/digits_pgd_at.py", TRAINING, threat__eps=0.1)
    assert "the option threat.eps is not enough" in line and "set method.attack.threat as well" in line
    awp = refusal(ROOT / "configs/cls/r18_cifar10_awp.py", TRAINING, threat__eps=0.1)
    assert "set method.method.attack.threat as well" in awp
    own = {
        "threat": {"type": "Linf", "eps": 0.1},
        "attacks": [{"type": "FGSM", "threat": {"type": "Linf", "eps": 0.1}}],
    }
    assert "no attack takes" in refusal(shop.write("own.py", own), ATTACKS, threat__eps=0.2)
    assert "no attack takes" in refusal(shop.digits(select=None), TRAINING, threat__eps=0.2)


def test_an_option_of_a_threat_that_attacks_take(shop: Workshop) -> None:
    linf = {"type": "Linf", "eps": 0.1}
    taking = shop.write("taking.py", {"threat": linf, "attacks": [{"type": "FGSM", "threat": linf}, {"type": "FGSM"}]})
    assert load_config(taking, options={"threat.eps": 0.2}, kind=ATTACKS).threat.eps == 0.2
    both = {"threat.eps": 0.2, "method.attack.threat.eps": 0.2}  # for what reads the run's config afterwards
    assert load_config(ROOT / "configs/cls/digits_pgd_at.py", options=both, kind=TRAINING).threat.eps == 0.2
    chosen = {"select.attack": {"type": "FGSM"}, "threat.eps": 0.2}  # the attack that chooses the best epoch takes it
    assert load_config(ROOT / "configs/cls/digits_vt.py", options=chosen, kind=TRAINING).threat.eps == 0.2


def test_attack_and_study_configs(shop: Workshop) -> None:
    attack = {**PGD, "objective": {"type": "Margin"}}
    assert "attacks.0.objective.type is an unknown objective 'Margn'" in refusal(
        shop.write("a.py", {"attacks": [attack]}), ATTACKS, attacks__0__objective__type="Margn"
    )
    assert "sucess is read by nothing: is 'success' meant?" in refusal(
        shop.write("a.py", {"attacks": [attack], "sucess": "last"}), ATTACKS
    )
    source = {"attacks": [attack], "sources": {"vanilla": {"confg": "x.py"}}}
    assert "sources.vanilla.confg is read by nothing: is 'config' meant?" in refusal(
        shop.write("a.py", source), ATTACKS
    )
    study = {"title": "", "seeds": [0], "attacks": PGD_AT, "rows": {"nat": {"name": "NAT", "confg": "x.py"}}}
    line = refusal(shop.write("s.py", study), STUDY)
    assert "rows.nat.confg is read by nothing: is 'config' meant?" in line


# --- what goes wrong while a config is executed -----------------------------------------------------------------------


def test_a_config_that_raises_is_named_with_its_line(shop: Workshop) -> None:
    (shop.folder / "base.py").write_text("seed = 0\nwidth = 1 / seed\n")
    (shop.folder / "child.py").write_text("_base_ = ['base.py']\n")
    assert f"{shop.folder / 'base.py'}, line 2: ZeroDivisionError: division by zero" in refusal(
        shop.folder / "child.py", TRAINING
    )
    (shop.folder / "own.py").write_text("def depth(rows):\n    return rows['deep']\n\n\nseed = depth({})\n")
    assert f"{shop.folder / 'own.py'}, line 5: KeyError: 'deep'" in refusal(shop.folder / "own.py", TRAINING)


def test_a_key_in_two_bases_is_named_with_both(shop: Workshop) -> None:
    for name, text in (("one.py", "seed = 0\n"), ("two.py", "lr = 1\n"), ("three.py", "seed = 1\n")):
        (shop.folder / name).write_text(text)
    (shop.folder / "child.py").write_text("_base_ = ['one.py', 'two.py', 'three.py']\n")
    assert "child.py: its bases one.py and three.py both define seed" in refusal(shop.folder / "child.py", TRAINING)


# --- every tool, before data is read ----------------------------------------------------------------------------------


def words(shop: Workshop, tool: str, **test: Any) -> list[Any]:
    """Arguments of a tool; there is no data to read, and there are no weights."""
    data = {"type": "ImageFolder", "root": str(shop.folder / "gone")}
    config = shop.digits("config.py", data={"train": data, "test": {**data, **test}})
    row = {"name": "VT", "config": str(config)}
    study = shop.write("study.py", {"title": "", "seeds": [0], "attacks": PGD_AT, "rows": {"vt": row}})
    table = {"seeds": {"paper": 1, "small": 1}, "subset": {"paper": None, "small": None}, "attacks": None}
    entry = {"key": "vt", "name": "VT", "cells": ["1"], "paper": str(config)}
    groups = {"title": "", "columns": {"s": "s"}, "groups": [{"name": "", "rows": [entry]}]}
    (shop.folder / "tables.json").write_text(json.dumps({"tables": {"tiny": {**table, **groups}}}))
    weights = shop.folder / "gone.safetensors"
    return {
        "train.py": [config],
        "test.py": [config, weights, "--attacks", ROOT / PGD_AT],
        "transfer.py": [config, weights, "--attacks", ROOT / PGD_AT],
        "analyze.py": [config, weights],
        "export.py": [config, weights, "--out", shop.folder / "out"],
        "study.py": [study],
        "reproduce.py": ["tiny", "--tables", shop.folder / "tables.json"],
    }[tool]


TOOLS = ("train.py", "test.py", "transfer.py", "analyze.py", "export.py", "study.py", "reproduce.py")


@pytest.mark.parametrize("tool", TOOLS)
def test_every_tool_refuses_a_misspelt_key_before_it_reads_data(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    monkeypatch.chdir(shop.folder)
    line = shop.run(tool, *words(shop, tool, rot="x")).error()
    assert "data.test.rot is no argument of ImageFolder: is 'root' meant?" in line


@pytest.mark.parametrize("tool", TOOLS)
def test_every_tool_refuses_an_option_that_nothing_reads(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    monkeypatch.chdir(shop.folder)
    line = shop.run(tool, *words(shop, tool), "--cfg-options", "tasc.model=x").error()
    assert "the option tasc.model is read by nothing: is 'task' meant?" in line


# --- reading signatures -----------------------------------------------------------------------------------------------


class Base:
    def __init__(self, depth: int = 1, *, name: str | None = None) -> None: ...


class Hands(Base):
    def __init__(self, width: int, **kwargs: Any) -> None: ...


class Anything:
    def __init__(self, **kwargs: Any) -> None: ...


def test_arguments_are_those_of_the_constructors_that_are_called() -> None:
    assert set(arguments(Base)) == {"depth", "name"}
    assert set(arguments(Hands)) == {"width", "depth", "name"}
    assert arguments(Anything) is None
    assert set(arguments(len)) <= {"obj"}  # positional only: no name to give it by


def test_types_of_arguments() -> None:
    assert misfit(Hands, "width", 3) is None
    assert misfit(Hands, "depth", "deep").startswith("should be a valid integer")
    assert misfit(Base, "name", None) is None
    assert misfit(Hands, "unknown", "x") is None


@pytest.mark.parametrize(("section", "kind"), [(Ema, EMA), (Select, Selection)])
def test_defaults_are_those_of_the_classes(section: Any, kind: type) -> None:
    parameters = inspect.signature(kind).parameters
    for name, field in section.model_fields.items():
        assert field.default == parameters[name].default, name


def test_custom_classes_are_checked_too(shop: Workshop) -> None:
    class Jump(ATTACK_CLASSES.get("PGD")):
        def __init__(self, threat: Any, *, height: int = 1, **kwargs: Any) -> None: ...

    ATTACK_CLASSES.register_module(name="Jump", module=Jump, force=True)
    try:
        path = shop.digits(method={"type": "Adversarial", "attack": {**PGD, "type": "Jump", "hieght": 2}})
        assert "method.attack.hieght is no argument of Jump: is 'height' meant?" in refusal(path, TRAINING)
        load_config(shop.digits(method={"type": "Adversarial", "attack": {**PGD, "type": "Jump"}}), kind=TRAINING)
    finally:
        ATTACK_CLASSES.module_dict.pop("Jump")


def test_configs_made_in_python(shop: Workshop) -> None:
    check(Config(merged(DIGITS, {"start": {"checkpoint": Path("x.safetensors")}})), TRAINING)
    with pytest.raises(ConfigError, match=r"^config: data.batch_size should be"):
        check(merged(DIGITS, {"data": {"batch_size": "4"}}), TRAINING)
