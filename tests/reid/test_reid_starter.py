"""`natx init reid`: from 200 people on the training of the field, below that one for a CPU."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from PIL import Image

from natx.config import TRAINING, load_config, plain_dict
from natx.data.starter import Wish
from tasks.reid.starter import starter

MARKET = Path(__file__).resolve().parents[2] / "configs" / "reid" / "market_amd_online.py"


@pytest.fixture(scope="module", params=[199, 200])
def people(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path]:
    root = tmp_path_factory.mktemp("market")
    for part, persons in (
        ("bounding_box_train", range(1, request.param + 1)),
        ("query", range(900, 902)),
        ("bounding_box_test", range(900, 902)),
    ):
        (root / part).mkdir()
        for person in persons:
            for camera in (1, 2):
                Image.new("RGB", (4, 8)).save(root / part / f"{person:04d}_c{camera}s1_000001_00.jpg")
    return request.param, root


def proposed(root: Path, file: Path, **wish: object) -> Config:
    file.write_text("\n".join(starter(root, Wish(file, **wish))) + "\n")  # type: ignore[arg-type]
    return load_config(file, kind=TRAINING)


def test_many_people_are_learnt_as_the_shipped_config_learns_them(
    people: tuple[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BoT's network from ImageNet's weights at its own rate for its own epochs, and not a CPU's schedule cut short."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    count, root = people
    config, market = proposed(root, tmp_path / "own.py", method="at"), load_config(MARKET, kind=TRAINING)
    if count < 200:
        assert config.task.model == "osnet_x0_25" and not config.task.get("pretrained")
        assert config.task.height == 128 and config.optim_wrapper.optimizer.lr == 1e-3
        return
    assert config.task == {**market.task, "num_classes": count}
    for key in ("optim_wrapper", "param_scheduler", "train_cfg"):
        assert plain_dict(config)[key] == plain_dict(market)[key], key
    longer = proposed(root, tmp_path / "longer.py", method="at", epochs=30)
    assert longer.train_cfg.max_epochs == 30 and longer.param_scheduler[-1].end == 30
    assert longer.optim_wrapper == market.optim_wrapper


def test_a_network_that_is_asked_for_says_what_it_begins_from(people: tuple[int, Path], tmp_path: Path) -> None:
    for model, weights in (("resnet50", "ImageNet"), ("osnet_x0_25", "random")):
        (line,) = (
            line for line in starter(people[1], Wish(tmp_path / "a.py", model=model)) if line.startswith("task = ")
        )
        assert line.endswith(f"from {weights} weights")
