"""GOAT: training against metric attacks that other images of the person guide."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from natx.batch import Batch
from natx.errors import ConfigError
from natx.objectives import Objective
from natx.registry import OBJECTIVES
from natx.task import Output, Task
from tasks.reid.guides import GUIDES
from tasks.reid.sides import check_embeds, embeddings_of


@OBJECTIVES.register_module()
class GOAT(Objective):
    """``sum_g ||f(x') - g||^2 - ||f(x') - c||^2``, for training (Bouniot et al. 2020, guided online AT).

    g are clean embeddings of other images of the person, which the training set gives
    (:class:`~tasks.reid.guides.WithGuides`), c is the clean embedding of the batch that is the furthest from the
    image's own. As in CEA-LIST adv-reid (``create_adv_batch``), each guide of the images has a forward of its own, so
    that with ``bn_mode='train'`` batch norm sees them by batches as large as the training's, and c may be anybody's.
    Deviations: eps is in pixels (there, in normalised values), clipping is to [0,1] (there, to the batch's range), and
    running statistics are put back after the attack.

    Args:
        pull: pull to c as well (there, ``--pull``).
        guides: how many guides an image has: the data set's ``count``.
    """

    def __init__(self, *, pull: bool = True, guides: int = 4) -> None:
        self.pull, self.guides = pull, guides
        self.prepare_forwards = guides + int(pull)

    def check(self, task: Task) -> None:
        """See :meth:`Objective.check`."""
        check_embeds(self, task)

    def describe(self) -> dict[str, Any]:
        """See :meth:`Objective.describe`."""
        return {**super().describe(), "guides": self.guides, "pull": self.pull}

    def prepare(self, task: Task, batch: Batch, *, x: Tensor) -> Batch:
        """Embeddings of the guides, and of the image to pull to.

        Raises:
            ConfigError: a batch without guides, or with another number of them.
        """
        images = batch.get(GUIDES)
        if images is None or images.shape[1] != self.guides:
            count = "none" if images is None else images.shape[1]
            raise ConfigError(
                f"GOAT is for training, with {self.guides} guides an image; the batch has {count}: give "
                f"data.train=dict(type='WithGuides', dataset=..., count={self.guides}), and judge with FNA"
            )

        def embed(pixels: Tensor) -> Tensor:
            return embeddings_of(task.read(task.network(pixels, batch), batch))

        with torch.no_grad():
            guides = [embed(task.pixels({**batch, "inputs": images[:, i]})) for i in range(self.guides)]
            entries = {"push": torch.stack(guides).mean(0)}
            if self.pull:
                clean = embed(x)
                entries["pull"] = clean[torch.cdist(clean, clean).fill_diagonal_(-torch.inf).argmax(1)]
        return entries

    def __call__(self, output: Output, batch: Batch, *, x: Tensor) -> Tensor:
        """See :meth:`Objective.__call__`; without what does not depend on the attacked image."""
        embeddings = embeddings_of(output)
        score = self.guides * (embeddings - batch["push"]).square().sum(1)
        return score - (embeddings - batch["pull"]).square().sum(1) if self.pull else score
