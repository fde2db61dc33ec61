"""Person re-identification: ranking a gallery of Market-1501's size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from natx.benchmark import Measured, interleave, stopwatch
from natx.benchmark.opponents import peer
from natx_bench.common import Bench, item
from natx_bench.fresh import in_fresh_process, memory_work
from tasks.reid.ranking import retrieve

# Market-1501's test set; the distance matrix and torchreid's Python loop over it take about a minute a repeat.
QUERIES, GALLERY, IDENTITIES, CAMERAS, WIDTH, REPEATS = 3368, 15913, 750, 6, 512, 3


@dataclass(frozen=True)
class Pedestrians:
    """Features of Market-1501's size: of each identity around its own random point, so that some are found."""

    features: tuple[Tensor, Tensor]
    labels: dict[str, Any]

    @classmethod
    def draw(cls, device: torch.device, *, queries: int = QUERIES, gallery: int = GALLERY) -> Pedestrians:
        """The same features and labels every time; identity 0 is a distractor."""
        generator = torch.Generator().manual_seed(0)
        centres = torch.randn(IDENTITIES + 1, WIDTH, generator=generator)
        features, labels = [], {}
        for side, count, lowest in (("query", queries, 1), ("gallery", gallery, 0)):
            ids = torch.randint(lowest, IDENTITIES + 1, (count,), generator=generator)
            features.append((centres[ids] + 3 * torch.randn(count, WIDTH, generator=generator)).to(device))
            labels[f"{side}_ids"] = ids
            labels[f"{side}_cameras"] = torch.randint(CAMERAS, (count,), generator=generator)
        return cls((features[0], features[1]), labels)

    def natx(self) -> dict[str, float]:
        return retrieve(*self.features, **self.labels).values()

    def torchreid(self, library: Any) -> dict[str, float]:
        """mAP and Rank-k as torchreid's engine computes them where its Cython extension is not built."""
        names = ("query_ids", "gallery_ids", "query_cameras", "gallery_cameras")
        distances = library.compute_distance_matrix(*self.features, "cosine").cpu().numpy()
        cmc, mean = library.evaluate_rank(distances, *(self.labels[n].numpy() for n in names), use_cython=False)
        return {"mAP": 100 * float(mean)} | {f"Rank-{k}": 100 * float(cmc[k - 1]) for k in (1, 5, 10)}


@memory_work("reid")
def ranking(bench: Bench) -> Callable[[], Any]:
    return Pedestrians.draw(bench.device).natx


@item(
    "reid_ranking",
    a="natx: retrieve() in blocks, from features to mAP and Rank-k",
    b="torchreid: compute_distance_matrix and evaluate_rank (Python)",
    limit=0.333,
)
def reid_ranking(bench: Bench) -> Measured:
    library = peer("torchreid.reid.metrics")
    people, few = Pedestrians.draw(bench.device), Pedestrians.draw(bench.device, queries=64)
    paired = interleave(
        people.natx,
        partial(people.torchreid, library),
        repeats=min(bench.repeats, REPEATS),
        measure=stopwatch(bench.device),
        warm_up=(people.natx, partial(few.torchreid, library)),
    )
    values, reference = paired.outputs
    details = {
        "setting": f"{QUERIES} queries, {GALLERY} gallery images, {IDENTITIES} identities, "
        f"{CAMERAS} cameras, {WIDTH} random features an image, cosine distance; no network takes part",
        "torchreid": version("torchreid"),
        "values": [{"": key, "natx %": values[key], "torchreid %": reference[key]} for key in values],
        "largest difference, %": max(abs(values[key] - reference[key]) for key in values),
        "peak memory of A above the features, MB": in_fresh_process(bench, "reid"),
        "all distances at once would take, MB": QUERIES * GALLERY * 4 / 1e6,
    }
    return Measured(paired, details=details)
