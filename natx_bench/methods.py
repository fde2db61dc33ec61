"""A training step of every method beside a PGD-AT step: what it takes, and what counting its passes predicts.

Methods, models and augmentations are those of configs/cls/r8_cifar10_*.py, with random frozen companions.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.module import register_module_forward_hook

from natx.batch import Batch
from natx.benchmark import Measured, Paired, interleave
from natx.benchmark.opponents import Pixels
from natx.benchmark.training import Trainer, settled
from natx.config import SHIPPED, frozen_models, load_config, plain_dict
from natx.methods import LAS, Method
from natx.task import Task
from natx.training.build import build_learner
from natx_bench.cifar import images
from natx_bench.common import SECONDS, Bench, item, watch

CONFIGS = SHIPPED / "configs" / "cls"
PREFIX, REFERENCE = "r8_cifar10_", "pgd_at"
SAME = ("nat_w0006",)  # differs from another config by a number alone

# A pass is (mode, kind): what it takes depends on whether batch norm uses the batch's own statistics ("train"), and on
# whether it is a forward or a backward that ends at the pixels or goes to the weights too.
Pass = tuple[str, str]
MODES, FORWARD, BACKWARDS = ("eval", "train"), "forward", ("to pixels", "to weights")


def names() -> list[str]:
    """The configs measured, without their prefix; the reference is one of them and shows the noise."""
    configs = sorted(path.stem.removeprefix(PREFIX) for path in CONFIGS.glob(f"{PREFIX}*.py"))
    return [name for name in configs if name not in SAME]


def trainer(bench: Bench, name: str) -> Trainer:
    """Training steps of a config, in the last epoch of its schedules, with random frozen models of the same task."""
    loaded = load_config(CONFIGS / f"{PREFIX}{name}.py")
    config = Config(plain_dict(loaded), filename=loaded.filename)
    for entry in frozen_models(config):
        entry.clear()
        entry.update(task=config.task, state="random")
    learner = build_learner(config, seed=0).to(bench.device)
    settled(learner.task, images(bench, 32))
    learner.method.prepare(learner.task, bench.device)
    learner.epoch = config.train_cfg.max_epochs - 1
    return Trainer(learner)


def kinds_of_steps(method: Method) -> list[tuple[float, Callable[[], Any]]]:
    """(share of the steps, what makes the next step one of these) for each kind; LAS learns in some steps only."""
    las = next((part for part in method.modules() if isinstance(part, LAS)), None)
    if las is None:
        return [(1.0, lambda: None)]
    lesson = 1 / las.interval
    kinds: list[tuple[float, Callable[[], Any]]] = [
        (lesson, partial(las.taken.fill_, las.interval - 1)),
        (1 - lesson, las.taken.zero_),
    ]
    return [(share, prepare) for share, prepare in kinds if share]


def mean_step(step: Trainer, value: Callable[[], float]) -> float:
    """Mean of what ``value`` makes of one step, over the kinds of steps as often as they come."""
    total = 0.0
    for share, prepare in kinds_of_steps(step.learner.method):
        prepare()
        total += share * value()
    return total


# ------------------------------------------------------------------------------------------------ counting


@contextmanager
def tally(networks: tuple[type[nn.Module], ...]) -> Iterator[Counter[Pass]]:
    """Count images through all networks of some classes: (mode, kind) of each pass, those of companions included."""
    passes: Counter[Pass] = Counter()

    def forward(module: nn.Module, _: Any, output: Any) -> None:
        if not isinstance(module, networks):
            return
        logits: Tensor = output if isinstance(output, Tensor) else output["logits"]
        mode = "train" if any(m.training for m in module.modules() if isinstance(m, _BatchNorm)) else "eval"
        passes[mode, FORWARD] += len(logits)
        if logits.requires_grad:
            backward = BACKWARDS[any(parameter.requires_grad for parameter in module.parameters())]
            logits.register_hook(lambda grad: passes.update({(mode, backward): len(grad)}))

    handle = register_module_forward_hook(forward)
    try:
        yield passes
    finally:
        handle.remove()


def work(step: Trainer, batch: Batch, networks: tuple[type[nn.Module], ...]) -> dict[Pass, float]:
    """Passes of one image in a step, counted while steps run."""
    total: dict[Pass, float] = {}
    for share, prepare in kinds_of_steps(step.learner.method):
        prepare()
        with tally(networks) as passes:
            step(batch)
        for key, count in passes.items():
            total[key] = total.get(key, 0.0) + share * count / len(batch["index"])
    return total


def predicted_ratio(
    step: Mapping[Pass, float], reference: Mapping[Pass, float], seconds: Mapping[Pass, float]
) -> float:
    """What one step takes beside another, from the passes of both and the seconds of a pass of each kind."""
    numerator, denominator = (sum(n * seconds[key] for key, n in passes.items()) for passes in (step, reference))
    return numerator / denominator


# ------------------------------------------------------------------------------------------------ seconds of a pass


def run_pass(net: nn.Module, batch: Batch, mode: str, kind: str) -> None:
    """A forward of a bare network, and the backward (``kind``) that is asked for."""
    net.train(mode == "train").requires_grad_(kind == "to weights")
    x = batch["inputs"].detach().requires_grad_(kind == "to pixels")
    with torch.set_grad_enabled(kind != FORWARD):
        loss = F.cross_entropy(net(x), batch["data_samples"])
    if kind != FORWARD:
        torch.autograd.grad(loss, [x] if kind == "to pixels" else list(net.parameters()))


class PassTimes:
    """Seconds of the passes of a bare network on a batch, measured in rounds between other measurements."""

    def __init__(self, bench: Bench, task: Task, batch: Batch) -> None:
        self.net, self.batch, self.measure = Pixels(task), batch, watch(bench)
        self.rounds: dict[Pass, list[float]] = {}
        self.round()
        self.rounds.clear()  # that was the warm-up

    def round(self) -> None:
        """Measure each kind once; a backward alone is what it adds to its forward."""
        for mode in MODES:
            forward = self._seconds(mode, FORWARD)
            backwards = {kind: self._seconds(mode, kind) - forward for kind in BACKWARDS}
            for kind, seconds in ({FORWARD: forward} | backwards).items():
                self.rounds.setdefault((mode, kind), []).append(seconds)

    def _seconds(self, mode: str, kind: str) -> float:
        return self.measure(partial(run_pass, self.net, self.batch, mode, kind))[0]

    def medians(self) -> dict[Pass, float]:
        """Seconds of each kind."""
        return {key: statistics.median(values) for key, values in self.rounds.items()}


# ------------------------------------------------------------------------------------------------ the item


def row(
    name: str, paired: Paired, predicted: float, *, counts: Mapping[Pass, float], cost: Sequence[float]
) -> dict[str, Any]:
    """A method's line of the table."""
    ratio = paired.summary()
    forwards = sum(count for (_, kind), count in counts.items() if kind == FORWARD)
    return {
        "config": f"{PREFIX}{name}",
        "step, s": round(statistics.median(paired.a), 4),
        "/ PGD-AT": round(ratio["median"], 3),
        "min to max": f"{ratio['min']:.3f} to {ratio['max']:.3f}",
        "by counting": round(predicted, 3),
        "measured / counted": round(ratio["median"] / predicted, 3),
        "forwards + backwards": f"{forwards:.4g} + {sum(counts.values()) - forwards:.4g}",
        "announced": f"{cost[0]:.4g} + {cost[1]:.4g}",
    }


NOTES = {
    "counting": "the passes of one image in a step, those of companions included, are counted while the step runs; "
    "passes of a bare network are timed between the methods",
    "announced": "what the method says it costs, at most: FAT's and LAS's images stop early",
    "seconds": SECONDS,
    "noise": f"the row of {PREFIX}{REFERENCE} compares a training with itself",
}


@item(
    "methods",
    a="training step of the method that is farthest above its count (table below)",
    b="a PGD-AT step times the ratio that counting predicts",
    limit=1.15,
    predicted=1.0,
    setting=dict(model="resnet8_cifar, channels last"),
)
def methods(bench: Bench) -> Measured:
    batch, measure = images(bench), watch(bench)

    def seconds_of_step(step: Trainer) -> float:
        return mean_step(step, lambda: measure(partial(step, batch))[0])

    steps, base = {name: trainer(bench, name) for name in names()}, trainer(bench, REFERENCE)
    passes, networks = PassTimes(bench, base.learner.task, batch), (type(base.learner.task.net),)
    counts, pairs, costs = {}, {}, {}
    for name, step in steps.items():
        kinds = (*networks, type(step.learner.task.net))
        runs = partial(seconds_of_step, step), partial(seconds_of_step, base)
        pairs[name] = interleave(*runs, repeats=bench.repeats, measure=lambda run: (run(), None))
        counts[name], costs[name] = work(step, batch, kinds), step.learner.method.cost()
        passes.round()
    seconds = passes.medians()
    predicted = {name: predicted_ratio(counts[name], counts[REFERENCE], seconds) for name in pairs}
    rows = [row(name, pairs[name], predicted[name], counts=counts[name], cost=costs[name]) for name in pairs]
    worst = max(pairs, key=lambda name: pairs[name].summary()["median"] / predicted[name])
    paired = Paired(pairs[worst].a, [b * predicted[worst] for b in pairs[worst].b])
    unit = seconds["eval", FORWARD]
    details = {
        "farthest above its count": f"{PREFIX}{worst}",
        "passes, in forwards with fixed batch norm": {" ".join(key): s / unit for key, s in seconds.items()},
        **NOTES,
        "steps": rows,
    }
    return Measured(paired, details=details)
