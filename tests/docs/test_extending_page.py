"""What docs/extending.md says of one's own training loop and of other libraries' attacks is so."""

from __future__ import annotations

import copy
import re
from typing import Any

import foolbox
import pytest
import torch
from listings import ROOT, Block, blocks
from torch import Tensor, nn
from torch.distributions import Categorical, kl_divergence
from torch.nn import functional as F

import natx
from natx.attacks import PGD
from natx.attacks.base import Attack
from natx.errors import ConfigError, ConstraintError
from natx.methods import Adversarial
from natx.methods.base import optimised
from natx.models.adversary import Adversary
from natx.models.wrap import ModuleTask
from natx.terms import NastyKL, TaskLoss
from natx.testing import TinyCNNTask, TinyDataset, fit
from natx.threat import Linf

PAGE = ROOT / "docs" / "extending.md"
LOOP, LIBRARY = "In your own training loop", "An attack of another library"
EPS = 8 / 255
DATA = TinyDataset(count=20, num_classes=10, noise=0.2)


def listing(heading: str, *, number: int = 0) -> Block:
    return [block for block in blocks(PAGE) if block.heading == heading and block.language == "python"][number]


def executed(block: Block, **names: Any) -> dict[str, Any]:
    exec(compile(block.text, block.place, "exec"), names)  # noqa: S102
    return names


def network(seed: int, *, fitted: bool = False) -> nn.Module:
    """A network with batch norm and without dropout, on pixels."""
    task = TinyCNNTask(10, dropout=0.0, seed=seed)
    return (fit(task, DATA, steps=60) if fitted else task).net


# --- the loop ---------------------------------------------------------------------------------------------------------


def test_the_loop_has_the_loss_of_natx_s_own_method(monkeypatch: pytest.MonkeyPatch) -> None:
    model, frozen, (x, y) = network(0), network(1, fitted=True), (DATA.images[:12], DATA.labels[:12])
    monkeypatch.setattr(natx, "load", lambda path: copy.deepcopy(frozen), raising=False)
    found = executed(listing(LOOP), MyNet=lambda: copy.deepcopy(model), loader=[(x, y)])

    task = ModuleTask(model, 10)
    nasty = NastyKL(Adversary([ModuleTask(frozen, 10)]), weight=0.06, temperature=4.0)
    method = Adversarial(PGD(Linf(EPS), 10), ("clean", "adv"), terms=[TaskLoss(), nasty])
    method.prepare(task, torch.device("cpu"))
    batch = {"inputs": x, "data_samples": y, "index": torch.arange(12)}
    scalars = method(task.train(), batch, epoch=0)
    torch.testing.assert_close(found["loss"], optimised(scalars))
    torch.testing.assert_close(-0.06 * 4**2 * found["nasty"], scalars["loss_nasty"])


def test_the_loop_s_loss_is_eq_5_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model, frozen, (x, y) = network(0), network(1, fitted=True), (DATA.images[:12], DATA.labels[:12])
    monkeypatch.setattr(natx, "load", lambda path: copy.deepcopy(frozen), raising=False)
    found = executed(listing(LOOP), MyNet=lambda: copy.deepcopy(model), loader=[(x, y)])
    change = (found["x_adv"] - x).abs().amax()
    assert 0 < change <= EPS + 1e-6
    both = torch.cat([x, found["x_adv"]])
    with torch.no_grad():
        z, other = copy.deepcopy(model).train()(both), frozen.eval()(both)
    kl = kl_divergence(Categorical(logits=z / 4), Categorical(logits=other / 4))
    expected = F.cross_entropy(z, torch.cat([y, y])) - 0.06 * 16 * kl.mean()
    torch.testing.assert_close(found["loss"].detach(), expected)
    assert not found["adversary"].training and not any(p.requires_grad for p in found["adversary"].parameters())
    assert found["model"].training and all(p.requires_grad for p in found["model"].parameters())
    moved = [not torch.equal(a, b) for a, b in zip(found["model"].parameters(), model.parameters())]
    assert all(moved)


def test_starts_differ_from_step_to_step(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen, seen = network(1), []

    class Watched(PGD):
        def run(self, victim: Any, *, epoch: int = 0) -> Tensor:
            seen.append(self.start(victim, epoch=epoch, restart=0))
            return super().run(victim, epoch=epoch)

    monkeypatch.setattr("natx.attacks.PGD", Watched)
    monkeypatch.setattr(natx, "load", lambda path: frozen, raising=False)
    executed(listing(LOOP), MyNet=lambda: network(0), loader=[(DATA.images[:4], DATA.labels[:4])] * 2)
    assert len(seen) == 2 and not torch.allclose(seen[0], seen[1])


# --- attacks of other libraries ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return network(2, fitted=True).eval()


def adapted(attack: Any, **settings: Any) -> Attack:
    return executed(listing(LIBRARY))["Adapted"](Linf(EPS), attack, **settings)


def signed(model: nn.Module, eps: float) -> Any:
    """One step of eps along the gradient's sign: FGSM, as a function."""

    def attack(x: Tensor, y: Tensor) -> Tensor:
        (grad,) = torch.autograd.grad(F.cross_entropy(model(x.requires_grad_()), y), x)
        return (x + eps * grad.sign()).clamp(0, 1).detach()

    return attack


def test_a_function_as_an_attack_breaks_what_the_same_attack_of_natx_breaks(model: nn.Module) -> None:
    attacks = [adapted(signed(model, EPS), name="theirs"), "FGSM"]
    result = natx.evaluate(model, DATA.images, DATA.labels, attacks=attacks, eps=EPS)
    assert result.correct["Clean"].any()
    assert torch.equal(result.correct["theirs"], result.correct["FGSM"])
    passes = result.evaluation.attacks[1].cost
    assert (passes.forwards, passes.backwards) == (int(result.correct["Clean"].sum()), 0)  # the last look alone


def test_images_outside_the_threat_model_end_the_judging(model: nn.Module) -> None:
    with pytest.raises(ConstraintError, match="left the ball Linf 8/255"):
        natx.evaluate(model, DATA.images, DATA.labels, attacks=[adapted(signed(model, 2 * EPS))])


def test_foolbox_s_attacks_as_on_the_page(model: nn.Module) -> None:
    held, pgd = foolbox.PyTorchModel(model, bounds=(0, 1)), foolbox.attacks.LinfPGD(rel_stepsize=0.25, steps=20)
    with torch.no_grad():
        y = model(DATA.images).argmax(1)
    torch.manual_seed(0)
    attack = adapted(lambda x, y: pgd(held, x, y, epsilons=EPS)[1], name="foolbox")
    result = natx.evaluate(model, DATA.images, y, attacks=[attack, "PGD-20"], eps=EPS)
    ours, theirs = result.accuracies["PGD-20"], result.accuracies["foolbox"]
    assert ours < 100 and theirs < 100 and abs(ours - theirs) <= 10  # two images: other starts


@pytest.mark.parametrize("several", [False, True])
def test_a_function_given_as_an_attack_is_sent_to_the_section(model: nn.Module, several: bool) -> None:
    def attack(x: Tensor, y: Tensor) -> Tensor:
        return x

    with pytest.raises(ConfigError) as error:
        natx.evaluate(model, DATA.images, DATA.labels, attacks=[attack] if several else attack, eps=EPS)
    told = re.search(r"(docs/\w+\.md), '([^']+)'", str(error.value))
    assert told and "\n" not in str(error.value)
    assert f"### {told[2]}\n" in (ROOT / told[1]).read_text()
    with pytest.raises(ConfigError) as error:
        natx.attack(model, DATA.images, DATA.labels, attack, eps=EPS)
    assert told[0] in str(error.value)


@pytest.mark.parametrize("wrong", [3, PGD])
def test_what_is_no_attack_at_all_is_not_sent_there(model: nn.Module, wrong: Any) -> None:
    with pytest.raises(ConfigError, match="an attack is a name") as error:
        natx.evaluate(model, DATA.images, DATA.labels, attacks=wrong, eps=EPS)
    assert "docs/" not in str(error.value)
