"""docs/models.md has what the cards on the hub say, and no row without a card."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub import served

from natx.export.metadata import metadata

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "models.md").read_text()
REPORT = dict(
    threat="Linf 8/255",
    images=1000,
    columns=[dict(name="Clean", accuracy=81.0, correct=810, images=1000), dict(name="AA", accuracy=48.5)],
    worst_case=48.5,
    settings=dict(data="CIFAR10, the first 1000 of 10000 test images"),
)


def page_maker() -> Any:
    spec = importlib.util.spec_from_file_location("models_page", ROOT / "docs" / "_site" / "models.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with served(tmp_path / "hub", tmp_path / "cache", monkeypatch):
        yield tmp_path / "hub"


def publish(hub: Path, name: str, *, licence: str | None = "mit", reports: list[dict[str, Any]] | None = None) -> None:
    header = metadata(
        name=name,
        reports=[REPORT] if reports is None else reports,
        data="CIFAR10",
        threat="Linf 8/255",
        checkpoint_sha256="0" * 64,
        licence=licence,
    )
    (hub / name).mkdir(parents=True)
    (hub / name / "README.md").write_text(f"---\n{header.to_yaml()}\n---\n# A model\n")


def test_the_table_is_of_published_cards_and_is_renewed(hub: Path) -> None:
    maker = page_maker()
    publish(hub, "owner/second")
    publish(hub, "owner/first")
    text = maker.filled(PAGE, ["owner/second"])
    text = maker.filled(text, ["owner/first"])
    assert set(maker.listed(text)) - set(maker.listed(PAGE)) == {"owner/first", "owner/second"}
    row = next(line for line in text.splitlines() if "owner/first" in line)
    assert row == (
        "| [owner/first](https://huggingface.co/owner/first) | CIFAR10 | Linf 8/255 | 81.00 (78.5–83.3) | "
        "48.50 (45.4–51.6) | CIFAR10, the first 1000 of 10000 test images | mit |"
    )
    assert text.index("owner/first") < text.index("owner/second") and maker.NONE not in text


def test_an_empty_table_says_so() -> None:
    maker = page_maker()
    assert bool(maker.listed(PAGE)) != (maker.NONE in PAGE)


@pytest.mark.parametrize(
    ("change", "words"), [(dict(licence=None), "says no licence"), (dict(reports=[]), "has no figures")]
)
def test_a_card_without_licence_or_figures_gets_no_row(hub: Path, change: dict[str, Any], words: str) -> None:
    publish(hub, "owner/model", **change)
    with pytest.raises(ValueError, match=words):
        page_maker().filled(PAGE, ["owner/model"])
