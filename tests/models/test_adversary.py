from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from natx.errors import CheckpointError, ConfigError
from natx.models.adversary import Adversary, build_adversary
from natx.testing import LinearTask, TinyCNNTask, TinyDataset

CONFIG = dict(type="TinyCNNTask", num_classes=5)


def batch(count: int = 6) -> dict[str, torch.Tensor]:
    return TinyDataset(count).__getitems__(range(count))


def test_members_are_frozen_and_in_eval() -> None:
    task = TinyCNNTask().train()
    Adversary([task])
    assert not any(m.training for m in task.modules()) and not any(p.requires_grad for p in task.parameters())


def test_an_ensemble_averages_logits() -> None:
    members = [TinyCNNTask(seed=s, double=True) for s in (1, 2, 3)]
    b = batch()
    x = b["inputs"].double()
    mean = Adversary(members).logits(b, x)
    expected = sum(m.net((x - 0.5) / 0.25) for m in members) / 3
    torch.testing.assert_close(mean, expected.detach())
    assert len(Adversary(members)) == 3


def test_gradients_flow_only_when_asked_for_and_only_to_the_pixels() -> None:
    adversary, b = Adversary([TinyCNNTask()]), batch()
    x = b["inputs"].clone().requires_grad_()
    assert not adversary.logits(b, x).requires_grad
    logits = adversary.logits(b, x, differentiable=True)
    (grad,) = torch.autograd.grad(logits.sum(), x)
    assert grad.abs().sum() > 0 and all(p.grad is None for p in adversary.tasks[0].parameters())
    with torch.no_grad():
        assert not adversary.logits(b, x, differentiable=True).requires_grad


def test_logits_are_full_precision_under_autocast() -> None:
    adversary, b = Adversary([TinyCNNTask()]), batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert adversary.logits(b, b["inputs"]).dtype == torch.float32


def test_check_compares_classes_and_input_size() -> None:
    Adversary([TinyCNNTask(5), TinyCNNTask(5)]).check(TinyCNNTask(5))
    with pytest.raises(ConfigError, match="4 classes, the target 5"):
        Adversary([TinyCNNTask(5), TinyCNNTask(4)]).check(TinyCNNTask(5))
    small, large = TinyCNNTask(), TinyCNNTask()
    small.input_size, large.input_size = (3, 8, 8), (3, 32, 32)
    with pytest.raises(ConfigError, match=r"\(3, 8, 8\).*\(3, 32, 32\)"):
        Adversary([small]).check(large)
    Adversary([small]).check(TinyCNNTask())  # a target that takes any size


def test_nobody_is_no_adversary() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        Adversary([])


def test_random_state_is_the_untrained_network() -> None:
    adversary = build_adversary(dict(task=dict(CONFIG, seed=3), state="random"))
    fresh = TinyCNNTask(seed=3)
    assert adversary.origin == "random weights"
    for key, value in adversary.tasks[0].state_dict().items():
        assert torch.equal(value, fresh.state_dict()[key])


def test_weights_come_from_the_checkpoint(tmp_path: Path) -> None:
    source = TinyCNNTask(seed=9)
    save_file(source.net.state_dict(), tmp_path / "vanilla.safetensors")
    config = dict(task=CONFIG, checkpoint=str(tmp_path / "vanilla.safetensors"))
    untouched = copy.deepcopy(config)
    adversary = build_adversary(config)
    assert config == untouched and adversary.origin.endswith("vanilla.safetensors")
    for key, value in adversary.tasks[0].state_dict().items():
        assert torch.equal(value, source.state_dict()[key])
    other = dict(task=dict(CONFIG, num_classes=7), checkpoint=str(tmp_path / "vanilla.safetensors"))
    with pytest.raises(CheckpointError):
        build_adversary(other)


def test_options_that_a_training_would_have_do_not_keep_its_weights_away(tmp_path: Path) -> None:
    """natx init names an adversary with the method of its training."""
    save_file(TinyCNNTask(seed=9).net.state_dict(), tmp_path / "vanilla.safetensors")
    (tmp_path / "nat.py").write_text(f"task = {CONFIG}\nmethod = dict(type='Adversarial', views=('adv',))\n")
    options = {"method": dict(_delete_=True, type="Standard")}
    config = dict(config=str(tmp_path / "nat.py"), options=options, checkpoint=str(tmp_path / "vanilla.safetensors"))
    assert build_adversary(config).tasks[0].num_classes == 5
    with pytest.raises(ConfigError, match="is read by nothing"):
        build_adversary({**config, "options": {"methods": 1}})


def test_members_make_an_ensemble() -> None:
    given = Adversary([TinyCNNTask(seed=1)], origin="given")
    ensemble = build_adversary(dict(members=[given, dict(task=dict(CONFIG, seed=2), state="random")]))
    assert len(ensemble) == 2 and ensemble.origin == "given + random weights"
    assert build_adversary(given) is given


@pytest.mark.parametrize("config", [{}, dict(task=CONFIG), dict(state="random"), dict(task=CONFIG, state="vanilla")])
def test_a_missing_source_is_refused_in_one_line(config: dict) -> None:
    with pytest.raises(ConfigError, match="adversary needs") as error:
        build_adversary(config)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "config",
    [dict(task=CONFIG, config="some.py", state="random"), dict(task=CONFIG, checkpoint="x.pth", state="random")],
)
def test_two_sources_are_refused(config: dict) -> None:
    with pytest.raises(ConfigError, match="two sources"):
        build_adversary(config)


def test_moves_all_members() -> None:
    adversary = Adversary([LinearTask(torch.ones(2, 4)), LinearTask(torch.ones(2, 4))])
    assert adversary.to("meta") is adversary
    assert all(p.device.type == "meta" for t in adversary.tasks for p in t.parameters())
