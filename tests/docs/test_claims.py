"""What the pages say of statistics and of measurements is so."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import numpy as np
import pytest
import torch
from listings import BLOCK, PAGES, ROOT, blocks
from scipy.stats import binom, binomtest
from torch import nn

import natx
import tasks.cls.datasets
from natx.evaluation.statistics import wilson
from natx_bench import ITEMS


def test_how_often_an_interval_holds_the_truth_and_how_often_another_test_set() -> None:
    """Exact, by summing over all test sets of the page's example, 201 of 360 right."""
    page = " ".join((ROOT / "docs" / "robust.md").read_text().split())
    images, right = 360, 201
    counts = np.arange(images + 1)
    chance = binom.pmf(counts, images, right / images)
    low, high = np.array([wilson(int(count), images) for count in counts]).T
    assert f"`{100 * low[right]:.1f}–{100 * high[right]:.1f}`" in page
    truth = chance[(low <= right / images) & (right / images <= high)].sum()
    other = sum(chance[k] * chance[(low[k] <= counts / images) & (counts / images <= high[k])].sum() for k in counts)
    assert "of 20 test sets, about 19 give an interval that holds that accuracy" in page
    assert abs(truth - 19 / 20) < 0.005
    assert re.search(r"about (\d+) times of 100", page)[1] == f"{100 * other:.0f}"


def test_items_that_pages_cite_as_measured_have_been() -> None:
    """A benchmark item's name alone, in code font, stands for its row of results/benchmark_cpu.md."""
    measured = {item["name"] for item in json.loads((ROOT / "results" / "benchmark_cpu.json").read_text())["items"]}
    rows = (ROOT / "results" / "benchmark_cpu.md").read_text()
    assert all(name in rows for name in measured) and measured <= set(ITEMS)
    for page in PAGES:
        cited = set(re.findall(r"`(\w+)`", BLOCK.sub("", page.read_text()))) & set(ITEMS)
        assert cited <= measured, f"{page.name} cites {sorted(cited - measured)}, which results/ does not have"


def test_items_that_pages_tell_to_measure_are_known() -> None:
    told = [re.findall(r"natx bench --only ((?:\w+ )+)", block.text) for page in PAGES for block in blocks(page)]
    names = {name for found in told for text in found for name in text.split()}
    assert names and names <= set(ITEMS)


def test_the_comparison_in_python_is_mcnemars_after_holm(monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = (b for b in blocks(ROOT / "docs" / "report.md") if "paired_test" in b.text)
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(60, 3, 4, 4, generator=generator), torch.arange(60) % 4

    class Images:
        def __init__(self, root: str, train: bool) -> None:
            self.images, self.labels = x, y

    def loaded(path: str) -> nn.Module:
        """Right on some images, of each run others, by far: what the attacks leave is what is right."""
        share = {"nat": 0.9, "pgd_at_union": 0.5, "trades": 0.8}[path.partition("cifar10_")[2]]
        net = Known(x, y, right=torch.rand(60, generator=torch.Generator().manual_seed(int(100 * share))) < share)
        return copy.deepcopy(net)

    monkeypatch.setattr(tasks.cls.datasets, "CIFAR10", Images)
    monkeypatch.setattr(natx, "load", loaded, raising=False)
    text = block.text.replace("eps=8 / 255", 'attacks="FGSM", eps=8 / 255')  # AutoAttack is not what is tested
    names: dict[str, Any] = {}
    exec(compile(text, block.place, "exec"), names)  # noqa: S102
    values = []
    for rival in (names["union"], names["trades"]):
        plus = int((names["nat"].survivors & ~rival.survivors).sum())
        minus = int((rival.survivors & ~names["nat"].survivors).sum())
        assert plus + minus > 0
        values.append(float(binomtest(plus, plus + minus).pvalue))
        points, p = names["tests"][rival.name]
        assert points == pytest.approx(names["nat"].worst_case - rival.worst_case) and p == pytest.approx(values[-1])
    smallest = min(values)
    assert names["holm"](values) == pytest.approx([2 * p if p == smallest else max(p, 2 * smallest) for p in values])


class Known(nn.Module):
    """Knows 60 images by heart, and gives those that it is to be wrong on another class."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor, *, right: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("x", x.flatten(1))
        self.register_buffer("answer", nn.functional.one_hot(torch.where(right, y, (y + 1) % 4), 4).float())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        nearest = torch.softmax(-100 * torch.cdist(x.flatten(1), self.x) ** 2, dim=1)
        return nearest @ self.answer
