"""Retrieval: mean average precision and Rank-k of person re-identification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from natx.errors import DataError
from natx.evaluation.metric import Metric
from natx.evaluation.robust import CLEAN
from natx.registry import METRICS
from tasks.reid.chance import chance
from tasks.reid.picture import Portrait, Search, draw_searches
from tasks.reid.ranking import Protocol, Ranking, check_settings, retrieve
from tasks.reid.reranking import KReciprocal

NEAREST, NAMED = 5, 5


@METRICS.register_module()
class Retrieval(Metric):
    """mAP, Rank-1/5/10 and mINP (%) of the single-query protocol of Market-1501, see :mod:`tasks.reid.ranking`.

    The data set has ``labels`` (identities) and ``cameras``, int64 ``[N]``, and ``queries`` and ``gallery``, the
    positions of the images that are searched for and in, int64 ``[Q]`` and ``[G]``.

    Args:
        distance: ``cosine`` or ``euclidean``.
        block: queries ranked at a time.
        rerank: add ``mAP re-ranked`` and so on by k-reciprocal neighbours: True, or settings of
            :class:`~tasks.reid.reranking.KReciprocal`. All queries of a column are neighbours of each other then, so an
            attack on one changes the ranking of the others.
    """

    cell = ("mAP", "Rank-1")

    def __init__(self, distance: str = "cosine", *, block: int = 256, rerank: bool | Mapping[str, Any] = False) -> None:
        check_settings(distance, block)
        self.distance, self.block, self.rerank = distance, block, None
        if rerank is not False:
            self.rerank = KReciprocal(**({} if rerank is True else rerank))

    def __call__(self, predictions: Tensor, dataset: Any) -> dict[str, float]:
        """Values over the queries that have a match.

        Args:
            predictions: features ``[N, D]`` of all images.
            dataset: the test set.

        Raises:
            DataError: features that are not finite or not as many as images, or no query with a match.
        """
        values = self.ranking(predictions, dataset).values()
        if self.rerank is not None:
            values |= {
                f"{key} re-ranked": value for key, value in self._reranking(predictions, dataset).values().items()
            }
        return values

    def scores(self, predictions: Tensor, dataset: Any) -> dict[str, Tensor]:
        """See :meth:`Metric.scores`: average precision and whether the first image is right, in percent.

        Of the queries that have a match, in order.
        """
        ranking = self.ranking(predictions, dataset)
        matched = ranking.matched
        first = ranking.first[matched] == 1
        columns = (ranking.precision[matched], first.astype(float))
        return {name: torch.from_numpy(100 * column) for name, column in zip(self.cell, columns)}

    def groups(self, dataset: Any) -> Tensor:
        """See :meth:`Metric.groups`; the identities of the queries that have a match, in order."""
        matched = Protocol(**_protocol(dataset, dataset.queries)).matched()
        return dataset.labels[dataset.queries][torch.from_numpy(matched)]

    def chance(self, dataset: Any) -> dict[str, float]:
        """See :meth:`Metric.chance`; exact."""
        return chance(Protocol(**_protocol(dataset, dataset.queries)))

    def ranking(self, predictions: Tensor, dataset: Any, *, queries: Tensor | None = None, top: int = 0) -> Ranking:
        """The ranking behind the values.

        Args:
            predictions: features ``[N, D]`` of all images.
            dataset: the test set.
            queries: positions of the queries to rank; all by default.
            top: name so many of the nearest gallery images (as places in ``dataset.gallery``).

        Raises:
            DataError: features that are not finite or not as many as images.
        """
        if predictions.ndim != 2 or len(predictions) != len(dataset.labels):
            raise DataError(
                f"Retrieval needs a feature vector for each of {len(dataset.labels)} images; "
                f"got predictions of shape {list(predictions.shape)}"
            )
        queries = dataset.queries if queries is None else queries
        query, gallery, spoilt = _features(predictions, dataset, queries)
        identities = _protocol(dataset, queries)
        ranking = retrieve(query, gallery, **identities, distance=self.distance, block=self.block, top=top)
        return _without(ranking, spoilt, len(gallery))

    def _reranking(self, predictions: Tensor, dataset: Any) -> Ranking:
        """The ranking by k-reciprocal neighbours; features are those that :meth:`ranking` has checked."""
        assert self.rerank is not None
        query, gallery, spoilt = _features(predictions, dataset, dataset.queries)
        protocol = Protocol(**_protocol(dataset, dataset.queries))
        ranking = self.rerank.ranking(query, gallery, protocol, distance=self.distance, block=self.block)
        return _without(ranking, spoilt, len(gallery))

    def notes(self, dataset: Any, predictions: Any) -> list[str]:
        """What a ranking at random scores on the set; how many queries have no match and whose they are."""
        protocol = Protocol(**_protocol(dataset, dataset.queries))
        matched = torch.from_numpy(protocol.matched())
        expectation = chance(protocol)
        values = "/".join(f"{expectation[key]:.2f}" for key in self.cell)
        chance_note = f"a ranking at random gives {'/'.join(self.cell)} of {values} on average"
        if bool(matched.all()):
            return [chance_note]
        identities = dataset.labels[dataset.queries][~matched].unique().tolist()
        has, they = ("has", "it is") if (count := int((~matched).sum())) == 1 else ("have", "they are")
        return [
            chance_note,
            f"{count} of {len(matched)} queries ({_listed(identities)}) {has} no image of another camera in the "
            f"gallery: {they} left out",
        ]

    def draw(
        self, path: Path, dataset: Any, *, positions: Sequence[int], columns: dict[str, tuple[Tensor, Sequence[Tensor]]]
    ) -> bool:
        """Draw queries, clean and attacked, each with the gallery images that are nearest to it; see the base class.

        The first two columns are drawn. The set's ``__getitems__`` gives ``inputs`` as uint8 ``[n, 3, H, W]``.
        """
        if not columns or not len(positions):
            return False
        rows = [
            self._searches("clean" if name == CLEAN else name, *column, dataset=dataset, positions=positions)
            for name, column in list(columns.items())[:2]
        ]
        draw_searches(path, list(zip(*rows)))
        return True

    def _searches(
        self, name: str, predictions: Tensor, pixels: Sequence[Tensor], *, dataset: Any, positions: Sequence[int]
    ) -> list[Search]:
        """What is drawn of one column: a search for the query at each position."""
        ranking = self.ranking(predictions, dataset, queries=torch.tensor(positions), top=NEAREST)
        searches = []
        for i, position in enumerate(positions):
            query = _portrait(dataset, position, pixels[i])
            near = [dataset.gallery[place].item() for place in ranking.best[i].tolist() if place >= 0]
            images = dataset.__getitems__(near)["inputs"] / 255 if near else ()
            nearest = [_portrait(dataset, at, image) for at, image in zip(near, images)]
            title = f"{name}: no right image in the gallery"
            if ranking.matched[i]:
                title = f"{name}: first right image at rank {ranking.first[i]}, AP {100 * ranking.precision[i]:.1f} %"
            searches.append(Search(title, query, nearest))
        return searches


def _features(predictions: Tensor, dataset: Any, queries: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Features of queries and gallery, and which queries have none: under an attack they may be no numbers."""
    query, gallery = (predictions[at.to(predictions.device)] for at in (queries, dataset.gallery))
    spoilt = ~torch.isfinite(query).all(1)
    return query.masked_fill(spoilt[:, None], 0.0), gallery, spoilt


def _without(ranking: Ranking, spoilt: Tensor, gallery: int) -> Ranking:
    """The ranking in which queries without features find nothing."""
    lost = spoilt.numpy(force=True) & ranking.matched
    ranking.precision[lost], ranking.hardest[lost], ranking.first[lost] = 0.0, 0.0, gallery + 1
    return ranking


def _protocol(dataset: Any, queries: Tensor) -> dict[str, Any]:
    labels, cameras, gallery = dataset.labels, dataset.cameras, dataset.gallery
    return {
        "query_ids": labels[queries],
        "query_cameras": cameras[queries],
        "gallery_ids": labels[gallery],
        "gallery_cameras": cameras[gallery],
    }


def _portrait(dataset: Any, position: int, image: Tensor) -> Portrait:
    camera = int(dataset.cameras[position]) if getattr(dataset, "cameras_named", True) else None
    return Portrait(image, identity=int(dataset.labels[position]), camera=camera)


def _listed(identities: Sequence[int]) -> str:
    """``identity 4``, ``identities 4, 9`` or ``identities 4, 9, 11, 12, 15 and 3 more``."""
    first = ", ".join(map(str, identities[:NAMED]))
    more = f" and {len(identities) - NAMED} more" if len(identities) > NAMED else ""
    return f"{'identity' if len(identities) == 1 else 'identities'} {first}{more}"
