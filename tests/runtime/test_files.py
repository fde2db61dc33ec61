"""Files that a killed process leaves whole, and JSON that every reader of JSON can read."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from natx.runtime.files import sha256, write_json


def refuse(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, np.float64("nan"), float(torch.tensor(torch.inf))])
def test_numbers_that_json_cannot_say_are_missing(tmp_path: Path, number: float) -> None:
    path = tmp_path / "report.json"
    value = {"a": number, "b": [1, (number, 2.5)], "c": {"d": number}, "e": "NaN", "f": True, "g": None}
    write_json(path, value)
    text = path.read_text(encoding="utf-8")
    found = json.loads(text, parse_constant=refuse)
    assert found == {"a": None, "b": [1, [None, 2.5]], "c": {"d": None}, "e": "NaN", "f": True, "g": None}
    assert value["b"][1][1] == 2.5 and math.isnan(value["a"]) == math.isnan(number)  # the caller's value is as it was


def test_everything_else_is_as_json_writes_it(tmp_path: Path) -> None:
    value = {"accuracy": 51.25, "tiny": 1e-300, "count": 10**20, "name": "größer als", "none": [], "nested": [{}, [[]]]}
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert text == json.dumps(value, indent=2, ensure_ascii=False) + "\n" and "größer" in text


def test_a_value_that_is_no_json_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, [1])
    with pytest.raises(TypeError):
        write_json(path, {"x": object()})
    assert json.loads(path.read_text()) == [1] and list(tmp_path.iterdir()) == [path]


def test_a_folders_digest_changes_with_its_files_alone(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        (folder / "inside").mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"weights")
        (folder / "config.json").write_bytes(b"{}")
    assert sha256(folders[0]) == sha256(folders[1]) != sha256(folders[0] / "config.json")
    (folders[1] / "config.json").write_bytes(b"{} ")
    assert sha256(folders[0]) != sha256(folders[1])
