"""natx.evaluate(..., audit=True): the reliability checks on a plain module, as ``natx test --audit`` asks them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from workshop import DIGITS, Workshop, merged

import natx
from natx.attacks.base import Attack
from natx.attacks.patch import Patch
from natx.benchmark.masks import Quantised
from natx.checks import CHECKS
from natx.checks import audit as task_audit
from natx.config import load_config
from natx.errors import UserError
from natx.judging import notebook
from natx.testing import TinyDataset
from natx.threat import Linf
from natx.training.run import train
from tasks.cls.datasets import Digits

EPS = 26 / 255


def digits() -> tuple[Tensor, Tensor]:
    x, y = load_digits(return_X_y=True)
    return torch.tensor(x / 16, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(y)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    """Softmax regression of the digits, whose gradient leads wherever it should."""
    x, y = digits()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(x[600:]), y[600:]).backward()
        optimiser.step()
    return net


def judged(model: Any, count: int = 60, **changes: Any) -> Any:
    x, y = digits()
    given = dict(attacks=["FGSM", "PGD-20"], eps=EPS, audit=True, audit_images=40) | changes
    return natx.evaluate(model, x[:count], y[:count], **given)


def red(result: natx.Result) -> set[str]:
    return {key for key, verdict in result.audit.items() if verdict.verdict == "red"}


def test_silent_on_an_honest_module(net: nn.Module) -> None:
    result = judged(net, vanilla=net)
    assert list(result.audit) == [check.id for check in CHECKS] and red(result) == set()
    assert result.audit["G9"].verdict == "green" and result.audit["G9"].figure == 0
    assert result.audit["G2"].verdict == "not applicable" and result.report()["robust_wording"] is False


def test_a_module_without_gradient_is_red(net: nn.Module) -> None:
    result = judged(nn.Sequential(Quantised(4), net))
    assert {"G9", "G13"} <= red(result) and result.audit["G9"].figure == 100
    for text in (str(result), result._repr_markdown_()):
        assert 'The word "robust" is withheld' in text and "images without gradient" in text and "FGSM" in text


def test_the_reports_entries_are_those_of_a_report_json(net: nn.Module) -> None:
    report = judged(net, count=20, audit_images=10).report()
    assert [check["id"] for check in report["checks"]] == [check.id for check in CHECKS]
    assert json.loads(json.dumps(report["checks"]))[0]["verdict"] in ("green", "red", "not applicable")
    plain = judged(net, count=20, audit=False, audit_images=None)
    assert plain.audit == {} and "checks" not in plain.report()
    assert "robust" not in str(plain) + plain._repr_markdown_()


def test_a_curve_has_an_audit_at_each_radius(net: nn.Module) -> None:
    curve = judged(net, eps=[EPS / 2, EPS], attacks="PGD-5", count=20, audit_images=5)
    assert all(len(result.audit) == len(CHECKS) for result in curve.results.values())
    single = judged(net, attacks="PGD-5", count=20, audit_images=5)
    assert curve[EPS].report()["checks"] == single.report()["checks"]
    assert str(curve).count("images without gradient") == 2 and "images without gradient" in curve._repr_markdown_()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two digits models that trainings left."""
    folder = tmp_path_factory.mktemp("runs")
    for name, seed in (("net", 0), ("other", 1)):
        content = merged(DIGITS, {"seed": seed, "train_cfg": {"max_epochs": 8}})
        (folder / f"{name}.py").write_text("".join(f"{key} = {value!r}\n" for key, value in content.items()))
        train(load_config(folder / f"{name}.py"), folder / name, device=torch.device("cpu"))
    return {name: folder / name for name in ("net", "other")}


def test_the_verdicts_are_those_of_natx_test(runs: dict[str, Path], shop: Workshop) -> None:
    attacks = [
        dict(type="FGSM"),
        dict(type="PGD", steps=20, step_size=EPS / 4, milestones=(10, 20)),
        dict(type="PGD", name="C&W", objective=dict(type="Margin"), steps=10, step_size=EPS / 4),
    ]
    config = shop.write("attacks.py", {"threat": {"type": "Linf", "eps": EPS}, "attacks": attacks, "batch_size": 100})
    words = ["--subset", 60, "--audit", "--audit-images", 30, "--vanilla", runs["other"] / "best.safetensors"]
    ran = shop.run("test.py", shop.digits(), runs["net"], "--attacks", config, *words, "--out", shop.folder / "out")
    assert ran.code == 0, ran.err
    expected = json.loads((shop.folder / "out" / "report.json").read_text())
    test = Digits(train=False)
    settings: dict[str, Any] = dict(attacks=attacks, eps=EPS, batch_size=100, audit=True, audit_images=30)
    result = natx.evaluate(runs["net"], test.images[:60], test.labels[:60], vanilla=runs["other"], **settings)
    found = json.loads(json.dumps(result.report()))
    assert found["columns"] == expected["columns"]
    assert found["checks"] == expected["checks"] and found["robust_wording"] == expected["robust_wording"]
    assert result.audit["G5"].reason.startswith("undefended: ")


def test_an_undefended_module_takes_images_as_the_model_does(net: nn.Module) -> None:
    def takes(mean: float, std: float) -> nn.Module:
        """The same classifier of images that were normalised so."""
        moved = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        linear: Any = net[1]  # type: ignore[index]
        moved[1].weight.data.copy_(linear.weight * std)
        moved[1].bias.data.copy_(linear.bias + linear.weight.sum(1) * mean)
        return moved

    expected = judged(net, vanilla=net, count=40, audit_images=20).audit["G5"]
    found = judged(takes(0.25, 0.5), vanilla=takes(0.25, 0.5), count=40, audit_images=20, mean=0.25, std=0.5)
    assert found.audit["G5"].reason == expected.reason and expected.reason.startswith("undefended: ")


class Strict(nn.Module):
    """Takes pixels in [0,1] only."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        if not 0 <= float(x.min()) <= float(x.max()) <= 1:
            raise ValueError("out of range")
        return self.net(x)


def test_a_module_that_refuses_what_is_outside_of_the_range(net: nn.Module) -> None:
    """G12 asks on both sides of an image."""
    found, plain = (judged(model, count=20, audit_images=10).audit for model in (Strict(net), net))
    assert found["G12"].verdict == "not applicable" and "out of range" in found["G12"].reason
    assert {key: found[key] for key in found if key != "G12"} == {key: plain[key] for key in plain if key != "G12"}


class Layers(nn.Sequential):
    """Half of it in training mode, a weight without gradient, and a buffer."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__(nn.BatchNorm2d(1), nn.Dropout(0.1), net)
        self.train()
        self[0].eval()
        self[0].weight.requires_grad_(False)


def test_models_and_generators_are_left_as_they_were(net: nn.Module) -> None:
    models = [Layers(net), Layers(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))]
    before = [{key: value.clone() for key, value in model.state_dict().items()} for model in models]
    state = torch.get_rng_state()
    judged(models[0], vanilla=models[1], count=20, audit_images=10)
    assert torch.equal(torch.get_rng_state(), state)
    for model, tensors in zip(models, before):
        assert [part.training for part in model.children()] == [False, True, True]
        assert not model[0].weight.requires_grad and model[0].bias.requires_grad
        assert all(torch.equal(value, tensors[key]) for key, value in model.state_dict().items())
        assert all(weight.grad is None for weight in model[0].parameters())


def test_an_audit_that_was_killed_goes_on_from_the_kept_outcomes(
    net: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = dict(count=20, audit_images=10)
    expected, seen, plain = judged(net, **settings), [], Attack.judge

    def killed(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(notebook, "run_audit", killed)
        judged(net, progress=tmp_path, **settings)
    assert list(tmp_path.glob("*/progress.json"))

    def judge(self: Attack, *given: Any, **settings: Any) -> Any:
        seen.append(self)
        return plain(self, *given, **settings)

    def audit(*given: Any, **settings: Any) -> Any:
        assert not seen  # nothing was attacked again before
        return task_audit(*given, **settings)

    monkeypatch.setattr(Attack, "judge", judge)
    monkeypatch.setattr(notebook, "run_audit", audit)
    again = judged(net, progress=tmp_path, **settings)
    assert again.report()["checks"] == expected.report()["checks"] and not list(tmp_path.iterdir())


def test_what_is_no_norm_ball_supports_no_check(net: nn.Module) -> None:
    result = judged(net, attacks=dict(type="PatchPGD", steps=2), eps=None, threat=Patch(2), count=10, audit_images=5)
    assert {verdict.verdict for verdict in result.audit.values()} == {"not applicable"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(audit=False), "add audit=True"),
        (dict(audit=False, audit_images=None, vanilla=nn.Flatten()), "add audit=True"),
        (dict(audit_images=0), "at least 1 image"),
        (dict(vanilla=3), "vanilla is int, expected a torch.nn.Module"),
        (dict(vanilla=nn.Sequential(nn.Flatten(), nn.Linear(64, 4))), "vanilla has 4 classes, the model has 10"),
        (dict(vanilla=nn.Sequential(nn.Flatten(), nn.Linear(65, 10))), "does not take images"),
    ],
)
def test_mistakes_are_one_line(net: nn.Module, change: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as error:
        judged(net, **change)
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("given", ["model", "vanilla"])
def test_the_audit_of_tasks_says_how_a_module_is_audited(net: nn.Module, given: str) -> None:
    from natx.testing import TinyCNNTask

    task = net if given == "model" else TinyCNNTask()
    with pytest.raises(UserError, match=r"got Sequential: .* natx\.evaluate\(.*audit=True\)") as error:
        task_audit(task, TinyDataset(4), threat=Linf(EPS), vanilla=net if given == "vanilla" else None)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
