"""The attacked task on one batch: its outputs and gradients, what they cost, and what of them cannot be followed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from natx.attacks.parts import Parts
from natx.attacks.tally import Tally, finite_gradient
from natx.batch import Batch, select, size
from natx.errors import ConfigError
from natx.objectives import Objective
from natx.runtime.rng import uniform
from natx.task import Output, Task
from natx.threat import Ball

# A refusal, not a gradient of zeros: figures of a PGD that goes nowhere would look like robustness. A gradient that is
# there and zero (rounded activations) is the model's own, and for the audit to find.
CUT = (
    "the model gives no gradient with respect to the pixels (its output is cut off from them by detach, no_grad or the "
    "like), which this attack follows: use attacks that need none (Square, Transfer), or take the cut out"
)


@dataclass
class Cost:
    """Work spent, counted in images: one forward and one backward through the network each."""

    forwards: int = 0
    backwards: int = 0

    def __iadd__(self, other: Cost) -> Cost:
        self.forwards += other.forwards
        self.backwards += other.backwards
        return self


class Victim:
    """The attacked task on one batch of images, bound to a threat model; counts what the attack spends and meets.

    Args:
        task: the model.
        batch: the images.
        ball: the threat model around them.
        cost: gets what is spent.
        tally: gets what cannot be followed; of these images alone by default.
        rows: the images' positions in the tally, int64 ``[N]``; None where they are all of it, in order.

    Attributes:
        parts: keeps what an attack finishes on the way, where a judging keeps its progress; else None.
    """

    parts: Parts | None = None

    def __init__(
        self,
        task: Task,
        batch: Batch,
        *,
        ball: Ball,
        cost: Cost,
        tally: Tally | None = None,
        rows: Tensor | None = None,
    ) -> None:
        self.task, self.batch, self.ball, self.cost = task, batch, ball, cost
        self.tally = Tally(len(ball.x), ball.x.device) if tally is None else tally
        self.rows = rows

    @property
    def x(self) -> Tensor:
        """The clean pixels ``[N, C, H, W]``."""
        return self.ball.x

    def __len__(self) -> int:
        return size(self.batch)

    def output(self, x: Tensor) -> Output:
        """The task's output for pixels ``x`` (one forward)."""
        self.cost.forwards += len(x)
        output = self.task.read(self.task.network(x, self.batch), self.batch)
        self.tally.logits(output.finite(), rows=self.rows)
        return output

    def wrong(self, output: Output) -> Tensor:
        """Which images an output misclassifies, bool ``[N]``: also those whose logits are no numbers."""
        return ~(self.task.correct(output) & output.finite())

    def gradient(self, x: Tensor, objective: Objective) -> tuple[Tensor, Output, Tensor]:
        """Gradient of the summed objective with respect to ``x``, the output and the scores ``[N]`` at ``x``.

        Entries of the gradient that are NaN or infinite are 0, and a score that is no number is above all others.

        Raises:
            ConfigError: autograd has no path from the pixels to the scores.
        """
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            output = self.output(x)
            scores = objective(output, self.batch, x=x)
            unbroken = ~self.wrong(output) if self.task.per_image_success else output.finite()
            grad = self.followed(scores.sum(), x, among=unbroken)
        forwards, backwards = objective.cost()
        self.cost += Cost(forwards * len(x), backwards * len(x))
        return grad, output, _ordered(scores)

    def followed(self, total: Tensor, x: Tensor, *, among: Tensor | None = None) -> Tensor:
        """Gradient of a scalar with respect to pixels ``x``, fit to be followed (one backward).

        Args:
            total: the scalar.
            x: pixels of the victim's images ``[N, C, H, W]``.
            among: images on which the scalar is to depend, bool ``[N]``; all by default.

        Raises:
            ConfigError: autograd has no path from the pixels to the scalar.
        """
        grad = pixel_gradient(total, x)
        self.cost.backwards += len(x)
        self.tally.gradients(grad, rows=self.rows, among=among)
        return finite_gradient(grad)

    def scored(self, x: Tensor, objective: Objective) -> tuple[Output, Tensor]:
        """The output and the scores ``[N]`` at pixels ``x``, without gradient; see :meth:`gradient`."""
        with torch.no_grad():
            output = self.output(x)
            scores = objective(output, self.batch, x=x)
        self.cost.forwards += objective.cost()[0] * len(x)
        return output, _ordered(scores)

    def logits(self, x: Tensor) -> Tensor:
        """Class logits ``[n, C]`` of any images, counted; for libraries that choose images themselves.

        Gradients with respect to ``x`` are fit to be followed, as those of :meth:`gradient`. Logits that are
        no numbers become those of a class that the image is not of (the image nearest to the pixels): it counts as
        broken.

        Raises:
            ConfigError: pixels that ask for a gradient get none, because autograd has no path from them to the logits.
        """
        self.cost.forwards += len(x)
        if torch.is_grad_enabled() and x.requires_grad:
            x.register_hook(self._hook)
        logits = self.task.logits(x.to(self.x.dtype)).to(x.dtype)
        if torch.is_grad_enabled() and x.requires_grad and not logits.requires_grad:
            raise ConfigError(CUT)
        if logits.requires_grad:
            n = len(x)

            def count(_: Tensor) -> None:
                self.cost.backwards += n

            logits.register_hook(count)
        finite = torch.isfinite(logits).all(1)
        if bool(finite.all()):
            return logits
        misses = torch.zeros_like(logits)
        for row in (~finite).nonzero().squeeze(1).tolist():
            image = self.ball.distance(x[row].detach().expand_as(self.x)).argmin()
            misses[row, (self.batch["data_samples"][image] + 1) % logits.shape[1]] = 1.0
        return torch.where(finite[:, None], logits, misses)

    def _hook(self, grad: Tensor) -> Tensor:
        self.tally.some_gradients(grad)
        return finite_gradient(grad)

    def noise(self, seed: int, *, epoch: int, stream: int, draw: Callable[..., Tensor] = uniform) -> Tensor:
        """Uniform noise in [0,1), or another draw of :mod:`natx.runtime.rng`, keyed by image index."""
        return draw(self.batch["index"].to(self.x.device), self.x.shape[1:], seed=seed, epoch=epoch, stream=stream)

    def select(self, rows: Tensor) -> Victim:
        """The same victim on the images at positions ``rows``."""
        return Victim(
            self.task,
            select(self.batch, rows),
            ball=self.ball.select(rows),
            cost=self.cost,
            tally=self.tally,
            rows=rows if self.rows is None else self.rows[rows],
        )

    def alike(self, entries: Batch | None = None, *, task: Task | None = None, ball: Ball | None = None) -> Victim:
        """A victim of its own on the same images, with entries added to its batch, another model or another ball."""
        batch = {**self.batch, **(entries or {})}
        return Victim(
            task or self.task, batch, ball=ball or self.ball, cost=self.cost, tally=self.tally, rows=self.rows
        )


def _ordered(scores: Tensor) -> Tensor:
    """Scores without gradient, with NaN above all numbers: what a model cannot score it cannot withstand."""
    return scores.detach().nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)


def pixel_gradient(total: Tensor, x: Tensor) -> Tensor:
    """Gradient of a scalar with respect to the pixels ``x`` only: no parameter gradient is computed or communicated.

    Raises:
        ConfigError: autograd has no path from the pixels to the scalar.
    """
    grad = torch.autograd.grad(total, x, allow_unused=True)[0] if total.requires_grad else None
    if grad is None:
        raise ConfigError(CUT)
    return grad
