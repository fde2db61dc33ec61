"""Metric attacks: objectives on the embedding, climbed by PGD on the query images, on gallery images, or on both.

An image is pushed from, or pulled to, *guides*: clean embeddings of other images. All scores leave out what does not
depend on the attacked image, and a sum of squared distances to guides is written with their mean, which has the same
gradient: ``sum_g ||f - g||^2 = n ||f - mean||^2 + constant``.
"""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from natx.batch import Batch
from natx.errors import ConfigError
from natx.evaluation.sets import attacked_positions
from natx.objectives import Objective
from natx.registry import OBJECTIVES
from natx.runtime.precision import full_precision
from natx.task import Output, Task
from tasks.reid.pools import CleanSet, Pool
from tasks.reid.sides import Side, Sided, embeddings_of

Guides = Literal["query", "gallery", "all", "batch"]


class MetricObjective(Sided):
    """What FNA, TMA and IFGSM share: guides from a set's clean embeddings, or from the batch itself.

    Args:
        guides: whose clean embeddings guide: the test set's other 'query' images (Bouniot et al.: the attacker needs
            several query images of a person), its 'gallery' images, 'all' images of the set, or those of the 'batch'
            (training on the current model). Distractors guide nobody: they are of many people, or of none.
        normalise: measure distances between embeddings of length 1 (cosine) instead of as they are.
        side: see :class:`Sided`.
    """

    def __init__(self, *, guides: Guides = "query", normalise: bool = False, side: Side = "query") -> None:
        super().__init__(side=side)
        if guides not in ("query", "gallery", "all", "batch"):
            raise ConfigError(f"guides is 'query', 'gallery', 'all' or 'batch'; got {guides!r}")
        self.guides, self.normalise = guides, normalise
        self.prepare_forwards = 1 if guides == "batch" else 0
        self._clean: CleanSet | None = None

    def embed(self, embeddings: Tensor) -> Tensor:
        """Embeddings as distances are measured on them."""
        embeddings = full_precision(embeddings)
        return F.normalize(embeddings, dim=1) if self.normalise else embeddings

    @property
    def observes(self) -> bool:
        """See :attr:`Objective.observes`; a batch's guides come with it."""
        return self.guides != "batch"

    def observe(self, dataset: Any, predictions: Tensor) -> list[str]:
        """Take the guides from a set's clean embeddings ``[N, D]``; remarks on images that have none.

        Raises:
            ConfigError: the set has no queries or gallery, or is a test set and guides='batch'.
        """
        if self.guides == "batch":
            if getattr(dataset, "probes", None) is not None:
                raise ConfigError(
                    f"{type(self).__name__} with guides='batch' is for training, where a batch holds several images of "
                    "a person with their class: judge with guides='query', 'gallery' or 'all'"
                )
            return []
        names = {"query": "probes", "gallery": "gallery"}
        positions: Any = torch.arange(len(dataset))
        if self.guides != "all":
            positions = getattr(dataset, names[self.guides], None)
            if positions is None:
                raise ConfigError(f"guides={self.guides!r} needs a test set; a training set has guides='all'")
        embeddings, identities = self.embed(predictions), torch.as_tensor(dataset.labels)
        # A set made of another one's images (held-out identities) gives them that one's index.
        index = getattr(dataset, "index", None)
        keys = range(len(dataset)) if index is None else torch.as_tensor(index).tolist()
        rows = {key: row for row, key in enumerate(keys)}
        if (distractor := getattr(dataset, "distractor", None)) is not None:
            # They are no person's: the mean of many is somebody's as little as it is far from anybody.
            positions = positions[identities[positions] != distractor]
        pool = Pool.of(embeddings[positions], identities[positions])
        guiding = torch.isin(torch.arange(len(dataset)), torch.as_tensor(positions))
        self._clean = CleanSet(embeddings, identities, guiding, rows, pool)
        return self.remarks(dataset, clean=self._clean)

    def describe(self) -> dict[str, Any]:
        """See :meth:`Objective.describe`."""
        return {**super().describe(), "guides": self.guides, "normalise": self.normalise}

    def forms(self) -> list[Objective]:
        """See :meth:`Objective.forms`: guided by the gallery, and on distances as a cosine ranking measures them."""
        if self.guides == "batch" or self.side != "query":
            return []
        by_gallery, by_angle = copy.copy(self), copy.copy(self)
        by_gallery.guides, by_angle.normalise = "gallery", True
        return [by_gallery, by_angle]

    def remarks(self, dataset: Any, *, clean: CleanSet) -> list[str]:
        """What a report should say about the guides of a set."""
        return []

    def prepare(self, task: Task, batch: Batch, *, x: Tensor) -> Batch:
        """Each image's guides; with guides='batch' from one clean forward.

        Raises:
            ConfigError: the guides of a set are asked for and :meth:`observe` was not called.
        """
        if self.guides == "batch":
            with torch.no_grad():
                clean = self.embed(embeddings_of(task.read(task.network(x, batch), batch)))
            identities = batch["data_samples"]
            own = torch.ones_like(identities, dtype=torch.bool)
            return self.guide(clean, identities, pool=Pool.of_batch(clean, identities), own=own)
        if self._clean is None:
            raise ConfigError(f"{type(self).__name__} with guides={self.guides!r} judges sets; train with 'batch'")
        rows = torch.tensor([self._clean.rows[i] for i in batch["index"].tolist()])
        guides = self.guide(
            self._clean.embeddings[rows],
            self._clean.identities[rows],
            pool=self._clean.pool,
            own=self._clean.guiding[rows],
        )
        return {key: value.to(x.device) for key, value in guides.items()}

    def guide(self, clean: Tensor, identities: Tensor, *, pool: Pool, own: Tensor) -> dict[str, Tensor]:
        """Entries for the batch from clean embeddings ``[N, D]`` and their identities ``[N]``.

        ``own`` says which of these embeddings are themselves in the pool, bool ``[N]``.
        """
        mean, count = pool.of_identity(identities)
        return {"push": mean, "push_count": count}

    def push(self, output: Output, batch: Batch) -> Tensor:
        """Sum of squared distances to the guides of the same identity, up to a constant ``[N]``."""
        return batch["push_count"] * (self.embed(embeddings_of(output)) - batch["push"]).square().sum(1)


@OBJECTIVES.register_module()
class IFGSM(MetricObjective):
    """``sum_g ||f(x') - g||^2`` over clean embeddings g of the same identity: adversarial metric attack.

    Climbed by signed steps without random start: with ``side="gallery"`` and ``normalise=True`` AMA as Bai et al. 2020
    state it (``Gen_Adv.py``: within 5/255 in 6 steps of 1/255), by default the query-side form of CEA-LIST adv-reid
    (``multi_mse``). The image's own clean embedding is among its query guides: a person with one query image
    has no other guide, its gradient is zero and the attack leaves it as it is, which is reported. That zero is set:
    computed, it is rounding (the guide comes from a batch of another size), whose sign would be a whole step.
    """

    def remarks(self, dataset: Any, *, clean: CleanSet) -> list[str]:
        """How many attacked images the attack cannot move."""
        sided = self.side != "query" and getattr(dataset, "gallery", None) is not None  # training images have no sides
        attacked = torch.tensor(self.images_of(dataset) if sided else attacked_positions(dataset))
        _, count = clean.pool.of_identity(clean.identities[attacked])
        alone = (count == 0) | ((count == 1) & clean.guiding[attacked])
        if not bool(alone.any()):
            return []
        remedy = "guides='query'" if self.guides == "gallery" else "guides='gallery'"
        return [
            f"{int(alone.sum())} of {len(attacked)} attacked images have no guide of their identity but themselves: "
            f"IFGSM leaves them unchanged ({remedy} has others)"
        ]

    def prepare(self, task: Task, batch: Batch, *, x: Tensor) -> Batch:
        """See :meth:`MetricObjective.prepare`; keeps the clean pixels."""
        return {**super().prepare(task, batch, x=x), "clean_pixels": x}

    def guide(self, clean: Tensor, identities: Tensor, *, pool: Pool, own: Tensor) -> dict[str, Tensor]:
        """See :meth:`MetricObjective.guide`; adds which images are their only guide."""
        entries = super().guide(clean, identities, pool=pool, own=own)
        return {**entries, "alone": own & (entries["push_count"] == 1)}

    def __call__(self, output: Output, batch: Batch, *, x: Tensor) -> Tensor:
        """See :meth:`Objective.__call__`."""
        still = batch["alone"] & (x == batch["clean_pixels"]).flatten(1).all(1)
        return self.push(output, batch).masked_fill(still, 0.0)


@OBJECTIVES.register_module()
class FNA(MetricObjective):
    """Furthest-negative attack: ``sum_g ||f(x') - g||^2 - ||f(x') - c||^2`` (Bouniot et al. 2020).

    g are clean embeddings of the same identity (the image's own included), c is the mean clean embedding of the other
    identity that is the furthest from the image's. Deviation from CEA-LIST adv-reid (``max_min_mse``): there, shorter
    lists of guides are padded with the image's own embedding up to the longest in the batch, which makes the attack
    depend on the batch; here nothing is padded.
    """

    def guide(self, clean: Tensor, identities: Tensor, *, pool: Pool, own: Tensor) -> dict[str, Tensor]:
        """See :meth:`MetricObjective.guide`; adds the identity to pull to."""
        return {**super().guide(clean, identities, pool=pool, own=own), "pull": pool.other(clean, identities)}

    def __call__(self, output: Output, batch: Batch, *, x: Tensor) -> Tensor:
        """See :meth:`Objective.__call__`."""
        pull = (self.embed(embeddings_of(output)) - batch["pull"]).square().sum(1)
        return self.push(output, batch) - pull


@OBJECTIVES.register_module()
class TMA(MetricObjective):
    """Targeted metric attack: ``-||f(x') - c||^2``, to another identity's mean clean embedding c (Bai et al. 2020).

    Args:
        guides: see :class:`MetricObjective`.
        normalise: see :class:`MetricObjective`.
        side: see :class:`Sided`.
        target: the other identity whose mean is the 'nearest' to the image's clean embedding (somebody alike), or the
            'furthest'.
    """

    def __init__(
        self,
        *,
        guides: Guides = "query",
        normalise: bool = False,
        side: Side = "query",
        target: Literal["nearest", "furthest"] = "nearest",
    ) -> None:
        super().__init__(guides=guides, normalise=normalise, side=side)
        if target not in ("nearest", "furthest"):
            raise ConfigError(f"target is 'nearest' or 'furthest'; got {target!r}")
        self.target = target

    def describe(self) -> dict[str, Any]:
        """See :meth:`Objective.describe`."""
        return {**super().describe(), "target": self.target}

    def guide(self, clean: Tensor, identities: Tensor, *, pool: Pool, own: Tensor) -> dict[str, Tensor]:
        """See :meth:`MetricObjective.guide`; the identity to pull to alone."""
        return {"pull": pool.other(clean, identities, nearest=self.target == "nearest")}

    def __call__(self, output: Output, batch: Batch, *, x: Tensor) -> Tensor:
        """See :meth:`Objective.__call__`."""
        return -(self.embed(embeddings_of(output)) - batch["pull"]).square().sum(1)


@OBJECTIVES.register_module()
class SMA(Sided):
    """Self-metric attack: ``||f(x') - f(x)||^2``, away from the image's own clean embedding (Bouniot et al. 2020).

    Its gradient at x' = x is zero, so the attack needs a random start. It needs no guides.

    Args:
        normalise: see :class:`MetricObjective`.
        side: see :class:`Sided`.
    """

    needs_random_start = True
    prepare_forwards = 1

    def __init__(self, *, normalise: bool = False, side: Side = "query") -> None:
        super().__init__(side=side)
        self.normalise = normalise

    def describe(self) -> dict[str, Any]:
        """See :meth:`Objective.describe`."""
        return {**super().describe(), "normalise": self.normalise}

    def forms(self) -> list[Objective]:
        """See :meth:`Objective.forms`: on distances as a cosine ranking measures them."""
        return [] if self.normalise or self.side != "query" else [SMA(normalise=True)]

    def _embed(self, output: Output) -> Tensor:
        embeddings = embeddings_of(output)
        return F.normalize(embeddings, dim=1) if self.normalise else embeddings

    def prepare(self, task: Task, batch: Batch, *, x: Tensor) -> Batch:
        """The clean embedding (one forward)."""
        with torch.no_grad():
            return {"clean": self._embed(task.read(task.network(x, batch), batch))}

    def __call__(self, output: Output, batch: Batch, *, x: Tensor) -> Tensor:
        """See :meth:`Objective.__call__`."""
        return (self._embed(output) - batch["clean"]).square().sum(1)
