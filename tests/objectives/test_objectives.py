from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from natx.errors import ConfigError, UnsupportedError
from natx.models.adversary import Adversary
from natx.objectives import DLR, KL, Adaptive, CrossEntropy, ImageLoss, Margin, NamedLoss, Objective
from natx.registry import OBJECTIVES
from natx.task import Output
from natx.testing import LinearTask, TinyCNNTask


def draw(*shape: int, seed: int = 0, scale: float = 3.0) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


LOGITS, LABELS = draw(12, 5), torch.arange(12) % 5


def output(logits: Tensor, labels: Tensor, *, link: str = "softmax", image: Tensor | None = None) -> Output:
    n = len(logits) if image is None else int(image.max()) + 1
    rows = None if image is None else "anchors"
    image = torch.arange(n) if image is None else image
    weight = torch.full((len(logits),), 1 / len(logits), dtype=logits.dtype)
    return Output({}, logits, labels, image, weight, n, link, None, rows)


def one_hot(labels: Tensor, classes: int) -> Tensor:
    return torch.eye(classes, dtype=torch.float64)[labels]


def cross_entropy(z: Tensor, y: int) -> Tensor:
    return z.exp().sum().log() - z[y]


def hinge(z: Tensor, y: int) -> Tensor:
    return torch.stack([z[j] - z[y] for j in range(len(z)) if j != y]).max()


def ratio(z: Tensor, y: int) -> Tensor:
    order = sorted(z, reverse=True)
    return hinge(z, y) / (order[0] - order[2] + 1e-12)


CLEAN = draw(12, 5, seed=9)


def divergence(z: Tensor, clean: Tensor) -> Tensor:
    p, q = clean.exp() / clean.exp().sum(), z.exp() / z.exp().sum()
    return (p * (p / q).log()).sum()


def check(objective: Objective, expected: Tensor, logits: Tensor, labels: Tensor, batch: dict) -> None:
    """Value and gradient of an objective against those of a reference built on the same leaf."""
    score = objective(output(logits, labels), batch, x=torch.zeros(len(logits), 1))
    assert score.shape == (len(logits),) and score.dtype == torch.float64
    torch.testing.assert_close(score, expected, rtol=1e-12, atol=1e-12)
    (grad,) = torch.autograd.grad(score.sum(), logits)
    (expected_grad,) = torch.autograd.grad(expected.sum(), logits)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("objective", "reference"),
    [(CrossEntropy(), cross_entropy), (Margin(), hinge), (DLR(), ratio)],
    ids=["CE", "CW", "DLR"],
)
def test_value_and_gradient_of_labelled_objectives(objective: Objective, reference) -> None:
    z = LOGITS.clone().requires_grad_()
    check(objective, torch.stack([reference(z[i], int(y)) for i, y in enumerate(LABELS)]), z, LABELS, {})


def test_value_and_gradient_of_kl_to_the_clean_prediction() -> None:
    z, objective = LOGITS.clone().requires_grad_(), KL()
    task = LinearTask(torch.eye(5, dtype=torch.float64))  # logits are pixels
    batch = {"data_samples": LABELS, **objective.prepare(task, {"data_samples": LABELS}, x=CLEAN.view(12, 5, 1, 1))}
    check(objective, torch.stack([divergence(z[i], CLEAN[i]) for i in range(12)]), z, LABELS, batch)


def test_kl_is_zero_with_zero_gradient_at_the_clean_image() -> None:
    objective, task = KL(), LinearTask(torch.eye(5, dtype=torch.float64))
    batch = objective.prepare(task, {"data_samples": LABELS}, x=CLEAN.view(12, 5, 1, 1))
    z = CLEAN.clone().requires_grad_()
    score = objective(output(z, LABELS), batch, x=z)
    (grad,) = torch.autograd.grad(score.sum(), z)
    assert score.abs().max() < 1e-12 and grad.abs().max() < 1e-12


def test_margin_is_positive_exactly_where_misclassified() -> None:
    score = Margin()(output(LOGITS, LABELS), {}, x=LOGITS)
    torch.testing.assert_close(Margin()(output(LOGITS - 50, LABELS), {}, x=LOGITS), score)  # all logits below zero
    wrong = torch.tensor([max(range(5), key=lambda j: float(z[j])) != int(y) for z, y in zip(LOGITS, LABELS)])
    assert 0 < int(wrong.sum()) < 12
    assert torch.equal(score > 0, wrong)


def test_dlr_ignores_scale_and_shift_of_the_logits() -> None:
    score = DLR()(output(LOGITS, LABELS), {}, x=LOGITS)
    changed = DLR()(output(37 * LOGITS - 12, LABELS), {}, x=LOGITS)
    torch.testing.assert_close(changed, score, rtol=1e-9, atol=1e-9)
    assert (CrossEntropy()(output(37 * LOGITS - 12, LABELS), {}, x=LOGITS) - 1).abs().max() > 1  # CE does not


def test_dlr_needs_three_classes() -> None:
    with pytest.raises(UnsupportedError, match="at least 3 classes; got 2: use Margin"):
        DLR().check(TinyCNNTask(2))
    DLR().check(TinyCNNTask(3))


@pytest.mark.parametrize("objective", [Margin(), DLR()], ids=["Margin", "DLR"])
def test_sigmoid_heads_are_refused(objective: Objective) -> None:
    with pytest.raises(ConfigError, match="sigmoid"):
        objective(output(LOGITS, LABELS, link="sigmoid"), {}, x=LOGITS)


def test_cross_entropy_of_soft_labels() -> None:
    z, soft = LOGITS.clone().requires_grad_(), draw(12, 5, seed=4).softmax(1)
    log_p = z - z.exp().sum(1, keepdim=True).log()
    check(CrossEntropy(), -(soft * log_p).sum(1), z, soft, {})


def test_cross_entropy_of_a_sigmoid_head_sums_over_the_classes_and_knows_background() -> None:
    labels = torch.tensor([0, 4, 5])  # 5 of 5 classes: background
    z = LOGITS[:3].clone().requires_grad_()
    target = torch.cat([one_hot(labels[:2], 5), torch.zeros(1, 5, dtype=torch.float64)])
    p = 1 / (1 + (-z).exp())
    expected = -(target * p.log() + (1 - target) * (1 - p).log()).sum(1)
    score = CrossEntropy()(output(z, labels, link="sigmoid"), {}, x=z)
    torch.testing.assert_close(score, expected)


@pytest.mark.parametrize("objective", [CrossEntropy(), Margin(), DLR()], ids=["CE", "CW", "DLR"])
def test_rows_of_an_image_are_summed(objective: Objective) -> None:
    image = torch.tensor([2, 0, 0, 2, 1, 2, 0, 1, 1, 1, 1, 2])
    rows = objective(output(LOGITS, LABELS), {}, x=LOGITS)
    score = objective(output(LOGITS, LABELS, image=image), {}, x=LOGITS)
    torch.testing.assert_close(score, torch.stack([rows[image == i].sum() for i in range(3)]))


def test_scores_are_full_precision_under_half_precision_logits() -> None:
    half = LOGITS.to(torch.bfloat16)
    for objective in (CrossEntropy(), Margin(), DLR()):
        score = objective(output(half, LABELS), {}, x=LOGITS)
        assert score.dtype == torch.float32
        torch.testing.assert_close(score, objective(output(half.float(), LABELS), {}, x=LOGITS))


def test_named_loss_is_a_batch_mean_and_says_so() -> None:
    out = output(LOGITS, LABELS)
    out.losses = {"loss_cls": torch.tensor(1.5), "loss_box": torch.tensor(0.5)}
    objective = NamedLoss("loss_box")
    assert torch.equal(objective(out, {}, x=LOGITS), torch.full((12,), 0.5))
    assert not objective.per_image and CrossEntropy().per_image
    with pytest.raises(ConfigError, match=r"loss_mask.*loss_box.*loss_cls"):
        NamedLoss("loss_mask")(out, {}, x=LOGITS)


def test_image_losses_are_each_images_own_and_their_sum() -> None:
    out = output(LOGITS, LABELS)
    out.image_losses = {"loss_cls": draw(12, seed=2), "loss_box": draw(12, seed=3)}
    assert torch.equal(ImageLoss("loss_box")(out, {}, x=LOGITS), draw(12, seed=3))
    torch.testing.assert_close(ImageLoss()(out, {}, x=LOGITS), draw(12, seed=2) + draw(12, seed=3))
    with pytest.raises(ConfigError, match=r"no per-image loss 'loss_mask'; it has \['loss_box', 'loss_cls'\]"):
        ImageLoss("loss_mask")(out, {}, x=LOGITS)


@pytest.mark.parametrize("name", ["CrossEntropy", "Margin", "DLR", "KL"])
def test_objectives_are_found_by_their_class_name(name: str) -> None:
    assert type(OBJECTIVES.build(dict(type=name))).__name__ == name


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("scale_by_t2", [True, False])
def test_adaptive_value_and_gradient_through_both_networks(sign: int, scale_by_t2: bool) -> None:
    tau, weight, n = 4.0, 0.06, 7
    w_t, w_a = draw(5, 12, seed=1, scale=1.0), draw(5, 12, seed=2, scale=1.0)
    target, adversary = LinearTask(w_t), Adversary([LinearTask(w_a)])
    objective = Adaptive(adversary, weight, temperature=tau, sign=sign, scale_by_t2=scale_by_t2)
    x = torch.rand(n, 3, 2, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64).requires_grad_()
    batch = {"inputs": x.detach(), "data_samples": LABELS[:n], "index": torch.arange(n)}
    batch.update(objective.prepare(target, batch, x=x))
    score = objective(target.read(target.network(x, batch), batch), batch, x=x)
    (grad,) = torch.autograd.grad(score.sum(), x)

    # By hand: z = W x; dCE/dz = p - e_y; dKL/dz_t = p_t (log p_t/p_a - KL) / tau; dKL/dz_a = (p_a - p_t) / tau.
    flat = x.detach().flatten(1)
    z_t, z_a = flat @ w_t.T, flat @ w_a.T
    p_t, p_a = F.softmax(z_t / tau, 1), F.softmax(z_a / tau, 1)
    kl = (p_t * (p_t / p_a).log()).sum(1)
    factor = sign * weight * (tau**2 if scale_by_t2 else 1)
    truth = one_hot(LABELS[:n], 5)
    expected = -(F.softmax(z_t, 1) * truth).sum(1).log() + factor * kl
    to_target = F.softmax(z_t, 1) - truth + factor / tau * p_t * ((p_t / p_a).log() - kl[:, None])
    to_adversary = factor / tau * (p_a - p_t)
    torch.testing.assert_close(score, expected)
    torch.testing.assert_close(grad.flatten(1), to_target @ w_t + to_adversary @ w_a)
    assert (to_adversary @ w_a).abs().max() > 1e-3  # the second network matters


def test_adaptive_refuses_other_signs_and_adversaries_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match="sign"):
        Adaptive(Adversary([LinearTask(draw(5, 12))]), 0.06, sign=2)
    objective = Adaptive(Adversary([LinearTask(draw(4, 12))]), 0.06)
    with pytest.raises(ConfigError, match="4 classes"):
        objective.prepare(LinearTask(draw(5, 12)), {}, x=torch.rand(1, 3, 2, 2))
    assert math.isclose(objective.weight, -0.06 * 16)


def test_what_makes_an_objective_another_one_is_told() -> None:
    """Reports whose attacks are described alike are compared and averaged."""
    losses = [NamedLoss(name).describe() for name in ("loss_cls", "loss_bbox")]
    assert losses[0] != losses[1] and losses[1] == {"objective": "NamedLoss", "loss": "loss_bbox"}
    told = Adaptive(Adversary([LinearTask(draw(5, 12))], origin="vt/best.safetensors"), 0.06, temperature=20.0, sign=1)
    assert told.describe() == {
        "objective": "Adaptive",
        "adversary": "vt/best.safetensors",
        "weight": 0.06,
        "temperature": 20.0,
        "sign": 1,
        "scale_by_t2": True,
    }
