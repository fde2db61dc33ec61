"""What tools/gpu_check.py looks at: every task on a device beside the CPU, and what training and judging take there."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from mmengine.config import Config

from natx.attacks import PGD, Attack, build_attack
from natx.batch import Batch, to_device
from natx.benchmark import NotRun, run_item, stopwatch
from natx.benchmark.training import Patterns, Trainer, settled, train_until
from natx.config import load_config, plain_dict
from natx.errors import UserError
from natx.evaluation.refill import judge_refilled
from natx.methods.base import Setting
from natx.runtime.precision import exact_float32
from natx.threat import Linf
from natx.training.build import build_learner
from natx.training.frozen_models import frozen_models
from natx.training.learner import Learner
from natx_bench import ITEMS, Bench
from natx_bench.cifar import EPS, images, n_fgsm, pgd10, trainer

Check = Callable[[], Iterable["Line"]]
CPU = torch.device("cpu")
TRAINED = 50_000  # images of an epoch
WHOLE, TINY = "resnet18_cifar", "resnet8_cifar"  # networks of the check and of --tiny
GOALS = {"N-FGSM": 5.0, "PGD-10": 12.0}  # seconds an epoch of ResNet-18 with NAT on an H200-class card
RATIOS = ("bf16_vs_fp32", "compiled_step", "compiled_step_bf16", "nat_step_vs_union", "single_vs_multi_step")
LOSS_TOLERANCE, PIXEL_TOLERANCE = 1e-3, 0.05  # relative; share of pixels whose step went the other way


@dataclass(frozen=True)
class Line:
    """A line of the table.

    Attributes:
        check: what was looked at.
        value: what was found.
        wanted: what was to be found; empty where nothing is.
        met: whether it was; None where it cannot be said.
    """

    check: str
    value: str
    wanted: str = ""
    met: bool | None = None


@dataclass(frozen=True)
class Subject:
    """A task with a training and an attack.

    Attributes:
        config: the training config.
        attack: judges one batch.
        images: makes a batch on the CPU.
    """

    config: str
    attack: dict[str, Any]
    images: Callable[[], Batch]


def subjects(bench: Bench, *, tiny: bool) -> dict[str, Subject]:
    """One subject a task; tiny ones are those of small networks."""
    host = replace(bench, device=CPU)
    classes = 10

    def pedestrians() -> Batch:
        generator = torch.Generator().manual_seed(0)
        inputs = torch.rand(8, 3, 96, 48, generator=generator)
        return {"inputs": inputs, "data_samples": torch.arange(8) // 2, "index": torch.arange(8)}

    def scenes() -> Batch:
        from natx_bench.det import scenes  # mmdet takes seconds and need not be installed

        return scenes(host, 2 if tiny else 16)

    step = {"type": "PGD", "threat": {"type": "Linf", "eps": EPS}, "steps": 2 if tiny else 10, "step_size": 2 / 255}
    network = "r8_cifar10_nat" if tiny else "r18_cifar10_fast_nat"
    return {
        "classification": Subject(
            f"configs/cls/{network}.py", step, partial(images, host, 4 if tiny else 12 * classes)
        ),
        "re-identification": Subject(
            "configs/reid/generated_amd_online_nat.py", {**step, "objective": {"type": "SMA"}}, pedestrians
        ),
        "detection": Subject("configs/det/ssd_digits_mtd_nat.py", {**step, "objective": {"type": "ImageLoss"}}, scenes),
    }


def learner_of(subject: Subject) -> Learner:
    """The subject's learner on the CPU, in float32, with random frozen models."""
    loaded = load_config(subject.config)
    config = Config({**plain_dict(loaded), "amp": None}, filename=loaded.filename)
    for entry in frozen_models(config):
        entry.clear()
        entry.update(task=config.task, state="random")
    learner = build_learner(config, seed=0)
    settled(learner.task, subject.images())
    return learner


@exact_float32()
def on_both(name: str, subject: Subject, device: torch.device) -> Iterator[Line]:
    """One training step and one judged batch on the device and on the CPU."""
    losses, pixels = [], []
    learner = learner_of(subject)
    for place in (CPU, device):
        here = copy.deepcopy(learner).to(place)
        here.method.prepare(here.task, place)
        here.method.begin(Setting(images=1000, epochs=2))
        batch = to_device(subject.images(), place)
        attack = build_attack(dict(subject.attack))
        pixels.append(attack.judge(here.task.eval(), batch, success="last").x_adv.cpu())
        torch.manual_seed(0)
        losses.append(float(Trainer(here)(batch)["loss"].detach()))
    apart = abs(losses[1] - losses[0]) / abs(losses[0])
    yield Line(
        f"{name}: loss of a training step, CPU / device",
        f"{losses[0]:.6g} / {losses[1]:.6g}",
        f"within {LOSS_TOLERANCE:g}",
        apart <= LOSS_TOLERANCE,
    )
    moved = float(((pixels[0] - pixels[1]).abs() > 1e-4).double().mean())
    yield Line(
        f"{name}: pixels of a judged batch that differ from the CPU's",
        f"{100 * moved:.2f} %",
        f"at most {100 * PIXEL_TOLERANCE:g} %",
        moved <= PIXEL_TOLERANCE,
    )


def ratio(name: str, bench: Bench, setting: dict[str, Any]) -> Iterator[Line]:
    """A ratio of the benchmark; its limits are those of the CPU and do not count here, but for the step's on a GPU."""
    item = ITEMS[name]
    result = run_item(item, bench, setting)
    check = f"{name}: {item.a} / {item.b}"
    if "not_run" in result:
        yield Line(check, f"not run: {result['not_run']}")
        return
    ratio, limit = result["ratio"], result["limit"]
    limited = name == "single_vs_multi_step"
    wanted = f"{result['bound']} {limit:g}" if limited else ""
    value = f"{ratio['median']:.3f} ({ratio['min']:.3f} to {ratio['max']:.3f})"
    yield Line(check, value, wanted, result["met"] if limited and times_count(bench) else None)


def times_count(bench: Bench) -> bool:
    """Whether a time is held against its goal: on a GPU and the network that the goal was set for.

    A tiny check times one step of a few milliseconds: what it finds is the noise of the machine.
    """
    return bench.model == WHOLE and bench.device.type == "cuda"


def epoch(kind: str, bench: Bench, *, steps: int) -> Iterator[Line]:
    """Seconds an epoch of NAT (bfloat16, channels_last) with an inner attack, from some steps on random images."""
    attack: Attack = n_fgsm() if kind == "N-FGSM" else pgd10()
    step, batch = trainer(bench, "NAT", attack=attack, bf16=True), images(bench)
    for _ in range(min(steps, 3)):
        step(batch)
    seconds, _ = stopwatch(bench.device)(lambda: [step(batch) for _ in range(steps)])
    whole = seconds / steps * (TRAINED // bench.batch_size)
    goal = GOALS[kind]
    yield Line(
        f"seconds an epoch of {bench.model}, NAT with {kind}, batches of {bench.batch_size}",
        f"{whole:.1f} s",
        f"at most {goal:g} s on an H200-class card",
        whole <= goal if times_count(bench) else None,
    )


def refill(bench: Bench, *, count: int, steps: int) -> Iterator[Line]:
    """What full batches save where images leave an attack: PGD by blocks of images over PGD on refilled batches."""
    data = Patterns(count)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        task = learner_of(Subject("configs/cls/r8_cifar10_pgd_at.py", {}, partial(images, bench, 8))).task
    task = task.to(bench.device)
    threat = Linf(EPS)
    origin = train_until(task, data, attack=PGD(threat, 3), judge=PGD(threat, 5), accuracy=30, most=steps)
    attack, size = PGD(threat, 20, step_size=2 / 255), bench.batch_size
    blocks = [list(range(count))[i : i + size] for i in range(0, count, size)]

    def load(block: list[int]) -> Batch:
        return to_device(data.__getitems__(block), bench.device)

    def block_by_block() -> list[Any]:
        return [attack.judge(task, load(block)) for block in blocks]

    paired = bench.timed(block_by_block, lambda: list(judge_refilled(attack, task, blocks, load=load, size=size)))
    gain = paired.summary()
    yield Line(
        f"judging {count} images with PGD-20 block by block, over refilled batches ({origin})",
        f"{gain['median']:.2f} ({gain['min']:.2f} to {gain['max']:.2f})",
    )


def checks(device: torch.device, *, tiny: bool, setting: dict[str, Any]) -> dict[str, Check]:
    """Everything that is looked at, by name and in order: each gives its lines when it is called."""
    bench = Bench(device, TINY if tiny else WHOLE, 4 if tiny else 128, 1 if tiny else 5, 8)
    count, steps = (8, 1) if tiny else (2048, 200)
    return {
        **{name: partial(on_both, name, one, device) for name, one in subjects(bench, tiny=tiny).items()},
        **{f"epochs with {kind}": partial(epoch, kind, bench, steps=1 if tiny else 30) for kind in GOALS},
        **{name: partial(ratio, name, bench, setting) for name in RATIOS if name in ITEMS},
        "refilled batches": partial(refill, bench, count=count, steps=steps),
    }


def _guarded(name: str, check: Check) -> Sequence[Line]:
    """What a check says, or why it could not run: one that fails does not take the others with it."""
    try:
        return [*check()]
    except (UserError, NotRun, ImportError) as reason:
        return [Line(name, f"not run: {' '.join(str(reason).split())}")]


def run_checks(device: torch.device, *, tiny: bool, seconds: float, setting: dict[str, Any]) -> list[dict[str, Any]]:
    """All lines as plain values; checks that would begin after so many seconds say that they did not.

    Args:
        device: what is checked.
        tiny: on small networks and few images, to see that the checks themselves work.
        seconds: time for all of it.
        setting: with ``machine``, see :func:`natx.benchmark.run_item`.
    """
    begun, lines = time.monotonic(), list[Line]()
    for name, check in checks(device, tiny=tiny, setting=setting).items():
        late = time.monotonic() - begun > seconds
        lines += [Line(name, "not run: the time was used up")] if late else _guarded(name, check)
    return [asdict(line) for line in lines]
