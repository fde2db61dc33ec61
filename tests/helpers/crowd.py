"""A linear embedding, and a small crowd of people seen by two cameras."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from natx.task import Output, Task


class LinearEmbedding(Task):
    """Pixels ``[N, 2, 3, 4]`` to embeddings ``[N, 4]``; images are not right or wrong by themselves."""

    num_classes = 4

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.net = nn.Sequential(nn.Flatten(), nn.Linear(24, 4))

    @property
    def upstream(self) -> nn.Module:
        return self.net

    @property
    def per_image_success(self) -> bool:  # type: ignore[override]
        return False

    def pixels(self, batch: dict[str, Any]) -> Tensor:
        return batch["inputs"]

    def network(self, x: Tensor, batch: dict[str, Any]) -> Tensor:
        return self.net(x)

    def read(self, raw: Tensor, batch: dict[str, Any], *, rows: Any = None) -> Output:
        n = len(raw)
        return Output({}, raw, None, torch.arange(n), raw.new_ones(n), n, features=raw)

    @torch.no_grad()
    def predict(self, batch: dict[str, Any]) -> Tensor:
        return self.net(batch["inputs"])


class Crowd:
    """Images of people around a pattern of each; camera 1 took the queries, camera 2 the gallery.

    Args:
        people: how many.
        images: of each person in the queries, and as many in the gallery.
        noise: standard deviation around the pattern.
    """

    def __init__(self, people: int, images: int, *, noise: float = 0.02) -> None:
        generator = torch.Generator().manual_seed(5)
        patterns = 0.25 + 0.5 * torch.rand(people, 2, 3, 4, generator=generator)
        self.labels = torch.arange(1, people + 1).repeat(2 * images)
        half = people * images
        self.cameras = torch.cat([torch.ones(half), torch.full((half,), 2.0)]).long()
        self.queries, self.gallery = torch.arange(half), torch.arange(half, 2 * half)
        self.probes = self.attacked = self.queries
        spread = noise * torch.randn(2 * half, 2, 3, 4, generator=generator)
        self.images = (patterns[self.labels - 1] + spread).clamp(0, 1)

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, count: int) -> Crowd:
        return self

    def __getitems__(self, positions: Any) -> dict[str, Tensor]:
        index = torch.as_tensor(positions)
        return {"inputs": self.images[index], "index": index}
