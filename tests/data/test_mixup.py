"""Mixup: blends, soft labels, and an inner attack on the mixed cross-entropy."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from natx.attacks import build_attack
from natx.batch import COPIES
from natx.data.augment import Mixup, RandomFlip
from natx.errors import ConfigError, UserError
from natx.methods import Adversarial
from natx.registry import AUGMENTS
from natx.testing import LinearTask, TinyCNNTask, TinyDataset
from natx.training.learner import Learner
from tasks.cls.task import ClassificationTask

LINF: dict[str, Any] = {"type": "Linf", "eps": 0.1}
PGD: dict[str, Any] = {"type": "PGD", "threat": LINF, "steps": 3, "step_size": 0.05, "random_start": False}


def batch(n: int = 9, *, dtype: torch.dtype = torch.float64, classes: int = 5) -> dict[str, Any]:
    draw = torch.Generator().manual_seed(1)
    index = torch.randperm(1000, generator=draw)[:n]
    images = torch.rand(n, 3, 8, 8, generator=draw, dtype=dtype)
    return {"inputs": images, "data_samples": torch.arange(n) % classes, "index": index}


def rows(content: dict[str, Any], order: Tensor) -> dict[str, Any]:
    return {key: value[order] for key, value in content.items()}


def small(**settings: Any) -> ClassificationTask:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ClassificationTask("small_cnn", 5, model_args={"width": 4}, **settings).double().eval()


# ---------------------------------------------------------------------------------------------- the blend


@pytest.mark.parametrize("ratio", [0.7, 0.4])
def test_pixels_and_labels_are_blended_with_the_same_partner(ratio: float) -> None:
    given = batch()
    mixup = Mixup(5, ratio)
    partner = mixup.partners(given["index"], seed=3, epoch=2).tolist()
    mixed = mixup(given, seed=3, epoch=2)
    assert sorted(partner) == list(range(9)) and partner != list(range(9))
    assert torch.equal(mixed["index"], given["index"])
    for i, j in enumerate(partner):
        expected = ratio * given["inputs"][i].numpy() + (1 - ratio) * given["inputs"][j].numpy()
        np.testing.assert_allclose(mixed["inputs"][i].numpy(), expected, rtol=0, atol=1e-15)
        label = np.zeros(5)
        label[int(given["data_samples"][i])] += ratio
        label[int(given["data_samples"][j])] += 1 - ratio
        np.testing.assert_allclose(mixed["data_samples"][i].numpy(), label, rtol=0, atol=1e-15)


def test_a_ratio_of_one_changes_nothing_but_the_labels_form() -> None:
    given = batch()
    mixed = Mixup(5, 1.0)(given, seed=0, epoch=0)
    assert torch.equal(mixed["inputs"], given["inputs"])
    assert torch.equal(mixed["data_samples"].argmax(1), given["data_samples"])
    assert mixed["data_samples"].unique().tolist() == [0, 1]


def test_the_default_is_the_paper() -> None:
    assert AUGMENTS.build({"type": "Mixup", "num_classes": 10}).ratio == 0.7


def test_partners_depend_on_the_images_and_not_on_their_order_or_the_global_generator() -> None:
    given, mixup = batch(12), Mixup(5)
    before = torch.get_rng_state()
    mixed = mixup(given, seed=1, epoch=4)
    assert torch.equal(torch.get_rng_state(), before)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3))
    assert all(
        torch.equal(a, b)
        for a, b in zip(rows(mixed, order).values(), mixup(rows(given, order), seed=1, epoch=4).values())
    )
    other = [mixup.partners(given["index"], seed=s, epoch=e).tolist() for s, e in ((1, 4), (1, 5), (2, 4))]
    assert other[0] != other[1] != other[2] != other[0]


def test_partners_are_a_uniform_permutation() -> None:
    index = torch.tensor([40, 7, 1000])
    seen = Counter(tuple(Mixup(2).partners(index, seed=s, epoch=0).tolist()) for s in range(3000))
    assert len(seen) == 6
    assert all(abs(count - 500) < 5 * (500 * 5 / 6) ** 0.5 for count in seen.values())


def test_stored_copies_are_blended_alike_and_formats_are_kept() -> None:
    given = batch(6, dtype=torch.float32)
    given["inputs"] = given["inputs"].contiguous(memory_format=torch.channels_last)
    given[COPIES] = (given["inputs"] + 0.01).clamp(0, 1)
    mixed = Mixup(5)(given, seed=0, epoch=0)
    assert mixed["inputs"].is_contiguous(memory_format=torch.channels_last)
    assert mixed["inputs"].dtype == mixed["data_samples"].dtype == torch.float32
    assert float((mixed["inputs"] - mixed[COPIES]).abs().max()) <= 0.01 + 1e-6
    assert float(mixed["data_samples"].sum(1).sub(1).abs().max()) < 1e-6


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"num_classes": 1}, "num_classes"),
        ({"num_classes": 10.0}, "num_classes"),
        ({"num_classes": 10, "ratio": 1.1}, "ratio"),
        ({"num_classes": 10, "ratio": float("nan")}, "ratio"),
        ({"num_classes": 10, "ratio": "half"}, "ratio"),
        ({}, "num_classes"),
    ],
)
def test_bad_settings(settings: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        AUGMENTS.build({"type": "Mixup", **settings})


def test_labels_that_do_not_fit_are_one_line() -> None:
    given = batch()
    for labels, part in (
        (given["data_samples"] + 3, "num_classes=5 and got a label 7"),
        ([None] * 9, "one class label per image"),
        (torch.zeros(9, 5), "one class label per image"),
    ):
        with pytest.raises(ConfigError, match=part):
            Mixup(5)({**given, "data_samples": labels}, seed=0, epoch=0)
    with pytest.raises(UserError, match=r"soft labels are \[9, 6\], logits \[9, 5\]"):
        task = small()
        task(Mixup(6)(given, seed=0, epoch=0))


# ---------------------------------------------------------------------------------------------- in training


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_mixed_cross_entropy(smoothing: float) -> None:
    """0.7 CE(z, y) + 0.3 CE(z, y_partner), each smoothed, on the blended images."""
    task, given, mixup = small(label_smoothing=smoothing), batch(), Mixup(5)
    mixed = mixup(given, seed=0, epoch=0)
    output = task(mixed)
    y, partner = given["data_samples"], mixup.partners(given["index"], seed=0, epoch=0)
    log_probs = output.logits.detach().log_softmax(1).numpy()

    def entropy(labels: Tensor) -> float:
        target = np.full((9, 5), smoothing / 5)
        target[np.arange(9), labels.numpy()] += 1 - smoothing
        return -(target * log_probs).sum(1).mean()

    expected = 0.7 * entropy(y) + 0.3 * entropy(y[partner])
    assert float(output.losses["loss_ce"].detach()) == pytest.approx(expected, rel=1e-12)
    assert torch.equal(task.correct(output), output.logits.argmax(1) == y)


def test_soft_labels_take_the_precision_of_the_logits() -> None:
    task, given = small(), batch()
    given = {**given, "inputs": given["inputs"].float()}
    assert task(Mixup(5)(given, seed=0, epoch=0)).labels.dtype == torch.float64


def test_the_inner_attack_climbs_the_mixed_cross_entropy() -> None:
    """One step on a linear model goes along the sign of ``(p - q) W``, where q is the soft label."""
    weight = torch.randn(5, 192, generator=torch.Generator().manual_seed(2), dtype=torch.float64) / 10
    task, given = LinearTask(weight), batch(dtype=torch.float64)
    mixed = Mixup(5)(given, seed=0, epoch=0)
    attack = build_attack({**PGD, "steps": 1})
    x_adv = attack(task, mixed)
    x = mixed["inputs"]
    p = torch.softmax(x.flatten(1) @ weight.T, 1)
    climbed = ((p - mixed["data_samples"]) @ weight).view_as(x).sign()
    torch.testing.assert_close(x_adv, (x + 0.05 * climbed).clamp(0, 1), rtol=0, atol=1e-12)
    hard = ((p - torch.eye(5, dtype=torch.float64)[given["data_samples"]]) @ weight).view_as(x).sign()
    assert bool((hard != climbed).any())


def test_the_learner_blends_after_flips_and_trains_on_it() -> None:
    task, given = TinyCNNTask(double=True), batch()
    learner = Learner(
        task, Adversarial(PGD), augments=[{"type": "RandomFlip"}, {"type": "Mixup", "num_classes": 5}], seed=4
    )
    flipped = RandomFlip()(given["inputs"], index=given["index"], seed=4, epoch=0)
    expected = Mixup(5)({**given, "inputs": flipped}, seed=4, epoch=0)
    assert all(torch.equal(learner.augmented(given)[key], expected[key]) for key in expected)
    scalars = learner(**given, mode="loss")
    sum(value for key, value in scalars.items() if "loss" in key).backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in task.parameters())
    assert 0 <= float(scalars["acc_adv"]) <= 100


def test_a_ratio_of_one_trains_as_without() -> None:
    gradients = []
    for augments in ([], [{"type": "Mixup", "num_classes": 5, "ratio": 1.0}]):
        task = TinyCNNTask(double=True, dropout=0.0)
        learner = Learner(task, Adversarial(PGD), augments=augments)
        scalars = learner(**TinyDataset(10).__getitems__(range(10)), mode="loss")
        scalars["loss_ce"].backward()
        gradients.append([p.grad for p in task.parameters()])
    for a, b in zip(*gradients):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
