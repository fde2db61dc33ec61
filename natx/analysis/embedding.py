"""Separation of the classes in feature space, and its picture by UMAP."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import torch
from sklearn.metrics import silhouette_score
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from natx.errors import ConfigError

NEIGHBOURS, FOLDS = 15, 5
FIT = (
    "Each model has a UMAP of its own, fitted to its clean and adversarial features together, each dimension of which "
    "was standardised by the mean and deviation of the clean ones: positions and scales of two models' panels have no "
    "common meaning. Silhouette and nearest neighbours use the cosine distance of the same standardised features, not "
    "the picture"
)


def standardise(features: Tensor, reference: Tensor) -> Tensor:
    """Features ``[M, D]`` less the mean and over the deviation of ``reference`` ``[R, D]``, dimension by dimension.

    Dimensions in which the reference does not vary become zero.
    """
    mean, deviation = reference.double().mean(0), reference.double().std(0, correction=0)
    scale = torch.where(deviation > 1e-12 * reference.double().abs().amax(0).clamp_min(1e-30), 1 / deviation, 0.0)
    return (features.double() - mean) * scale


def fisher_ratio(features: Tensor, labels: Tensor) -> float | None:
    """Scatter between the classes over scatter within them: traces of S_B and S_W; None where S_W is zero.

    Args:
        features: ``[M, D]``.
        labels: int64 ``[M]``.
    """
    x, mean = features.double(), features.double().mean(0)
    between = within = 0.0
    for label in labels.unique():
        rows = x[labels == label]
        centre = rows.mean(0)
        between += len(rows) * float((centre - mean).square().sum())
        within += float((rows - centre).square().sum())
    return between / within if within > 0 else None


def silhouette(features: Tensor, labels: Tensor) -> float | None:
    """Mean silhouette by the cosine distance, -1 to 1; None unless there are 2 to M - 1 classes among M rows."""
    if not 2 <= len(labels.unique()) <= len(labels) - 1:
        return None
    return float(silhouette_score(features.double().numpy(), labels.numpy(), metric="cosine"))


def knn_accuracy(features: Tensor, labels: Tensor, queries: Tensor, query_labels: Tensor) -> float | None:
    """Accuracy (%) of the nearest neighbours (cosine) among the clean rows; None with fewer than 10, or one a class.

    The rows of each class are dealt out to 5 folds in turn, and each fold is classified by the other folds' clean rows,
    so that an attacked image never meets its own clean version, which would give its label away. Where the queries are
    not of the same images as the clean rows, one by one (a detector's boxes), folds have no meaning: None. There are 15
    neighbours, or as many as a class has clean rows on average where that is fewer.

    Args:
        features: clean ones ``[M, D]``.
        labels: int64 ``[M]``.
        queries: what is classified ``[M, D]``: the clean features again, or the adversarial ones of the same images.
        query_labels: int64 ``[M]``.
    """
    if len(labels) < 2 * FOLDS or not torch.equal(labels, query_labels):
        return None
    x, y, q = features.numpy(), labels.numpy(), queries.numpy()
    fold, right, names = np.empty_like(y), 0, np.unique(y)
    for label in names:
        fold[y == label] = np.arange((y == label).sum()) % FOLDS
    if fold.max() == 0:  # one row a class, with none of its own to be near to
        return None
    for held in range(fold.max() + 1):  # fewer than 5 where no class has 5 rows
        training = fold != held
        model = KNeighborsClassifier(
            max(1, min(NEIGHBOURS, int(training.sum()) // len(names))), metric="cosine", algorithm="brute"
        )
        right += int((model.fit(x[training], y[training]).predict(q[~training]) == y[~training]).sum())
    return 100 * right / len(y)


def separation(clean: Tensor, labels: Tensor, features: Tensor, feature_labels: Tensor) -> dict[str, float | None]:
    """Silhouette, Fisher ratio and nearest-neighbour accuracy (%) of features that are standardised already."""
    return {
        "silhouette": silhouette(features, feature_labels),
        "fisher": fisher_ratio(features, feature_labels),
        "knn_accuracy": knn_accuracy(clean, labels, features, feature_labels),
    }


def embed(features: Tensor, *, seed: int = 0) -> Tensor:
    """UMAP of features ``[M, D]`` to the plane, ``[M, 2]`` float32: 15 neighbours, distance 0.1, cosine, a fixed seed.

    Raises:
        ConfigError: fewer than 5 rows, or umap-learn is not installed.

    Source: McInnes et al. 2018.
    """
    if len(features) < 5:
        count = f"at least 5 rows, clean and adversarial ones together; got {len(features)}"
        raise ConfigError(f"the UMAP picture needs {count}: raise --subset")
    try:
        umap: Any = import_module("umap")
    except ImportError as error:
        raise ConfigError(
            f"the UMAP picture needs umap-learn ({error}): pip install 'natx[analysis]', or pip install umap-learn; "
            "all else was done without it"
        ) from error
    # One thread: umap says that a seed allows no more. Few points have no spectral layout to begin with.
    small = len(features) < 50
    model = umap.UMAP(
        n_neighbors=min(NEIGHBOURS, len(features) - 1),
        min_dist=0.1,
        metric="cosine",
        random_state=seed,
        n_jobs=1,
        init="random" if small else "spectral",
    )
    return torch.from_numpy(np.asarray(model.fit_transform(features.float().numpy()), dtype=np.float32))
