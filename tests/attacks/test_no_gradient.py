"""Models whose output is cut off from the pixels: attacks that follow gradients refuse them, others judge them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import natx
from natx.attacks import APGD, FGSM, PGD, Attack, AutoAttack, AutoPGD, Square, Targeted, Transfer
from natx.checks import audit, audited
from natx.errors import ConfigError, UserError
from natx.evaluation import evaluate
from natx.testing import TinyDataset, WrappedTask
from natx.threat import Linf

EPS = 0.1
LINF = Linf(EPS)
CLASSES, SHAPE = 4, (1, 3, 3)


class Cut(nn.Module):
    """Logits ``W x`` of flattened pixels; ``how`` cuts the gradient, 'round' gives one that is zero."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.weight = nn.Parameter(torch.randn(CLASSES, 9, generator=torch.Generator().manual_seed(2)))
        self.hidden = [torch.ones((), requires_grad=True)]  # no parameter: it goes on asking for a gradient

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "no_grad":
            with torch.no_grad():
                return self.logits(x)
        if self.how == "detach":
            return self.logits(x.detach())
        if self.how == "elsewhere":
            return self.logits(x.detach()) * self.hidden[0]
        return self.logits((x * 200).round() / 200 if self.how == "round" else x)

    def logits(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T


def task(how: str) -> WrappedTask:
    return WrappedTask(Cut(how), CLASSES)


@pytest.fixture(scope="module")
def data() -> TinyDataset:
    """Images that the linear model gets right."""
    images = TinyDataset(20, num_classes=CLASSES, shape=SHAPE, seed=1)
    images.labels = Cut("")(images.images).argmax(1)
    return images


SOURCE = {"task": {"type": "LinearTask", "weight": torch.eye(CLASSES, 9).tolist()}, "state": "random"}
FOLLOW: dict[str, Attack] = {
    "PGD": PGD(LINF, 3),
    "PGD, last": PGD(LINF, 3, restarts=2),
    "C&W": PGD(LINF, 3, objective=dict(type="Margin")),
    "FGSM": FGSM(LINF),
    "targeted": Targeted(LINF, dict(type="PGD", steps=2, objective=dict(type="TargetedMargin"))),
    "AutoPGD": AutoPGD(LINF, steps=5),
    "APGD": APGD(LINF, steps=5),
    "AutoAttack": AutoAttack(LINF),
    "refined": Transfer(LINF, SOURCE, dict(type="PGD", steps=2), refine=dict(type="PGD", steps=2)),
}


@pytest.mark.parametrize("how", ["detach", "no_grad", "elsewhere"])
@pytest.mark.parametrize("name", FOLLOW)
def test_attacks_that_follow_gradients_refuse_in_one_line(data: TinyDataset, how: str, name: str) -> None:
    if how == "elsewhere" and name in ("APGD", "AutoAttack"):
        pytest.skip("the library takes this gradient itself")
    model = task(how).train()
    with pytest.raises(ConfigError, match=r"no gradient with respect to the pixels .*Square, Transfer") as error:
        evaluate(model, data, [FOLLOW[name]], success="last" if "last" in name else "any")
    assert isinstance(error.value, UserError) and "\n" not in str(error.value) and len(str(error.value)) < 300
    assert model.training and model.net.training and model.net.weight.requires_grad
    batch = data.__getitems__(range(4))
    with pytest.raises(ConfigError, match="no gradient"):
        FOLLOW[name](model, batch)


def test_a_gradient_of_zeros_is_the_models_own(data: TinyDataset) -> None:
    """Sign steps go nowhere, the evaluation runs to its end, and an audit says why nothing broke (G9)."""
    found = evaluate(task("round"), data, [PGD(LINF, 3, random_start=False)])
    assert torch.equal(found.correct["PGD-3"], found.correct["Clean"]) and found.accuracy("Clean") > 80
    assert found.attacks[1].cost.backwards > 0
    verdicts = {v.id: v for v in audit(task("round"), data, attacks=[PGD(LINF, 3)], evaluation=found, draws=10)}
    assert verdicts["G9"].verdict == "red" and verdicts["G9"].figure == 100


def test_black_box_attacks_judge_it_as_if_it_were_whole(data: TinyDataset) -> None:
    attacks = [Square(LINF, queries=60), Transfer(LINF, SOURCE, dict(type="PGD", steps=5))]
    cut, whole = (evaluate(task(how), data, attacks) for how in ("detach", ""))
    for column in ("Clean", "Square", "Transfer"):
        assert torch.equal(cut.correct[column], whole.correct[column])
    assert 0 < cut.accuracy("Square") < 90 and cut.accuracy("Clean") == 100
    verdicts = audit(task("detach"), data, attacks=attacks, evaluation=cut, draws=10)
    colours = {verdict.id: verdict.verdict for verdict in verdicts}
    assert colours["G9"] == "red" and audited(verdicts)["robust_wording"] is False


def test_the_notebook_function_refuses_alike(data: TinyDataset) -> None:
    given: dict[str, Any] = {"images": data.images, "labels": data.labels, "eps": EPS}
    model = Cut("detach").train()
    with pytest.raises(ConfigError, match="no gradient with respect to the pixels"):
        natx.evaluate(model, **given)
    assert model.training
    result = natx.evaluate(model, **given, attacks=[Square(LINF, queries=60)])
    assert result.accuracies["Clean"] == 100 > result.accuracies["Square"]
