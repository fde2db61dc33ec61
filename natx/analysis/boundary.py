"""How far rows are from class boundaries: Eq. 10, the true margin in feature space, and a proxy in pixel space."""

from __future__ import annotations

import torch
from torch import Tensor

from natx.batch import Batch
from natx.errors import ConfigError
from natx.runtime.precision import full_precision
from natx.task import Task

NEAREST = 9  # other classes that the pixel-space margin looks at: all of 10


def signed_distances(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Eq. 10 without the absolute value, as in Fig. 6: ``(w_c . phi + b_c) / ||w_c||``, ``[M, C]``.

    phi is what the class layer reads (the paper writes x). This is the distance to the hyperplane where the logit of
    class c is zero, which no argmax looks at: it is no decision boundary. It also grows with the scale of phi alone.

    Args:
        features: ``[M, D]``.
        weight: ``[C, D]``.
        bias: ``[C]`` or None.
    """
    logits = features.double() @ weight.double().T + (0 if bias is None else bias.double())
    return logits / weight.double().norm(dim=1)


def feature_margins(logits: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    """Signed distance to the nearest decision boundary in feature space, ``[M]``.

    ``min_{j != y} (z_y - z_j) / ||w_y - w_j||``: between y and j the boundary is the hyperplane where their logits
    agree. Negative for a row that is misclassified. For a given gap of logits a larger ``||w_y - w_j||`` (Eq. 11)
    makes the margin smaller, against the paper's reading of it. Classes of equal weights have no boundary between
    them and are left out; infinity where all are.

    Args:
        logits: ``[M, C]`` of the linear layer.
        labels: int64 ``[M]``.
        weight: ``[C, D]`` of the layer.
    """
    z, w = logits.double(), weight.double()
    is_own = torch.arange(z.shape[1], device=z.device)[None] == labels[:, None]
    # One class after another: the differences of all pairs of classes would be [C, C, D].
    apart = torch.stack([(w[c] - w).norm(dim=1) for c in range(len(w))])[labels]  # [M, C]
    gap = z.gather(1, labels[:, None]) - z
    return (gap / apart).masked_fill(is_own | (apart == 0), torch.inf).amin(1)


def input_margins(task: Task, batch: Batch, *, x: Tensor, nearest: int = NEAREST) -> Tensor:
    """First-order estimate of the smallest Linf perturbation that changes the prediction, ``[N]`` in pixels of [0,1].

    ``min_{j != y} (z_y - z_j) / ||grad_x (z_y - z_j)||_1`` (the l1 norm is the dual of Linf), over the ``nearest``
    other classes of the highest logits. Exact for a linear network, a proxy for others: where gradients are masked it
    is far too large, and infinite where the gradient vanishes. Negative for a misclassified image, there too.

    Args:
        task: in eval mode; its logits of an image must depend on that image alone.
        batch: the images.
        x: their pixels in [0,1] ``[N, C, H, W]``.
        nearest: other classes looked at, each one backward.

    Raises:
        ConfigError: a row of the task is no image (a detector's).
    """
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        output = task.read(task.network(x, batch), batch)
        if output.rows is not None or output.labels is None:
            raise ConfigError(f"the margin in pixel space is an image's; the rows of {type(task).__name__} are boxes")
        z, y = full_precision(output.logits), output.labels[:, None]
        ranked = z.detach().scatter(1, y, -torch.inf).topk(min(nearest, z.shape[1] - 1), dim=1).indices
        ratios = []
        for other in ranked.T:
            gap = (z.gather(1, y) - z.gather(1, other[:, None])).squeeze(1)
            (grad,) = torch.autograd.grad(gap.sum(), x, retain_graph=True)
            norm = grad.flatten(1).abs().sum(1)
            ratios.append(torch.where(norm > 0, gap.detach() / norm, torch.where(gap > 0, torch.inf, -torch.inf)))
    return torch.stack(ratios).amin(0)
