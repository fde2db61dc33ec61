"""Every measure of the analysis against closed forms, geometry by hand, scipy or sklearn."""

from __future__ import annotations

import math
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.stats import entropy, f_oneway
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn

from natx.analysis import boundary, embedding, sparsity, weights
from natx.analysis.collect import collect
from natx.analysis.compare import class_number, nasty_temperatures
from natx.analysis.subjects import subject_names
from natx.analysis.summaries import lowest_confidence, picture, plain, sparsity_section, spread
from natx.attacks import PGD
from natx.batch import Batch
from natx.errors import ConfigError, DataError
from natx.task import Output
from natx.testing import LinearTask, TinyCNNTask, TinyDataset, WrappedTask
from natx.threat import Linf


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def near(value: Tensor | float, expected: Any) -> None:
    expected = torch.as_tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(torch.as_tensor(value, dtype=torch.float64), expected, atol=1e-9, rtol=1e-7)


# sparsity


@pytest.mark.parametrize("count", [2, 5, 10])
def test_the_uniform_distribution_is_least_sparse(count: int) -> None:
    found = sparsity.measures(sparsity.log_distribution(torch.full((1, count), 7.0)))
    expected = {"entropy": 1, "effective_classes": count, "gini": 0, "hoyer": 0, "sum_squares": 1 / count}
    expected |= {f"top{k}": k / count for k in (1, 2, 3, 5) if k <= count}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        near(found[name], [value])


@pytest.mark.parametrize("count", [2, 5, 10])
def test_a_one_hot_distribution_is_most_sparse(count: int) -> None:
    logits = torch.zeros(1, count)
    logits[0, 1] = 1e5  # the other probabilities underflow to zero, and nothing becomes NaN
    found = sparsity.measures(sparsity.log_distribution(logits))
    expected = {"entropy": 0, "effective_classes": 1, "gini": 1 - 1 / count, "hoyer": 1, "sum_squares": 1}
    for name, value in found.items():
        near(value, [expected.get(name, 1)])


def test_measures_of_any_distribution() -> None:
    logits = draw(6, 7) * 2
    found = sparsity.measures(sparsity.log_distribution(logits, temperature=1.7))
    p = torch.softmax(logits / 1.7, 1).numpy()
    near(found["entropy"], entropy(p, axis=1) / math.log(7))
    near(found["effective_classes"], np.exp(entropy(p, axis=1)))
    # The Gini index as half the relative mean difference of all pairs.
    near(found["gini"], np.abs(p[:, :, None] - p[:, None]).mean((1, 2)) / (2 * p.mean(1)))
    near(found["hoyer"], (math.sqrt(7) - 1 / np.sqrt((p**2).sum(1))) / (math.sqrt(7) - 1))
    near(found["sum_squares"], (p**2).sum(1))
    for k in (1, 2, 3, 5):
        near(found[f"top{k}"], np.sort(p, 1)[:, -k:].sum(1))
    near(sparsity.profile(sparsity.log_distribution(logits, temperature=1.7)), np.sort(p, 1)[:, ::-1].mean(0).copy())


def test_the_non_target_classes_are_the_rest_renormalised() -> None:
    logits, labels = draw(5, 4), torch.tensor([0, 3, 1, 2, 3])
    rest = sparsity.log_distribution(sparsity.others(logits, labels)).exp()
    p = torch.softmax(logits, 1).numpy()
    kept = np.stack([np.delete(row, label) for row, label in zip(p, labels.tolist())])
    near(rest, kept / kept.sum(1, keepdims=True))


def test_means_by_class() -> None:
    values, labels = torch.tensor([[1.0, 2], [3, 4], [5, 6]]), torch.tensor([2, 0, 2])
    found = sparsity.mean_by_class(values, labels, 3)
    assert found[[0, 2]].tolist() == [[3, 4], [3, 4]] and found[1].isnan().all()


def test_calibration_undoes_the_scale_of_the_logits() -> None:
    logits = draw(50, 6)
    assert sparsity.calibrate(3 * logits, sparsity.confidence(logits)) == pytest.approx(3, rel=1e-9)
    wanted = 0.8
    found = sparsity.calibrate(logits, wanted)
    assert float(torch.softmax(logits / found, 1).amax(1).mean()) == pytest.approx(wanted, abs=1e-9)
    assert sparsity.calibrate(logits, 0.1) is None  # below 1/6
    assert sparsity.calibrate(torch.zeros(3, 6), 0.5) is None  # uniform at every temperature


def test_matched_confidence_leaves_the_shape() -> None:
    """Of models whose logits differ in scale the sharper is softened to the other; a third differs in shape too."""

    class Rows:
        def __init__(self, logits: Tensor) -> None:
            self.logits, self.labels = logits, torch.arange(40) % 5

    base = draw(40, 5)
    views = [Rows(base), Rows(2.5 * base), Rows(3 * base.sign() * base.abs() ** 3)]
    wanted = lowest_confidence(views[:2])
    assert wanted == pytest.approx(sparsity.confidence(base)) and lowest_confidence(views[:1]) is None
    first, second, third = (
        entries[-1] for entries in sparsity_section(views, temperatures=[1.0], classes=5, wanted=wanted)
    )
    assert [entry["at"] for entry in (first, second, third)] == ["matched confidence"] * 3
    assert second["temperature"] == pytest.approx(2.5) and third["confidence"] == pytest.approx(wanted)
    for kind in ("all", "non_target"):
        assert second[kind] == pytest.approx(first[kind]) and third[kind] != pytest.approx(first[kind], rel=1e-2)


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_a_temperature_is_above_zero(value: float) -> None:
    with pytest.raises(ConfigError, match="temperature"):
        sparsity.log_distribution(torch.zeros(1, 3), temperature=value)


# boundaries


def test_signed_distances_by_hand() -> None:
    weight, bias = torch.tensor([[3.0, 4.0], [0.0, -2.0]]), torch.tensor([5.0, 1.0])
    near(boundary.signed_distances(torch.tensor([[1.0, 2.0]]), weight, bias), [[16 / 5, -3 / 2]])
    near(boundary.signed_distances(torch.tensor([[1.0, 2.0]]), weight, None), [[11 / 5, -2]])


def test_the_feature_margin_of_two_classes_by_hand() -> None:
    """Between (1, 0) and (0, 1) the boundary is the diagonal, which (3, 1) is sqrt(2) away from."""
    weight, features = torch.eye(2), torch.tensor([[3.0, 1.0]] * 2)
    near(boundary.feature_margins(features @ weight.T, torch.tensor([0, 1]), weight), [math.sqrt(2), -math.sqrt(2)])
    # Twice the weights: twice the logits, twice the distances of Eqs. 11 and 12, the same margin.
    near(boundary.feature_margins(features @ (2 * weight).T, torch.tensor([0, 1]), 2 * weight), [2**0.5, -(2**0.5)])


def test_the_feature_margin_is_where_the_prediction_changes() -> None:
    weight, bias, features = draw(5, 3, seed=1), draw(5, seed=2), draw(20, 3, seed=3) * 3
    logits = features @ weight.T + bias
    labels = logits.argmax(1)
    margins = boundary.feature_margins(logits, labels, weight)
    assert bool((margins > 0).all())
    away = torch.nn.functional.normalize(draw(4000, 3, seed=4), dim=1)
    for phi, label, margin in zip(features, labels, margins):
        predicted = ((phi + 0.999 * margin * away) @ weight.T + bias).argmax(1)
        assert bool((predicted == label).all())
        towards = torch.nn.functional.normalize(weight - weight[label], dim=1)
        reached = ((phi + 1.001 * margin * towards) @ weight.T + bias).argmax(1)
        assert bool((reached != label).any())


def test_classes_of_equal_weights_have_no_boundary() -> None:
    weight = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    near(boundary.feature_margins(torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([0]), weight), [math.sqrt(2)])
    assert boundary.feature_margins(torch.tensor([[3.0, 2.0]]), torch.tensor([0]), weight[:2]).tolist() == [math.inf]


def images(count: int = 6, *, classes: int = 4) -> Batch:
    x = torch.rand(count, 1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return {"inputs": x, "data_samples": torch.arange(count) % classes, "index": torch.arange(count)}


def test_the_pixel_margin_of_a_linear_network_is_exact() -> None:
    weight, bias, batch = draw(4, 9, seed=1), draw(4, seed=2), images()
    task, x, y = LinearTask(weight, bias).eval(), batch["inputs"], batch["data_samples"]
    z = x.flatten(1) @ weight.T + bias
    ratio = (z.gather(1, y[:, None]) - z) / (weight[y][:, None] - weight[None]).abs().sum(2)
    ratio[torch.arange(len(y)), y] = torch.inf
    near(boundary.input_margins(task, batch, x=x), ratio.amin(1))
    runner_up = z.scatter(1, y[:, None], -torch.inf).argmax(1, keepdim=True)
    near(boundary.input_margins(task, batch, x=x, nearest=1), ratio.gather(1, runner_up).squeeze(1))


def test_without_a_gradient_the_pixel_margin_is_infinite() -> None:
    task = LinearTask(torch.ones(2, 9, dtype=torch.float64), torch.tensor([0.0, 1.0])).eval()
    batch = images(2, classes=2)
    assert task(batch).logits.argmax(1).tolist() == [1, 1] and batch["data_samples"].tolist() == [0, 1]
    assert boundary.input_margins(task, batch, x=batch["inputs"]).tolist() == [-math.inf, math.inf]  # one is wrong


def test_spread_counts_what_is_infinite() -> None:
    values, correct = torch.tensor([-1.0, 0, 1, 2, math.inf]).double(), torch.tensor([0, 1, 1, 1, 1]).bool()
    found = spread(values, correct)
    assert found["infinite"] == 1 and found["all"]["mean"] == 0.5 and found["correct"]["median"] == 1
    assert spread(values, torch.zeros(5, dtype=torch.bool))["correct"] == dict.fromkeys(
        ("mean", "p10", "median", "p90")
    )


# weights


def test_weight_distances() -> None:
    weight = draw(6, 5)
    near(weights.weight_distances(weight), cdist(weight, weight))


def test_shortest_distances_by_hand() -> None:
    """From the tip of (1, 3) to the line along (2, 0) it is 3; the other way round 2 sin(angle)."""
    found = weights.shortest_distances(torch.tensor([[2.0, 0.0], [1.0, 3.0]]))
    other = 2 * 3 / math.sqrt(10)
    near(found, [[0, 3], [other, 0]])
    near(weights.symmetrised(found), [[0, (3 + other) / 2], [(3 + other) / 2, 0]])


def test_eq_12_is_the_length_times_the_sine_of_the_angle() -> None:
    weight = draw(7, 4)
    w = weight.numpy()
    norms = np.linalg.norm(w, axis=1)
    cosine = w @ w.T / np.outer(norms, norms)
    expected = norms[None] * np.sqrt(np.clip(1 - cosine**2, 0, None))
    np.fill_diagonal(expected, 0)
    found = weights.shortest_distances(weight)
    near(found, expected)
    assert not torch.allclose(found, found.T)


def test_angles() -> None:
    tiny = 1e-9
    weight = torch.tensor([[2.0, 0], [0, 5], [-3, 0], [1, 1], [1, tiny]], dtype=torch.float64)
    expected = [0, 90, 180, 45, math.degrees(tiny)]
    torch.testing.assert_close(weights.angles(weight)[0], torch.tensor(expected).double(), rtol=1e-6, atol=0)


def test_the_mean_off_the_diagonal() -> None:
    assert weights.off_diagonal_mean(torch.tensor([[9.0, 1, 2], [3, 9, 4], [5, 6, 9]])) == 3.5


# features


def test_standardised_features() -> None:
    reference = torch.cat([draw(30, 3) * 4 + 100, torch.full((30, 1), 3.0)], 1)
    found = embedding.standardise(reference, reference)
    near(found[:, :3].mean(0), [0, 0, 0])
    near(found[:, :3].std(0, correction=0), [1, 1, 1])
    near(embedding.standardise(reference + 1, reference)[:, 3], torch.zeros(30))  # it did not vary


def test_the_fisher_ratio_is_that_of_an_analysis_of_variance() -> None:
    labels, x = torch.arange(24) % 3, draw(24, 1)
    f = f_oneway(*(x[labels == c, 0].numpy() for c in range(3))).statistic
    assert embedding.fisher_ratio(x, labels) == pytest.approx(f * (3 - 1) / (24 - 3))
    two = torch.cat([x, draw(24, 1, seed=1)], 1)
    parts = [two[labels == c].numpy() for c in range(3)]
    within = sum(((part - part.mean(0)) ** 2).sum() for part in parts)
    between = ((two.numpy() - two.numpy().mean(0)) ** 2).sum() - within
    assert embedding.fisher_ratio(two, labels) == pytest.approx(between / within)
    assert embedding.fisher_ratio(labels[:, None].double(), labels) is None


def test_the_silhouette_of_directions() -> None:
    x, labels = torch.eye(2).repeat(4, 1) * torch.arange(1, 9)[:, None], torch.arange(8) % 2
    assert embedding.silhouette(x, labels) == pytest.approx(1)
    assert embedding.silhouette(x, torch.zeros(8, dtype=torch.int64)) is None
    assert embedding.silhouette(x, torch.arange(8)) is None


def test_nearest_neighbours_never_see_the_image_itself() -> None:
    x, labels = draw(60, 4), torch.arange(60) % 3
    folds = np.arange(60) // 3 % 5  # the rank within the class
    model = KNeighborsClassifier(15, metric="cosine", algorithm="brute")
    expected = cross_val_predict(model, x.numpy(), labels.numpy(), cv=PredefinedSplit(folds)) == labels.numpy()
    assert embedding.knn_accuracy(x, labels, x, labels) == pytest.approx(100 * expected.mean())
    clusters = nn.functional.one_hot(labels, 3).double() + 0.01 * draw(60, 3)
    assert embedding.knn_accuracy(clusters, labels, clusters, labels) == 100
    assert embedding.knn_accuracy(clusters, labels, clusters.roll(1, 1), labels) == 0
    assert embedding.knn_accuracy(x[:9], labels[:9], x[:9], labels[:9]) is None
    assert embedding.knn_accuracy(x, labels, x[:50], labels[:50]) is None
    twins, of_two = torch.eye(6).repeat(2, 1), torch.arange(6).repeat(2)  # fewer rows a class than folds
    assert embedding.knn_accuracy(twins, of_two, twins, of_two) == 100
    assert embedding.knn_accuracy(twins, of_two, twins.roll(1, 1), of_two) == 0
    assert embedding.knn_accuracy(torch.eye(12), torch.arange(12), torch.eye(12), torch.arange(12)) is None


def test_without_umap_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ConfigError, match="pip install") as error:
        embedding.embed(draw(20, 3))
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="at least 5"):
        embedding.embed(draw(4, 3))


def test_the_picture_is_one_fit_of_both_views(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings that umap-learn is given; its own result is not tested (its compiler takes most of a minute)."""
    given: dict[str, Any] = {}

    class UMAP:
        def __init__(self, **settings: Any) -> None:
            given.update(settings)

        def fit_transform(self, x: np.ndarray) -> np.ndarray:
            return x[:, :2] + 1

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=UMAP))
    features = {"clean": draw(40, 3), "adversarial": draw(30, 3, seed=1)}
    found = picture(features, seed=7)
    assert {"n_neighbors": 15, "min_dist": 0.1, "metric": "cosine", "random_state": 7}.items() <= given.items()
    for name, rows in features.items():
        torch.testing.assert_close(found[name], (rows[:, :2] + 1).float())
    picture({"clean": draw(6, 3)}, seed=7)
    assert given["n_neighbors"] == 5


# collecting


def attack() -> PGD:
    return PGD(Linf(20 / 255), 3, step_size=8 / 255)


@pytest.mark.parametrize("task", [LinearTask(torch.eye(4, 12)), TinyCNNTask(4)])
def test_the_tiny_tasks_name_their_last_layer(task: WrappedTask) -> None:
    layer, x = task.classifier(), torch.rand(2, 3, 2, 2)
    seen = []
    handle = layer.register_forward_hook(lambda module, given, output: seen.append(output))
    assert torch.equal(task.eval().logits(x), seen[0]) and layer.weight.shape[0] == 4
    handle.remove()


def test_what_is_collected_is_what_the_network_says() -> None:
    task, data = TinyCNNTask(double=True).eval(), TinyDataset(23, seed=3)
    found = collect(task, data, attack(), pixel_margins=True, batch_size=10)
    batch = data.__getitems__(range(23))
    pixels = {"clean": batch["inputs"].double(), "adversarial": attack()(task, batch)}
    assert list(found.views) == list(pixels)
    for name, x in pixels.items():
        view = found.views[name]
        torch.testing.assert_close(view.logits, task.logits(x).detach())
        torch.testing.assert_close(view.features, task.net[:-1]((x - 0.5) / 0.25).detach())
        torch.testing.assert_close(view.features @ found.weight.T + found.bias, view.logits)
        torch.testing.assert_close(view.margins, boundary.input_margins(task, batch, x=x))
        assert torch.equal(view.labels, batch["data_samples"])
        assert torch.equal(view.correct, view.logits.argmax(1) == view.labels)


class Broken(PGD):
    def run(self, victim: Any, *, epoch: int = 0) -> Tensor:
        raise RuntimeError("interrupted")


@pytest.mark.parametrize("broken", [False, True])
def test_state_is_restored(broken: bool) -> None:
    task = TinyCNNTask(dropout=0.5).train()
    task.net[0].eval()
    task.net[1].weight.requires_grad_(False)
    modes, flags = [m.training for m in task.modules()], [p.requires_grad for p in task.parameters()]
    state, seed = {k: v.clone() for k, v in task.state_dict().items()}, torch.get_rng_state()
    if broken:
        with pytest.raises(RuntimeError, match="interrupted"):
            collect(task, TinyDataset(8), Broken(Linf(0.1)), pixel_margins=True)
    else:
        collect(task, TinyDataset(8), attack(), pixel_margins=True)
    assert [m.training for m in task.modules()] == modes and [p.requires_grad for p in task.parameters()] == flags
    assert all(torch.equal(value, state[key]) for key, value in task.state_dict().items())
    assert not task.classifier()._forward_pre_hooks and all(p.grad is None for p in task.parameters())
    assert torch.equal(torch.get_rng_state(), seed)


def test_what_the_attack_met_and_cannot_reach_is_told() -> None:
    short = PGD(Linf(8 / 255), 1, step_size=1 / 255, random_start=False)
    task, data = TinyCNNTask(seed=1), TinyDataset(8)
    assert ["do not add up" in note for note in collect(task, data, short).notes] == [True]
    rounded = WrappedTask(nn.Sequential(Rounded(), task.upstream), 5)
    data.labels = rounded.eval().predict(data.__getitems__(range(8)))  # what is broken already is not counted
    (note,) = collect(rounded, data, PGD(Linf(8 / 255), 4), linear=False, batch_size=3).notes
    assert note.endswith("where steps lead nowhere: 8")


class Rounded(nn.Module):
    """Whole grey levels, with a gradient of zero."""

    def forward(self, x: Tensor) -> Tensor:
        return (255 * x).round() / 255


def test_a_task_without_a_linear_class_layer_still_gives_its_output() -> None:
    task = WrappedTask(nn.Sequential(TinyCNNTask().net, nn.Softplus()), 5, mean=0.5, std=0.25)
    found = collect(task.eval(), TinyDataset(6))
    assert found.weight is None and found.views["clean"].features is None and list(found.views) == ["clean"]
    assert found.notes == ["WrappedTask names no linear class layer, so it has no class hyperplanes"]


class OtherLayer(TinyCNNTask):
    def logits(self, x: Tensor) -> Tensor:
        return super().logits(x) * 2


class Changed(TinyCNNTask):
    """Reads as told by ``change``."""

    change: dict[str, Any] = {}

    def read(self, raw: Tensor, batch: Batch, *, rows: Any = None) -> Output:
        output = super().read(raw, batch, rows=rows)
        for name, value in self.change.items():
            setattr(output, name, value)
        return output


def test_rows_of_the_background_are_left_out() -> None:
    task = Changed().eval()
    task.change = {"labels": torch.tensor([0, 5, 2, 5, 4]), "rows": "boxes"}
    found = collect(task, TinyDataset(5), pixel_margins=True)
    view = found.views["clean"]
    assert view.labels.tolist() == [0, 2, 4] and len(view.features) == len(view.logits) == 3 and view.margins is None


def test_bad_input_is_one_line() -> None:
    def refused(task: Any, error: type[Exception], match: str) -> None:
        with pytest.raises(error, match=match) as caught:
            collect(task.eval(), TinyDataset(4))
        assert "\n" not in str(caught.value)

    refused(OtherLayer(), ConfigError, "not what its classifier")
    for change, error, match in (
        ({"labels": None}, DataError, "no class of the head"),
        ({"link": "sigmoid"}, ConfigError, "one softmax"),
        ({"labels": torch.full((4,), 5)}, DataError, "no row"),
    ):
        task = Changed()
        task.change = change
        refused(task, error, match)
    net = TinyCNNTask().net
    torch.nn.init.constant_(net[-1].weight, math.nan)
    refused(WrappedTask(nn.Sequential(net, nn.Identity()), 5), DataError, "NaN")


# the tool's small parts


class FakeConfig(dict):
    filename = "configs/a.py"


def test_small_parts() -> None:
    nasty = {"type": "NastyKL", "temperature": 20}
    configs = [FakeConfig(method={"terms": [nasty]}), FakeConfig(), FakeConfig(method={"method": {"terms": (nasty,)}})]
    assert nasty_temperatures(configs) == [20.0]
    assert subject_names(configs) == ["a", "a (2)", "a (3)"]
    assert class_number(None, "ab") == 0 and class_number("b", "ab") == 1 and class_number("1", "ab") == 1
    with pytest.raises(ConfigError, match="below 2"):
        class_number("2", "ab")
    value = {"a": torch.tensor([1 / 3, math.nan]), "b": torch.zeros(3, 2), "c": (1, "x", math.inf)}
    assert plain(value, largest=2) == {"a": [0.333333, None], "b": None, "c": [1, "x", None]}
