"""CAS against its formula on the plain network's own layers."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from natx.attacks import PGD
from natx.errors import CheckpointError, ConfigError
from natx.evaluation import evaluate
from natx.methods import Adversarial
from natx.models.adversary import Adversary
from natx.models.checkpoint import load_weights, save_weights
from natx.models.weights import read_weights
from natx.registry import TASKS
from natx.terms import TRADES, NastyKL, TaskLoss
from natx.testing import TinyDataset
from natx.threat import Linf
from natx.training.learner import Learner
from tasks.cls import CASTask, ClassificationTask

CLASSES, EPS = 7, 8 / 255
SMALL, LARGE = "resnet8_cifar", "resnet18_cifar"


def build(model: str = SMALL, **settings) -> CASTask:
    """In float64, with batch-norm statistics that are not the trivial ones."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        task = CASTask(model, CLASSES, **settings).double()
        for module in task.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    return task


def images(count: int = 6) -> dict[str, Tensor]:
    return TinyDataset(count, num_classes=CLASSES, shape=(3, 16, 16)).__getitems__(range(count))


def by_hand(task: CASTask, x: Tensor, labels: Tensor | None) -> tuple[Tensor, list[Tensor]]:
    """Logits and auxiliary logits, layer by layer; the channels are weighed by label, or by the layers' own choice."""
    net = task.net.net
    x = (x - task.mean) / task.std
    if task.model == SMALL:
        stem, first, second, third = net.body
        x, blocks = second(first(stem(x))), [third]
    else:
        x = net.layer3(net.layer2(net.layer1(torch.relu(net.bn1(net.conv1(x))))))
        blocks = [net.layer4[0], net.layer4[1]]
    found = []
    for block, aux in zip(blocks, task.net.aux):
        x = block(x)
        z = x.mean((2, 3)) @ aux.weight.T + aux.bias
        rows = aux.weight[z.argmax(1) if labels is None else labels]
        x = torch.einsum("nchw,nc->nchw", x, rows)
        found.append(z)
    return x.mean((2, 3)) @ net.fc.weight.T + net.fc.bias, found


def total(logits: Tensor, aux: list[Tensor], y: Tensor, weight: float) -> Tensor:
    """The loss of each image."""
    return F.cross_entropy(logits, y, reduction="none") + weight * sum(
        F.cross_entropy(z, y, reduction="none") for z in aux
    ) / len(aux)


# --------------------------------------------------------------------------------------------------------- the model


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("model", [SMALL, LARGE])
def test_losses_and_gradients_are_those_of_the_formula(model: str, train: bool) -> None:
    task, batch = build(model, aux_weight=2.0).train(train), images(4)
    other = copy.deepcopy(task)
    output = task(batch)
    loss = sum(output.losses.values())
    loss.backward()
    x, y = batch["inputs"].double(), batch["data_samples"]
    logits, aux = by_hand(other, x, y if train else None)
    expected = total(logits, aux, y, 2.0)
    torch.testing.assert_close(output.logits, logits, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(loss, expected.mean(), rtol=1e-9, atol=0)
    torch.testing.assert_close(sum(output.image_losses.values()), expected, rtol=1e-9, atol=0)
    assert set(output.losses) == set(output.image_losses) == {"loss_ce", "loss_aux"}
    expected.mean().backward()
    for mine, theirs in zip(task.parameters(), other.parameters()):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-6, atol=1e-12)
    assert all(layer.weight.grad.abs().max() > 0 for layer in task.net.aux)
    assert len(task.net.aux) == (1 if model == SMALL else 2)


def test_labels_count_in_train_mode_only() -> None:
    task, batch = build(), images()
    moved = {**batch, "data_samples": (batch["data_samples"] + 1) % CLASSES}
    x = batch["inputs"].double()
    task.eval()
    assert torch.equal(task.network(x, batch)["logits"], task.network(x, moved)["logits"])
    assert torch.equal(task.logits(x), task.network(x, batch)["logits"])
    assert torch.equal(task.predict(batch), task.logits(x).argmax(1))
    task.train()
    gap = (task.network(x, batch)["logits"] - task.network(x, moved)["logits"]).abs().amax(1)
    assert gap.min() > 1e-6
    assert torch.equal(task.network(x, batch)["aux"][:, 0], task.network(x, moved)["aux"][:, 0])  # before the weighing


def test_weights_of_one_leave_the_plain_network() -> None:
    task, batch = build(LARGE).eval(), images(3)
    for aux in task.net.aux:
        nn.init.ones_(aux.weight)
    x = batch["inputs"].double()
    plain = task.net.net((x - task.mean) / task.std)
    torch.testing.assert_close(task.logits(x), plain, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(task.embed(x), task.net.net.forward_features((x - task.mean) / task.std).mean((2, 3)))
    torch.testing.assert_close(task.embed(x) @ task.net.get_classifier().weight.T, plain - task.net.net.fc.bias)


def test_a_soft_label_weighs_by_the_mean_of_its_classes() -> None:
    task, batch = build().train(), images()
    y = batch["data_samples"]
    hard = F.one_hot(y, CLASSES).double()
    mixed = 0.7 * hard + 0.3 * hard.flip(0)
    x = batch["inputs"].double()
    same = {**batch, "data_samples": hard}
    torch.testing.assert_close(task.network(x, same)["logits"], task.network(x, batch)["logits"])
    before = task.net._features((x - task.mean) / task.std, y)[0]
    flipped = task.net._features((x - task.mean) / task.std, y.flip(0))[0]
    half = task.net._features((x - task.mean) / task.std, mixed)[0]
    torch.testing.assert_close(half, 0.7 * before + 0.3 * flipped, rtol=1e-9, atol=1e-12)
    output = task({**batch, "data_samples": mixed})
    aux = task.network(x, {**batch, "data_samples": mixed})["aux"][:, 0]
    expected = -(mixed * aux.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(output.losses["loss_aux"], 2 * expected, rtol=1e-6, atol=0)


def test_smoothing_is_of_the_training_losses_only() -> None:
    batch = images()
    plain, smooth = (build(label_smoothing=s).eval()(batch) for s in (0.0, 0.2))
    assert all(torch.equal(smooth.image_losses[name], plain.image_losses[name]) for name in plain.image_losses)
    assert all(smooth.losses[name] != plain.losses[name] for name in plain.losses)


# --------------------------------------------------------------------------------------------- attacks and training


def test_pgd_climbs_the_same_sum_image_by_image() -> None:
    task, batch = build().eval(), images()
    attack = PGD(Linf(EPS), 3, step_size=4 / 255, random_start=False, objective=dict(type="ImageLoss"))
    x, y = batch["inputs"].double(), batch["data_samples"]
    x_adv = x
    for _ in range(3):
        x_adv = x_adv.detach().requires_grad_()
        (grad,) = torch.autograd.grad(total(*by_hand(task, x_adv, None), y, 2.0).sum(), x_adv)
        x_adv = (x + (x_adv + 4 / 255 * grad.sign() - x).clamp(-EPS, EPS)).clamp(0, 1)
    torch.testing.assert_close(attack(task, batch), x_adv.detach(), rtol=0, atol=1e-12)
    ce = PGD(Linf(EPS), 3, step_size=4 / 255, random_start=False)(task, batch)
    assert not torch.allclose(ce, x_adv)


def test_a_training_step_attacks_by_the_models_choice_and_learns_by_the_label() -> None:
    task, batch = build().train(), images()
    other = copy.deepcopy(task)
    attack = PGD(Linf(EPS), 2, step_size=4 / 255, objective=dict(type="ImageLoss"))
    x_adv = attack(other, batch)
    scalars = Learner(task, Adversarial(attack, joint_batch=True)).train()(**batch, mode="loss")
    y = batch["data_samples"]
    expected = total(*by_hand(other.train(), x_adv, y), y, 2.0).mean()
    torch.testing.assert_close(scalars["loss_ce"] + scalars["loss_aux"], expected, rtol=1e-9, atol=0)
    assert task.net.training


def test_other_terms_compose() -> None:
    """One joint forward: each view is weighed by the labels of its own rows."""
    task, batch = build().train(), images()
    frozen = Adversary([build(aux_weight=0.0), ClassificationTask(SMALL, CLASSES).double()])
    attack = PGD(Linf(EPS), 2, objective=dict(type="KL"), random_start="normal")
    terms = [TaskLoss(on=("clean",)), TRADES(6.0), NastyKL(frozen, 0.06)]
    method = Adversarial(attack, ("clean", "adv"), terms=terms)
    method.prepare(task, torch.device("cpu"))
    scalars = Learner(task, method).train()(**batch, mode="loss")
    assert {"loss_ce", "loss_aux", "loss_trades", "loss_nasty"} == {name for name in scalars if "loss" in name}
    assert all(torch.isfinite(value).all() for value in scalars.values())


def test_it_is_judged_as_any_classifier() -> None:
    task = build().float().eval()
    data = TinyDataset(6, num_classes=CLASSES, shape=(3, 16, 16))
    found = evaluate(task, data, [PGD(Linf(EPS), 3), PGD(Linf(EPS), 3, objective=dict(type="Margin"), name="C&W")])
    right = (task.predict(images()) == data.labels).float().mean() * 100
    assert found.accuracy("Clean") == pytest.approx(float(right), abs=1e-3)


# ------------------------------------------------------------------------------------------------------- checkpoints


def test_weights_come_back_from_a_file(tmp_path: Path) -> None:
    task, other = build().eval(), build().eval()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1)
    save_weights(tmp_path / "cas.safetensors", task, meta={"epoch": 3})
    assert load_weights(other, tmp_path / "cas.safetensors")["epoch"] == 3
    x = images()["inputs"].double()
    assert torch.equal(task.logits(x), other.logits(x))
    keys = set(read_weights(tmp_path / "cas.safetensors").tensors)
    plain = ClassificationTask(SMALL, CLASSES)
    assert keys == {f"net.{key}" for key in plain.upstream.state_dict()} | {"aux.0.weight", "aux.0.bias"}
    with pytest.raises(CheckpointError, match="another architecture") as error:
        load_weights(plain, tmp_path / "cas.safetensors")
    assert "\n" not in str(error.value)


def test_it_may_start_from_the_plain_networks_weights(tmp_path: Path) -> None:
    plain = ClassificationTask(SMALL, CLASSES)
    save_weights(tmp_path / "plain.safetensors", plain, meta={})
    task = TASKS.build(
        dict(type="CASTask", model=SMALL, num_classes=CLASSES, checkpoint=str(tmp_path / "plain.safetensors"))
    )
    assert all(torch.equal(value, task.net.net.state_dict()[key]) for key, value in plain.net.state_dict().items())


# ---------------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(model="wrn_28_10"), "wrn_28_10 has none: use resnet18_cifar"),
        (dict(model="small_cnn"), "last stage"),
        (dict(model="mobilenetv2_cifar"), "last stage"),
        (dict(aux_weight=-1.0), "aux_weight >= 0"),
        (dict(aux_weight=float("nan")), "aux_weight >= 0"),
        (dict(num_classes=1), "at least 2 classes"),
    ],
)
def test_bad_settings_are_refused_in_one_line(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        CASTask(**{"model": SMALL, "num_classes": 10, **settings})
    assert "\n" not in str(error.value)
