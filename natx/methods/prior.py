"""Single-step training from perturbations that each image keeps: FGSM with prior initialisation, and ATAS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from natx.attacks import Cost, Victim
from natx.batch import Batch
from natx.errors import ConfigError
from natx.methods.base import Method, Setting, whole_epochs
from natx.methods.memory import Memory, Store, build_memory
from natx.models.mode import BNMode, attack_mode
from natx.objectives import Objective, build_objective
from natx.registry import METHODS, THREATS
from natx.runtime.rng import uniform
from natx.task import Task
from natx.threat import Linf, ThreatModel

STREAM = 41  # of the perturbations that images begin with
DTYPES = {"float16": torch.float16, "float32": torch.float32, "float64": torch.float64}


class Remembering(Method):
    """A method whose single step starts from a perturbation that each image keeps from epoch to epoch.

    Every ``reset`` epochs the images begin anew. The perturbations lie on the device (and in ``last.pth``, so that a
    run resumes with them) or, for sets too large for that and for several processes, in a file of the run's folder.

    Args:
        threat: Linf, in pixel units of [0,1].
        step: length of the step in units of eps.
        reset: epochs after which the perturbations begin anew; 0 for never.
        views: ('adv',) or ('clean', 'adv').
        terms: see :class:`~natx.methods.base.Method`.
        joint_batch: see :class:`~natx.methods.base.Method`.
        objective: config of what the step climbs; cross-entropy by default.
        store: 'device' or 'disk'.
        dtype: of what is kept: 'float16', or 'float32'.
        seed: of the perturbations that images begin with.
        bn_mode: see :func:`natx.models.mode.attack_mode`.

    Raises:
        ConfigError: another norm, or a setting out of range.
    """

    states: tuple[str, ...] = ("perturbation",)  # names of the tensors that each image keeps
    exact: tuple[str, ...] = ()  # those of them that half precision cannot hold

    def __init__(
        self,
        threat: ThreatModel | dict[str, Any],
        *,
        step: float,
        reset: int,
        views: Sequence[str] = ("adv",),
        terms: Sequence[dict[str, Any]] | None = None,
        joint_batch: bool = True,
        objective: Objective | dict[str, Any] | None = None,
        store: Store = "device",
        dtype: str = "float16",
        seed: int = 0,
        bn_mode: BNMode = "eval",
    ) -> None:
        super().__init__(terms, joint_batch=joint_batch)
        self.threat: ThreatModel = THREATS.build(threat) if isinstance(threat, dict) else threat
        name = type(self).__name__
        if not isinstance(self.threat, Linf):
            raise ConfigError(f"{name} works in Linf balls; got {self.threat}")
        if tuple(views) not in (("adv",), ("clean", "adv")):
            raise ConfigError(f"views is ('adv',) or ('clean', 'adv'); got {tuple(views)}")
        if not 0 < step < float("inf"):
            raise ConfigError(f"{name} needs step > 0, in units of eps; got {step}")
        if dtype not in DTYPES:
            raise ConfigError(f"dtype is one of {', '.join(DTYPES)}; got {dtype!r}")
        self.views, self.step, self.reset = tuple(views), float(step), whole_epochs(reset, "reset")
        self.objective = build_objective(objective)
        self.store, self.dtype, self.seed, self.bn_mode = store, dtype, seed, bn_mode
        self.memories = nn.ModuleDict()
        self._moves: Callable[..., Tensor] | None = None
        self._epochs = 0
        self._batch: int | None = None

    @property
    def single_step(self) -> bool:
        """See :attr:`Method.single_step`; yes."""
        return True

    def prepare(self, task: Task, device: torch.device) -> None:
        """See :meth:`Method.prepare`; an objective that cannot score the task is refused."""
        super().prepare(task, device)
        self.objective.check(task)

    def begin(self, setting: Setting) -> None:
        """See :meth:`Method.begin`; makes room for every image's perturbation."""
        self._moves, self._epochs, self._batch = setting.moves, setting.epochs, setting.batch
        for name in self.states:
            path = None if setting.folder is None else setting.folder / "memory" / f"{name}.bin"
            dtype = torch.float32 if name in self.exact and self.dtype == "float16" else DTYPES[self.dtype]
            self.memories[name] = build_memory(self.store, images=setting.images, path=path, dtype=dtype)

    def go_back(self, epoch: int) -> None:
        """See :meth:`Method.go_back`; an overfitted network's perturbations go with it."""
        for name in self.memories:
            self._memory(name).forget(epoch)

    def cost(self) -> tuple[float, float]:
        """See :meth:`Method.cost`; adds the step."""
        forwards, backwards = super().cost()
        more_f, more_b = self.objective.cost()
        return (forwards + self.objective.prepare_forwards + 1 + more_f, backwards + 1 + more_b)

    def since(self, epoch: int) -> int:
        """The epoch in which the perturbations of this epoch began."""
        return epoch - epoch % self.reset if self.reset else 0

    def recalled(self, name: str, batch: Batch, *, epoch: int, fresh: Tensor) -> Tensor:
        """What the batch's images keep under a name; ``fresh`` where they have nothing since the last reset."""
        if name not in self.memories:
            raise ConfigError(f"{type(self).__name__} keeps a perturbation of each training image: begin() comes first")
        return self._memory(name).read(batch["index"], epoch=epoch, since=self.since(epoch), fresh=fresh)

    def remember(self, name: str, batch: Batch, values: Tensor, *, epoch: int) -> None:
        """Keep values of the batch's images."""
        self._memory(name).write(batch["index"], values.detach(), epoch=epoch)

    def _memory(self, name: str) -> Memory:
        return cast(Memory, self.memories[name])

    def uniform(self, batch: Batch, x: Tensor, *, epoch: int) -> Tensor:
        """Uniform in [-eps, eps): what perturbations begin with, the same in all epochs up to the next reset."""
        noise = uniform(
            batch["index"].to(x.device), x.shape[1:], seed=self.seed, epoch=self.since(epoch), stream=STREAM
        )
        return (2 * noise.to(x.dtype) - 1) * self.threat.radius

    def gradient(self, task: Task, batch: Batch, x: Tensor, *, start: Tensor) -> Tensor:
        """The gradient of the summed objective at ``start``, with the model in the mode for an attack."""
        with attack_mode(task, self.bn_mode):
            prepared = {**batch, **self.objective.prepare(task, batch, x=x)}
            ball = self.threat.around(x, task.perturbable(batch))
            victim = Victim(task, prepared, ball=ball, cost=Cost())
            self.tally = victim.tally
            return victim.gradient(start, self.objective)[0]


@METHODS.register_module()
class PriorGuided(Remembering):
    """FGSM with prior-guided initialisation from the momentum of all epochs (Jia et al. 2022, FGSM-MEP).

    The step goes from the image's prior: ``x_adv = x + clip(prior + step * eps * sign(g))`` with ``g`` the gradient
    there. The image's momentum becomes ``g / ||g||_1 + decay * momentum``, and its next prior ``clip(prior + step *
    eps * sign(momentum))``; priors begin as ``eps * sign(uniform)``. The view 'prior' is the image at its prior, which
    :class:`~natx.terms.PriorConsistency` compares with the adversarial one: the default terms are the task's own loss
    on the other views and that term with the paper's weight 10.

    Source: "Prior-Guided Adversarial Initialization for Fast Adversarial Training"; ``FGSM_MEP.py`` of
    jiaxiaojunQAQ/FGSM-PGI. As there, priors live in the frame of the augmented image. Deviations: the step's gradient
    is taken by a pass of its own in eval mode (``bn_mode='train'`` for the source's mode) instead of sharing the
    forward of the term; the L1 norm is divided by the number of values, so that half precision holds the momentum,
    which changes no sign where batches are equally large. Label smoothing (0.6 on the true class in the source) is the
    task's setting.

    Args:
        threat: Linf, in pixel units of [0,1].
        step: length of the step in units of eps; 1 in the source.
        decay: what remains of the momentum; 0.3 in the source.
        reset: epochs after which priors begin anew; 40 in the source.
        **settings: see :class:`Remembering`.
    """

    states = ("perturbation", "momentum")

    def __init__(
        self,
        threat: ThreatModel | dict[str, Any],
        step: float = 1.0,
        *,
        decay: float = 0.3,
        reset: int = 40,
        views: Sequence[str] = ("adv",),
        terms: Sequence[dict[str, Any]] | None = None,
        **settings: Any,
    ) -> None:
        default: list[dict[str, Any]] = [dict(type="TaskLoss", on=tuple(views)), dict(type="PriorConsistency")]
        super().__init__(threat, step=step, reset=reset, views=views, terms=terms or default, **settings)
        if not 0 <= decay <= 1:
            raise ConfigError(f"decay is what remains of the momentum, 0 to 1; got {decay}")
        self.decay = decay
        self.views = ("prior", *self.views)

    def make_views(self, task: Task, batch: Batch, *, epoch: int) -> list[Tensor]:
        """The images at their priors, clean (if asked for), and after the step."""
        x = task.pixels(batch)
        ball = self.threat.around(x, task.perturbable(batch))
        begin = self.threat.radius * self.uniform(batch, x, epoch=epoch).sign()
        prior = self.recalled("perturbation", batch, epoch=epoch, fresh=begin)
        momentum = self.recalled("momentum", batch, epoch=epoch, fresh=torch.zeros_like(x))
        start = ball.project(x + prior)
        grad = self.gradient(task, batch, x, start=start)
        momentum = grad / grad.abs().mean().clamp_min(torch.finfo(grad.dtype).tiny) + self.decay * momentum
        length = self.step * self.threat.radius
        self.remember("perturbation", batch, ball.project(start + length * ball.steepest(momentum)) - x, epoch=epoch)
        self.remember("momentum", batch, momentum, epoch=epoch)
        x_adv = ball.project(start + length * ball.steepest(grad))
        return [start, x, x_adv] if "clean" in self.views else [start, x_adv]


@METHODS.register_module()
class ATAS(Remembering):
    """Adversarial training with adaptive step sizes (Huang et al. 2023), each image's own.

    The step goes from the perturbation that the image's last step left, moved as the image now is (crop and flip), by
    ``2 * base * eps / (1 + sqrt(v) / c)`` within ``smallest`` and ``largest`` times eps: images with large gradients
    take small steps. ``v = beta * v + (1 - beta) * ||g||_2^2`` is the image's own mean of squared gradient norms, ``g``
    being that of the mean loss over all images of an update (of all processes and accumulated iterations). In the first
    ``warmup`` epochs the step is ``step * eps``. What the crop does not show of a perturbation stays as it was.

    Source: "Fast Adversarial Training with Adaptive Step Size"; ``ATAS.py``, ``adv_attack.py`` of HuangZhiChao95/ATAS,
    whose sizes 8, 4 and 14 /255 at eps 8/255 are ``base=1, smallest=0.5, largest=1.75``. Deviations: perturbations live
    on the image and not on its padding, and augmentations that resize are refused, where the source resizes them back.

    Args:
        threat: Linf, in pixel units of [0,1].
        step: length of the step in the warm-up, in units of eps.
        c: the gradient norm at which the step is half of its largest; 0.01 for CIFAR-10 in the source.
        beta: what remains of the mean.
        base: see above, in units of eps.
        smallest: shortest step in units of eps.
        largest: longest step in units of eps.
        warmup: epochs with steps of one length.
        reset: epochs after which perturbations begin anew; 10 in the source.
        **settings: see :class:`Remembering`.
    """

    states = ("perturbation", "gradient_norm")
    exact = ("gradient_norm",)

    def __init__(
        self,
        threat: ThreatModel | dict[str, Any],
        step: float = 1.0,
        *,
        c: float = 0.01,
        beta: float = 0.5,
        base: float = 1.0,
        smallest: float = 0.5,
        largest: float = 1.75,
        warmup: int = 5,
        reset: int = 10,
        **settings: Any,
    ) -> None:
        super().__init__(threat, step=step, reset=reset, **settings)
        if not (c > 0 and 0 <= beta < 1 and 0 < smallest <= largest and base > 0):
            raise ConfigError(
                f"ATAS needs c > 0, 0 <= beta < 1, base > 0 and 0 < smallest <= largest; got c={c}, beta={beta}, "
                f"base={base}, smallest={smallest}, largest={largest}"
            )
        self.c, self.beta, self.base, self.smallest, self.largest = c, beta, base, smallest, largest
        self.warmup = whole_epochs(warmup, "warmup")

    def since(self, epoch: int) -> int:
        """See :meth:`Remembering.since`; the source counts epochs from 1 and does not reset before the last one."""
        if not self.reset:
            return 0
        count = epoch + 1
        count -= count == self._epochs and count % self.reset == 0
        return max(0, count - count % self.reset - 1)

    def make_views(self, task: Task, batch: Batch, *, epoch: int) -> list[Tensor]:
        """Clean pixels (if asked for), and those after the step."""
        x = task.pixels(batch)
        ball = self.threat.around(x, task.perturbable(batch))
        perturbation = self.recalled("perturbation", batch, epoch=epoch, fresh=self.uniform(batch, x, epoch=epoch))
        shown, back = self._moved(perturbation, batch, epoch=epoch)
        start = ball.project(x + shown)
        grad = self.gradient(task, batch, x, start=start) / (self._batch or len(x))
        sizes = self._sizes(batch, grad, epoch=epoch)
        x_adv = ball.project(start + sizes.view(-1, *[1] * (x.dim() - 1)) * grad.sign())
        self.remember("perturbation", batch, back(x_adv - x), epoch=epoch)
        return [x, x_adv] if "clean" in self.views else [x_adv]

    def _sizes(self, batch: Batch, grad: Tensor, *, epoch: int) -> Tensor:
        """Each image's step in pixel units ``[N]``; its mean of squared gradient norms is remembered."""
        eps = self.threat.radius
        if epoch < self.warmup:
            return grad.new_full((len(grad),), self.step * eps)
        squared = grad.flatten(1).norm(dim=1).square()
        before = self._memory("gradient_norm").read(
            batch["index"], epoch=epoch, since=0, fresh=torch.zeros_like(squared)
        )
        mean = (1 - self.beta) * squared + self.beta * before
        self.remember("gradient_norm", batch, mean, epoch=epoch)
        return (2 * self.base * eps / (1 + mean.sqrt() / self.c)).clamp(self.smallest * eps, self.largest * eps)

    def _moved(self, perturbation: Tensor, batch: Batch, *, epoch: int) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The perturbations as the augmented images show them, and the way back into the images' own frames.

        Crops and flips pick pixels, so the way back is the transpose of what they do, which autograd knows.
        """
        moves = self._moves
        if moves is None:
            return perturbation, lambda shown: shown
        frame = torch.zeros_like(perturbation).requires_grad_()
        with torch.enable_grad():
            picked = moves(frame, index=batch["index"], epoch=epoch)

        def transposed(values: Tensor) -> Tensor:
            return torch.autograd.grad(picked, frame, values, retain_graph=True)[0]

        def back(after: Tensor) -> Tensor:
            count = transposed(torch.ones_like(after))  # how often a pixel is shown: reflected padding shows some twice
            return torch.where(count > 0, transposed(after) / count.clamp_min(1), perturbation)

        return moves(perturbation, index=batch["index"], epoch=epoch), back
