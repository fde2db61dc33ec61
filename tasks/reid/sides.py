"""What metric attacks share: they move embeddings, of queries, of gallery images, or of both."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from natx.errors import ConfigError, UnsupportedError
from natx.objectives import Objective
from natx.runtime.precision import full_precision
from natx.task import Output, Task

Side = Literal["query", "gallery", "both"]


class Sided(Objective):
    """What all metric attacks share: on which side of the search they change images.

    Args:
        side: 'query', 'gallery' (images of people whom a query asks for, of every camera; distractors stay clean), or
            'both'. What guides an image, or what it leaves, is clean all the same.
    """

    def __init__(self, *, side: Side = "query") -> None:
        if side not in ("query", "gallery", "both"):
            raise ConfigError(f"side is 'query', 'gallery' or 'both'; got {side!r}")
        self.side = side

    def check(self, task: Task) -> None:
        """See :meth:`Objective.check`."""
        check_embeds(self, task)

    def images_of(self, dataset: Any) -> list[int] | None:
        """See :meth:`Objective.images_of`.

        Raises:
            ConfigError: a side of a set that has none.
        """
        if self.side == "query":
            return None
        gallery = getattr(dataset, "gallery", None)
        if gallery is None:
            raise ConfigError(f"side={self.side!r} needs a test set with queries and gallery")
        labels, queries = torch.as_tensor(dataset.labels), torch.as_tensor(dataset.queries)
        wanted = torch.as_tensor(gallery)[torch.isin(labels[gallery], labels[queries])].tolist()
        return wanted if self.side == "gallery" else [*queries.tolist(), *wanted]

    def scope(self, dataset: Any) -> list[str]:
        """See :meth:`Objective.scope`; which images the attack changes, where these are not the queries."""
        if self.side == "query":
            return []
        images, queries = self.images_of(dataset), len(dataset.queries)
        assert images is not None
        if self.side == "gallery":
            return [f"{len(images)} gallery images of the queries' people are attacked, the queries are clean"]
        return [f"{queries} queries and {len(images) - queries} gallery images of their people are attacked"]

    def describe(self) -> dict[str, Any]:
        """See :meth:`Objective.describe`."""
        return {**super().describe(), **({} if self.side == "query" else {"side": self.side})}


def embeddings_of(output: Output) -> Tensor:
    """The embeddings ``[N, D]`` of an output, in fp32; raises ConfigError for a task that gives none."""
    if output.features is None:
        raise ConfigError("metric attacks climb embeddings, and this task's outputs have none: take another objective")
    return full_precision(output.features)


def check_embeds(objective: Objective, task: Task) -> None:
    """Raise UnsupportedError where a task classifies images, so that its outputs have no embeddings to move."""
    if task.per_image_success:
        raise UnsupportedError(
            f"{type(objective).__name__} moves embeddings, which a {type(task).__name__} does not predict: use PGD on "
            "CrossEntropy or Margin"
        )
