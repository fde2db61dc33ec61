"""docs/choose.md: NAT's baselines that it names are there, and differ from NAT in the nasty term alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from baselines import without_nasty_term
from listings import ROOT, expanded

from natx.config import TRAINING, load_config, plain_dict

PAGE = (ROOT / "docs" / "choose.md").read_text()
FOLDER = ROOT / "configs" / "cls"
RECOMMENDED = {
    *("r18_cifar10_nat", "r18_cifar100_nat", "wrn34_10_cifar10_nat", "vit_s_in100_nat"),
    *("digits_nat", "r18_cifar10_fast_nat"),
}


def named() -> dict[str, Path]:
    """The configs called ``*_nat.py`` that the page names or whose pattern it names, by their names."""
    words = {name for code in re.findall(r"`([^`\n]+)`", PAGE) for word in code.split() for name in expanded(word)}
    patterns = {Path(word).name for word in words if word.endswith("_nat.py")}
    return {path.stem: path for pattern in patterns for path in FOLDER.glob(pattern)}


def multi_step() -> list[str]:
    """Those of them that attack in ten steps; distillation from NAT is called so too, and is another method."""
    methods = {name: load_config(path).method for name, path in named().items()}
    return sorted(
        name
        for name, method in methods.items()
        if method.type == "Adversarial" and (method.attack.type, method.attack.get("steps")) == ("PGD", 10)
    )


def pairs() -> list[tuple[str, str]]:
    """NAT and its baseline: of ten steps each has one, of single steps those that the page's pattern finds."""
    multi = {name: f"{name.removesuffix('nat')}pgd_at_union" for name in multi_step()} | {"digits_nat": "digits_pgd_at"}
    single = {path.stem.replace("_union", "_nat"): path.stem for path in sorted(FOLDER.glob("*_fast_union.py"))}
    return [*multi.items(), *single.items()]


def test_what_is_recommended_is_checked() -> None:
    assert RECOMMENDED <= {nat for nat, _ in pairs()}
    assert all(f"`{name}`" in PAGE for name in ("*_pgd_at_union.py", "*_fast_union.py", "digits_pgd_at.py"))


@pytest.mark.parametrize(("nat", "baseline"), pairs(), ids=lambda name: name)
def test_nat_differs_from_its_baseline_in_the_nasty_term_alone(nat: str, baseline: str) -> None:
    less = plain_dict(load_config(FOLDER / f"{baseline}.py", kind=TRAINING))
    assert less == without_nasty_term(FOLDER / f"{nat}.py")


def test_a_nat_config_without_a_baseline_is_its_own_with_the_option() -> None:
    """Of weight zero NAT is adversarial training on the same images exactly (tests/methods)."""
    options = re.findall(r"[\w.]+(?=\.1\.weight=0)", PAGE)
    assert options == ["method.terms", "method.method.terms"]
    for name, terms in (("vit_s_in100_fast_nat", options[0]), ("r8_cifar10_nat_awp", options[1])):
        config = load_config(FOLDER / f"{name}.py", kind=TRAINING, options={f"{terms}.1.weight": 0})
        method = config.method.get("method", config.method)
        assert [term.type for term in method.terms] == ["TaskLoss", "NastyKL"]
        assert (method.terms[1].weight, [*method.views]) == (0, ["clean", "adv"])
