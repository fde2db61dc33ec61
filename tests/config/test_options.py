"""Overrides on the command line: what is typed is what the config gets."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

import pytest
from mmengine.config import DictAction
from workshop import Workshop

from natx.cli import Options
from natx.config import load_config
from natx.config.options import parse_option
from natx.errors import ConfigError

ALIKE = ["3", "-1.5", "1e-3", "nan", "true", "False", "None", "none", "resnet18", "'a'", '"3"', "", "1,2", "a, b", "[]"]
ALIKE += ["[1, 2]", "(1,)", "(5)", "[(1, 2, 3), [a, b], c]", "[['a'], (2.5, None)]", "a=b", "[1,2,]", "1,,2"]


@pytest.mark.parametrize("text", ALIKE)
def test_values_without_spaces_in_them_are_read_as_mmengine_does(text: str) -> None:
    key, value = parse_option(f"a.b={text}")
    assert key == "a.b" and repr(value) == repr(DictAction._parse_iterable(text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("my photos/train", "my photos/train"),
        ("'my photos'", "my photos"),
        ("[my photos, other (2)]", ["my photos", "other (2)"]),
        ("(1, 2), (3, 4)", [(1, 2), (3, 4)]),  # mmengine's never ends
        ("a[b", "a[b"),
    ],
)
def test_spaces_stay_in_texts(text: str, value: Any) -> None:
    assert parse_option(f"data.train.root={text}") == ("data.train.root", value)


@pytest.mark.parametrize(("text", "value"), [("4/255", 4 / 255), ("8 / 255", 8 / 255), ("0.5/255", 0.5 / 255)])
def test_grey_levels_are_numbers(text: str, value: float, shop: Workshop) -> None:
    """A radius can be typed as it is printed."""
    key, read = parse_option(f"threat.eps={text}")
    assert read == pytest.approx(value, rel=1e-12)
    assert parse_option(f"a=[{text}, 255/4, x/255]")[1] == [read, "255/4", "x/255"]
    config = load_config(shop.digits(), options={"threat": {"type": "Linf", "eps": 0.1}, key: read})
    assert config.threat.eps == read


@pytest.mark.parametrize("text", ["seed", "a=[1,2", "a=1),(2"])
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="key.sub=value"):
        parse_option(text)


def test_options_given_twice_add_up() -> None:
    parser = ArgumentParser()
    parser.add_argument("--cfg-options", nargs="+", action=Options)
    words = ["--cfg-options", "a=1", "b=x y", "--cfg-options", "a=2", "c=[1]"]
    assert parser.parse_args(words).cfg_options == {"a": 2, "b": "x y", "c": [1]}


@pytest.mark.parametrize("option", [{"data.augments.0": None}, {"data.augments.0": 3}])
def test_a_part_that_is_set_to_no_part_is_one_line(shop: Workshop, option: dict[str, Any]) -> None:
    config = shop.digits(data={"augments": [{"type": "RandomFlip"}]})
    with pytest.raises(ConfigError, match="do not fit"):
        load_config(config, options=option)
