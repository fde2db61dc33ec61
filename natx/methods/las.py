"""LAS-AT: adversarial training with a learned attack strategy (Jia et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from natx.attacks import Attack, PerImagePGD, build_attack, counted
from natx.attacks.per_image import EPS, STEP_SIZE, STEPS
from natx.batch import Batch
from natx.errors import ConfigError
from natx.methods.adversarial import Adversarial
from natx.methods.lookahead import after_one_step
from natx.methods.strategy import Strategy
from natx.models.companion import check_same_pixels
from natx.models.mode import attack_mode
from natx.objectives import CrossEntropy
from natx.registry import METHODS
from natx.runtime.device import forked_rng
from natx.runtime.schedule import Schedule
from natx.task import Task
from natx.threat import Linf

# Streams of the strategy's draws: those that it learns from, and those that the target is trained on.
EXPLORE, ACT = 2000, 2001
LARGEST = 10.0  # of each part of the reward
# What the original's LAS-PGD-AT chooses from.
EPS_OPTIONS, STEP_SIZE_OPTIONS = tuple(e / 255 for e in range(3, 16)), tuple(s / 255 for s in range(1, 6))


@METHODS.register_module()
class LAS(Adversarial):
    """Adversarial training whose attack's eps, steps and step size a strategy network chooses for each image.

    Each training step attacks every image as the strategy, in eval mode, draws for it. Every ``interval`` steps before
    that, the strategy learns by REINFORCE: it draws in train mode, the images are attacked so (``x'``), and it descends
    ``-(mean log-probability of its choices) * (a R1 + b R2 + c R3)`` by one step of SGD with a clipped gradient, with

    - R1: the target's cross-entropy on ``x'``, at most 10,
    - R2: the part of the batch that withstands ``probe`` on a copy of the target after one SGD step on ``x'``,
    - R3: the part of the batch that this copy classifies right.

    The copy is a functional one: neither the target nor the random generators notice. With one option each for eps,
    steps and step size this is PGD adversarial training exactly. LAS-AWP is this inside :class:`~natx.methods.AWP` with
    ``clip=8 / 255``.

    The rewards are those of the batch, without a baseline, as in the original. A clipped step moves the strategy by at
    most ``lr``, so the 2,150 lessons of LAS-PGD-AT on CIFAR-10 move it by at most 0.2 in all: expect it to stay near
    the random strategy that it starts from, and look at ``strategy_eps_255`` and its like in the log.

    The threat model: the attack's is the largest ball among the options, 15/255 by default, which is more than the
    8/255 that models are judged at; each image is checked against the ball it was given. ``clip`` brings the images
    that are trained on back to a smaller ball.

    Sources: Jia et al. 2022; ``LAS_AT_train_cifar10.py`` and ``LAS_AWP_train_cifar10.py`` of jiaxiaojunQAQ/LAS-AT.
    Deviations: the probe attacks the copy in eval mode and counts an image broken at any step (there: train mode, and
    the restart of the higher loss); the copy's step takes the task's own losses, without AWP (there: label smoothing in
    both variants, and AWP in LAS-AWP); pixels are normalised inside the model everywhere (the original's LAS-AWP scores
    rewards on images it forgot to normalise); the CIFAR-100 script's momentum for the strategy is not used.

    Args:
        strategy: config of the strategy network, a task; its number of classes is set here.
        eps: radii to choose from (a number or several), in pixel units of [0,1].
        steps: numbers of steps to choose from.
        step_size: step sizes to choose from, in pixel units of [0,1].
        start_eps: attacks start uniformly within this distance.
        clip: in the end each pixel is within this distance of the image; None leaves the images as attacked.
        interval: training steps from one lesson of the strategy to the next; 20 for LAS-PGD-AT, 1 for LAS-AWP (10 on
            CIFAR-100).
        reward: the factors a, b, c of R1, R2, R3; (1, 4, 2) for LAS-PGD-AT, (1, 1, 1) for LAS-AWP on CIFAR-10.
        lr: the strategy's learning rate, a number or a schedule by epoch (:class:`~natx.runtime.schedule.Schedule`).
        max_norm: to which its gradient is clipped.
        copy_lr: learning rate of the copy's step, a number or a schedule; the original takes the target's.
        copy_weight_decay: of the copy's step.
        probe: config of the attack of R2; by default PGD-10 at 8/255 with two restarts. The best epoch is chosen under
            its threat model.
        seed: of the attack's starts and the strategy's draws.
        views: see :class:`~natx.methods.Adversarial`.
        terms: see :class:`~natx.methods.base.Method`.
        joint_batch: see :class:`~natx.methods.base.Method`.

    Raises:
        ConfigError: a setting out of range; before epoch 1: a task without right and wrong images, or a strategy
            network for images of another size.
    """

    usual_threat = Linf(8 / 255)

    def __init__(
        self,
        strategy: Task | dict[str, Any],
        *,
        eps: Any = EPS_OPTIONS,
        steps: Any = tuple(range(3, 15)),
        step_size: Any = STEP_SIZE_OPTIONS,
        start_eps: float = 8 / 255,
        clip: float | None = None,
        interval: int = 20,
        reward: Sequence[float] = (1.0, 4.0, 2.0),
        lr: Any = 1e-4,
        max_norm: float = 1.0,
        copy_lr: Any = 0.1,
        copy_weight_decay: float = 5e-4,
        probe: Attack | dict[str, Any] | None = None,
        seed: int = 0,
        views: Sequence[str] = ("adv",),
        terms: Sequence[dict[str, Any]] | None = None,
        joint_batch: bool = True,
    ) -> None:
        chooser = Strategy(strategy, eps=eps, steps=steps, step_size=step_size)
        largest, most = max(chooser.options[EPS]), int(max(chooser.options[STEPS]))
        attack = PerImagePGD(Linf(largest), most, start_eps=start_eps, seed=seed)
        super().__init__(attack, views, terms=terms, joint_batch=joint_batch)
        if isinstance(interval, bool) or not isinstance(interval, int) or interval < 1:
            raise ConfigError(f"interval is a number of training steps, at least 1; got {interval!r}")
        if clip is not None and not 0 < clip <= 1:
            raise ConfigError(f"clip is a distance above 0 in pixel units of [0,1], or None; got {clip}")
        if len(reward) != 3 or min(reward) < 0 or not max_norm > 0 or not copy_weight_decay >= 0:
            raise ConfigError(
                "LAS needs three factors >= 0 in reward, max_norm > 0 and copy_weight_decay >= 0; got "
                f"{tuple(reward)}, {max_norm} and {copy_weight_decay}"
            )
        self.strategy, self.clip, self.interval, self.reward = chooser, clip, interval, tuple(reward)
        self.lr, self.copy_lr = Schedule(lr, name="lr"), Schedule(copy_lr, name="copy_lr")
        self.max_norm, self.copy_weight_decay = max_norm, copy_weight_decay
        probe = probe or dict(type="PGD", steps=10, restarts=2)
        self.probe = build_attack(probe, threat=self.usual_threat)
        self.taken: Tensor
        self.register_buffer("taken", torch.zeros((), dtype=torch.int64))  # training steps, saved to resume from
        self._steps: int | None = None  # the same number on the host, read from the buffer when it is first needed
        self.register_load_state_dict_post_hook(_forget_steps)
        self._logged: dict[str, Tensor] = {}

    def prepare(self, task: Task, device: torch.device) -> None:
        """See :meth:`Method.prepare`."""
        super().prepare(task, device)
        if not task.per_image_success:
            raise ConfigError(f"LAS rewards right and wrong images, and {type(task).__name__} has none: it classifies")
        check_same_pixels(self.strategy.network, task, name="LAS's strategy network")
        self.strategy.to(device)

    def make_views(self, task: Task, batch: Batch, *, epoch: int) -> list[Tensor]:
        """Clean pixels (if asked for) and those attacked as the strategy chooses; it may learn before."""
        self._steps = 1 + (int(self.taken) if self._steps is None else self._steps)
        self.taken += 1
        self._logged = {}
        if self._steps % self.interval == 0:
            self._learn(task, batch, epoch=epoch)
        with self.strategy.deciding():
            settings, _ = self.strategy.draw(batch, seed=self.attack.seed, epoch=epoch, stream=ACT)
        names = {EPS: "strategy_eps_255", STEPS: "strategy_steps", STEP_SIZE: "strategy_step_size_255"}
        for key, name in names.items():
            self._logged[name] = settings[key].float().mean() * (1 if key == STEPS else 255)
        x, x_adv = task.pixels(batch), self.attack(task, {**batch, **settings}, epoch=epoch)
        self.tally = self.attack.tally
        if self.clip is not None:
            x_adv = x_adv.clamp(x - self.clip, x + self.clip)
        return [x, x_adv] if "clean" in self.views else [x_adv]

    def scalars(self, task: Task, batch: Batch, pixels: list[Tensor]) -> dict[str, Tensor]:
        """See :meth:`Method.scalars`; adds what the strategy chose (means, eps and step size times 255) and earned."""
        return {**super().scalars(task, batch, pixels), **self._logged}

    def cost(self) -> tuple[float, float]:
        """See :meth:`Method.cost`: at most, with every image attacked as often as it can be, lessons spread evenly."""
        forwards, backwards = super().cost()
        attack, probe = counted(self.attack), counted(self.probe)
        look = int(getattr(self.probe, "restarts", 1) == 1)  # judging looks at the result; several restarts do anyway
        # The strategy, the attack, R1, the copy's step, the probe, R3.
        lesson = (1 + attack[0] + 1 + 1 + probe[0] + look + 1, 1 + attack[1] + 1 + probe[1])
        return (forwards + 1 + lesson[0] / self.interval, backwards + lesson[1] / self.interval)

    def _learn(self, task: Task, batch: Batch, *, epoch: int) -> None:
        """One step of REINFORCE; see the class."""
        device = self.taken.device
        # Dropout, of either network, must not change what training draws afterwards.
        with forked_rng(device), self.strategy.learning():
            settings, log_probs = self.strategy.draw(batch, seed=self.attack.seed, epoch=epoch, stream=EXPLORE)
            x_adv = self.attack(task, {**batch, **settings}, epoch=epoch)
            parts = self._rewards(task, batch, x_adv, epoch=epoch)
            first, *rest = (factor * part for factor, part in zip(self.reward, parts))
            reward = sum(rest, first)
            norm = self.strategy.descend(-log_probs.mean() * reward, lr=self.lr(epoch), max_norm=self.max_norm)
        names = ("reward", "reward_attack", "reward_robust", "reward_clean", "strategy_grad_norm")
        self._logged.update(zip(names, (reward, *parts, norm)))

    def _rewards(self, task: Task, batch: Batch, x_adv: Tensor, *, epoch: int) -> tuple[Tensor, Tensor, Tensor]:
        """R1, R2 and R3, each 0-dim, without gradients."""
        with torch.no_grad(), attack_mode(task):
            strength = CrossEntropy()(task(batch, x_adv), batch, x=x_adv).mean().clamp(0, LARGEST)
        copy = after_one_step(task, batch, x_adv, lr=self.copy_lr(epoch), weight_decay=self.copy_weight_decay)
        broken = torch.stack(list(self.probe.judge(copy, batch).broken.values())).any(0)
        with torch.no_grad(), attack_mode(copy):
            right = copy.correct(copy(batch))
        return strength, (~broken).float().mean(), right.float().mean()


def _forget_steps(method: Any, _: object) -> None:
    """After a state was loaded the buffer has the number of steps."""
    method._steps = None
