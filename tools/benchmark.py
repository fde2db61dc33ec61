#!/usr/bin/env python
"""Measure natx against bare loops and other libraries: python tools/benchmark.py [--only NAME ...] [--device cuda]

Every item is a ratio of two runs taken in turns on the same model and images. Results are added to --out (JSON) and
rendered beside it (.md). Run it on a machine that does nothing else. Peers: pip install natx[bench]
"""

import argparse
import copy
import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from a checkout without installing

import torch  # noqa: E402
from mmengine.optim import OptimWrapper  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from natx import cli  # noqa: E402
from natx.adversary import Adversary  # noqa: E402
from natx.attacks import PGD, Victim  # noqa: E402
from natx.batch import Batch, to_device  # noqa: E402
from natx.benchmark import (  # noqa: E402
    Item,
    Measured,
    NotRun,
    Paired,
    add_result,
    interleave,
    machine_facts,
    read_results,
    run_item,
    stopwatch,
)
from natx.checkpoint import load_weights  # noqa: E402
from natx.errors import ConfigError  # noqa: E402
from natx.evaluation import CLEAN, evaluate  # noqa: E402
from natx.learner import Learner  # noqa: E402
from natx.methods import Adversarial, Standard  # noqa: E402
from natx.objectives import margin  # noqa: E402
from natx.task import Task  # noqa: E402
from natx.terms import NastyKL, TaskLoss  # noqa: E402
from natx.threat import Linf  # noqa: E402
from tasks.cls import ClassificationTask  # noqa: E402
from tasks.cls.datasets import CIFAR10  # noqa: E402

EPS, STEP, STEPS = 8 / 255, 2 / 255, 10
MARKS, MARGIN_STEPS = (10, 20, 50, 100), 30
COLUMN_REPEATS, MEMORY_REPEATS = 3, 3  # at most: a column run takes minutes, a memory peak hardly varies
TRAIN_IMAGES, TRAIN_STEPS = 256, 100  # the net whose columns are timed
EPOCH_BATCH, EPOCH_STEPS, EPOCH_WARM_UP = 512, 20, 3
# Table 9 of the paper, CIFAR-10, seconds an epoch on an RTX 4090.
PAPER_EPOCHS = {
    "resnet18_cifar": {"VT": 15.3, "PGD-AT": 108.6, "NAT": 129.8},
    "wrn_34_10": {"VT": 90.2, "PGD-AT": 1047.2, "NAT": 1165.8},
}
NATX_PGD, UNION = "natx PGD-10, fp32", "adversarial training on clean + PGD-10 images"
COLUMNS = "natx: one evaluate() of clean, PGD-10/20/50/100, C&W-30"
EACH_COLUMN = "torchattacks: clean, PGD-10, -20, -50, -100, C&W-30 one by one (PGD with the margin as loss), a forward each"

ITEMS: dict[str, Item] = {}


def item(name: str, **settings: Any) -> Callable[[Callable[["Bench"], Measured]], Callable[["Bench"], Measured]]:
    def register(function: Callable[["Bench"], Measured]) -> Callable[["Bench"], Measured]:
        ITEMS[name] = Item(name=name, run=function, **settings)
        return function

    return register


@dataclass
class Bench:
    """The models and images that items share; everything is drawn from fixed seeds."""

    device: torch.device
    model: str
    batch_size: int
    repeats: int
    images: int
    checkpoint: str | None = None

    def task(self, *, model: str | None = None, seed: int = 0, channels_last: bool = False) -> ClassificationTask:
        """A random network in eval mode whose batch-norm statistics are those of random images."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            task = ClassificationTask(model or self.model, 10, channels_last=channels_last).to(self.device)
        norms = [m for m in task.modules() if isinstance(m, nn.BatchNorm2d)]
        kept = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = 1.0
        with torch.no_grad():
            task.train().logits(task.pixels(self.batch(32)))
        for norm, momentum in zip(norms, kept):
            norm.momentum = momentum
        return task.eval()

    def batch(self, count: int | None = None) -> Batch:
        """Random images in [0,1] with random labels."""
        generator, n = torch.Generator().manual_seed(0), count or self.batch_size
        batch = {
            "inputs": torch.rand(n, 3, 32, 32, generator=generator),
            "data_samples": torch.randint(10, (n,), generator=generator),
            "index": torch.arange(n),
        }
        return to_device(batch, self.device)

    def timed(self, a: Callable[[], Any], b: Callable[[], Any], *, most: int | None = None, **kwargs: Any) -> Paired:
        """Interleaved seconds of A and B, at most ``most`` repeats."""
        repeats = min(self.repeats, most or self.repeats)
        return interleave(a, b, repeats=repeats, measure=stopwatch(self.device), **kwargs)

    @cached_property
    def trained(self) -> tuple[ClassificationTask, Any, str]:
        """An adversarially trained net, the images its columns are measured on, and what both are."""
        data, origin = column_images(max(self.images, TRAIN_IMAGES))
        task = self.task()
        if self.checkpoint:
            load_weights(task, Path(self.checkpoint))
            return task, Part(data, self.images), f"{self.checkpoint}; {origin}"
        attack = PGD(Linf(EPS), 3, step_size=4 / 255)
        learner = Learner(task, Adversarial(attack)).to(self.device)
        optimizer = torch.optim.SGD(learner.parameters(), lr=0.05, momentum=0.9, nesterov=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.05, total_steps=TRAIN_STEPS)
        step, generator = training_step(learner, optimizer), torch.Generator().manual_seed(0)
        for learner.epoch in range(TRAIN_STEPS):
            positions = torch.randperm(len(data), generator=generator)[:64].tolist()
            step(to_device(data.__getitems__(positions), self.device))
            schedule.step()
        note = f"trained here, {TRAIN_STEPS} steps of 64 with PGD-3, on {len(data)} images that include those measured"
        return task.eval(), Part(data, self.images), f"{note}; {origin}"


class Pixels(nn.Module):
    """A module from pixels in [0,1] to logits, as other libraries want one; its weights are a copy."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = copy.deepcopy(task)

    def forward(self, x: Tensor) -> Tensor:
        return self.task.logits(x)


def peer(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise NotRun(f"{name.partition('.')[0]} is not installed ({error}): pip install natx[bench]") from error


def bare_pgd(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The least code that is still PGD; the parameters of ``net`` ask for no gradient."""
    low, high = (x - EPS).clamp_(min=0), (x + EPS).clamp_(max=1)
    x_adv = torch.empty_like(x).uniform_(-EPS, EPS).add_(x).clamp_(0, 1)
    for _ in range(STEPS):
        x_adv.requires_grad_()
        (grad,) = torch.autograd.grad(F.cross_entropy(net(x_adv), y, reduction="sum"), x_adv)
        x_adv = x_adv.detach().add_(grad.sign_(), alpha=STEP).clamp_(low, high)
    return x_adv


def against_pgd(bench: Bench, make: Callable[[Bench, nn.Module, Batch], Callable[[], Any]]) -> Measured:
    """natx's PGD-10 against another on the same weights, images, eps, step size and steps."""
    task, batch = bench.task(), bench.batch()
    attack = PGD(Linf(EPS), STEPS, step_size=STEP)
    paired = bench.timed(lambda: attack(task, batch), make(bench, Pixels(task), batch))
    moved = [(torch.as_tensor(x).to(bench.device) - batch["inputs"]).abs() * 255 for x in paired.outputs]
    names = ("A", "B")
    details = {f"pixels moved by {s}, 1/255": {"mean": float(m.mean()), "most": float(m.max())} for s, m in zip(names, moved)}
    return Measured(paired, details=details)


@item("pgd10_vs_bare", a=NATX_PGD, b="bare PGD-10 loop, parameters without gradients", limit=1.05, predicted=1.0)
def pgd10_vs_bare(bench: Bench) -> Measured:
    def make(_: Bench, net: nn.Module, batch: Batch) -> Callable[[], Tensor]:
        net.requires_grad_(False)
        return lambda: bare_pgd(net, batch["inputs"], batch["data_samples"])

    return against_pgd(bench, make)


@item("pgd10_vs_torchattacks", a=NATX_PGD, b="torchattacks.PGD, 10 steps", limit=1.03, predicted=1.0)
def pgd10_vs_torchattacks(bench: Bench) -> Measured:
    library = peer("torchattacks")

    def make(_: Bench, net: nn.Module, batch: Batch) -> Callable[[], Tensor]:
        attack = library.PGD(net, eps=EPS, alpha=STEP, steps=STEPS, random_start=True)
        return lambda: attack(batch["inputs"], batch["data_samples"])

    return against_pgd(bench, make)


@item("pgd10_vs_foolbox", a=NATX_PGD, b="foolbox LinfPGD.run (also computes weight gradients)", limit=1.03, predicted=20 / 30)
def pgd10_vs_foolbox(bench: Bench) -> Measured:
    library = peer("foolbox")

    def make(bench: Bench, net: nn.Module, batch: Batch) -> Callable[[], Tensor]:
        wrapped = library.PyTorchModel(net, bounds=(0, 1), device=bench.device)
        attack = library.attacks.LinfPGD(abs_stepsize=STEP, steps=STEPS, random_start=True)
        return lambda: attack.run(wrapped, batch["inputs"], batch["data_samples"], epsilon=EPS)

    return against_pgd(bench, make)


@item(
    "pgd10_vs_art",
    a=NATX_PGD,
    b="ART ProjectedGradientDescentPyTorch.generate (also weight gradients and two forwards for a log line)",
    limit=1.03,
    predicted=20 / 32,
)
def pgd10_vs_art(bench: Bench) -> Measured:
    evasion, estimators = peer("art.attacks.evasion"), peer("art.estimators.classification")

    def make(bench: Bench, net: nn.Module, batch: Batch) -> Callable[[], Any]:
        kind = "gpu" if bench.device.type == "cuda" else "cpu"
        wrapped = estimators.PyTorchClassifier(
            net, loss=nn.CrossEntropyLoss(), input_shape=(3, 32, 32), nb_classes=10, clip_values=(0, 1), device_type=kind
        )
        settings = dict(eps=EPS, eps_step=STEP, max_iter=STEPS, num_random_init=1)
        attack = evasion.ProjectedGradientDescentPyTorch(
            wrapped, **settings, batch_size=bench.batch_size, verbose=False
        )
        x, y = batch["inputs"].cpu().numpy(), batch["data_samples"].cpu().numpy()
        return lambda: attack.generate(x, y)

    return against_pgd(bench, make)


def training_step(learner: Learner, optimizer: torch.optim.Optimizer) -> Callable[[Batch], dict[str, Tensor]]:
    """What mmengine's runner does with one batch: forward(mode='loss'), backward, optimiser step."""
    learner.train()
    return partial(learner.train_step, optim_wrapper=OptimWrapper(optimizer))


def trainer(
    bench: Bench, kind: str, *, bf16: bool = False, model: str | None = None, batch: Batch | None = None
) -> Callable[[], Any]:
    """One training step of VT, PGD-AT, union or NAT on a batch of random images."""
    task = bench.task(model=model, channels_last=bf16)
    terms: list[Any] = [TaskLoss()]
    if kind == "NAT":
        terms.append(NastyKL(Adversary([bench.task(model=model, seed=1, channels_last=bf16)])))
    attack = PGD(Linf(EPS), STEPS, step_size=STEP)
    views = ("adv",) if kind == "PGD-AT" else ("clean", "adv")
    method = Standard(terms) if kind == "VT" else Adversarial(attack, views, terms=terms)
    learner = Learner(task, method, amp="bfloat16" if bf16 else None).to(bench.device)
    learner.method.prepare(task, bench.device)
    # A small rate: many steps on one batch must not end in overflow.
    optimizer = torch.optim.SGD(learner.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4)
    return partial(training_step(learner, optimizer), bench.batch() if batch is None else batch)


@item("nat_step_vs_union", a="NAT training step (PGD-10, random-weight adversary)", b=UNION, limit=1.12, predicted=28 / 26)
def nat_step_vs_union(bench: Bench) -> Measured:
    return Measured(bench.timed(trainer(bench, "NAT"), trainer(bench, "union")))


@item(
    "bf16_vs_fp32",
    a="NAT training step, fp32, NCHW",
    b="NAT training step, bf16 autocast, channels_last",
    limit=2.5,
    at_least=True,
    needs_amx=True,
)
def bf16_vs_fp32(bench: Bench) -> Measured:
    paired = bench.timed(trainer(bench, "NAT"), trainer(bench, "NAT", bf16=True))
    return Measured(paired, details={"note": "A / B is the speed-up; the limit is for CPUs with AMX"})


class Blobs:
    """Stands in for CIFAR-10: ten colour patterns of varying contrast under noise, so that some images break."""

    def __init__(self, count: int) -> None:
        generator = torch.Generator().manual_seed(0)
        patterns = F.interpolate(torch.randn(10, 3, 4, 4, generator=generator).sign(), size=(32, 32))
        self.labels = torch.arange(count) % 10
        contrast = 0.1 * torch.rand(count, 1, 1, 1, generator=generator)
        noise = 0.1 * torch.randn(count, 3, 32, 32, generator=generator)
        self.images = (0.5 + contrast * patterns[self.labels] + noise).clamp_(0, 1)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, positions: list[int]) -> Batch:
        index = torch.tensor(positions)
        return {"inputs": self.images[index], "data_samples": self.labels[index], "index": index}


@dataclass
class Part:
    """The first images of a data set."""

    whole: Any
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitems__(self, positions: list[int]) -> Batch:
        return self.whole.__getitems__(positions)


def column_images(count: int) -> tuple[Any, str]:
    if Path("data/cifar-10-batches-py").exists():
        return CIFAR10(root="data", verify=False, limit=count), "CIFAR-10 training images"
    return Blobs(count), "synthetic images (no data/cifar-10-batches-py)"


def torch_start(x: Tensor, index: Tensor) -> Tensor:
    """The start that torchattacks.PGD draws for a batch after ``torch.manual_seed(<first index>)``."""
    torch.manual_seed(int(index[0]))
    return (x + torch.empty_like(x).uniform_(-EPS, EPS)).clamp_(0, 1)


class SharedStart(PGD):
    """natx's PGD from torchattacks' starts ``[N, 3, 32, 32]``; its own draw is made and dropped, so that it is timed."""

    starts: Tensor

    def _start(self, victim: Victim, *, epoch: int, restart: int) -> Tensor:
        super()._start(victim, epoch=epoch, restart=restart)
        return self.starts[victim.batch["index"]]


def margin_pgd(library: ModuleType) -> type:
    """torchattacks.PGD with the Carlini-Wagner margin put in for the cross-entropy, else the same loop."""

    class MarginPGD(library.PGD):
        def forward(self, images: Tensor, labels: Tensor) -> Tensor:
            x_adv = images + torch.empty_like(images).uniform_(-self.eps, self.eps)
            x_adv = x_adv.clamp(0, 1).detach()
            for _ in range(self.steps):
                x_adv.requires_grad = True
                (grad,) = torch.autograd.grad(margin(self.get_logits(x_adv), labels).mean(), x_adv)
                x_adv = x_adv.detach() + self.alpha * grad.sign()
                x_adv = (images + (x_adv - images).clamp(-self.eps, self.eps)).clamp(0, 1).detach()
            return x_adv

    return MarginPGD


def peer_columns(attacks: dict[str, Any], net: nn.Module, batches: list[Batch]) -> dict[str, Tensor]:
    """Which images are right under each of torchattacks' attacks, run one after another."""
    correct: dict[str, Tensor] = {}
    for name, attack in {CLEAN: None, **attacks}.items():
        parts = []
        for batch in batches:
            x, y = batch["inputs"], batch["data_samples"]
            if attack is not None:
                torch.manual_seed(int(batch["index"][0]))  # torch_start's draw
                x = attack(x, y)
            with torch.no_grad():
                parts.append((net(x).argmax(1) == y).cpu())
        correct[name] = torch.cat(parts)
    return correct


def columns(bench: Bench, success: str) -> Measured:
    library = peer("torchattacks")
    task, data, origin = bench.trained
    net, n = Pixels(task), len(data)
    blocks = [list(range(n))[i : i + bench.batch_size] for i in range(0, n, bench.batch_size)]
    batches = [to_device(data.__getitems__(block), bench.device) for block in blocks]
    batches = [{**batch, "inputs": task.pixels(batch)} for batch in batches]
    ours = [
        SharedStart(Linf(EPS), MARKS[-1], step_size=STEP, milestones=MARKS),
        SharedStart(Linf(EPS), MARGIN_STEPS, step_size=STEP, objective=dict(type="Margin"), name="C&W"),
    ]
    for attack in ours:
        attack.starts = torch.cat([torch_start(batch["inputs"], batch["index"]) for batch in batches])
    theirs = {f"PGD-{k}": library.PGD(net, eps=EPS, alpha=STEP, steps=k) for k in MARKS}
    theirs["C&W"] = margin_pgd(library)(net, eps=EPS, alpha=STEP, steps=MARGIN_STEPS)
    paired = bench.timed(
        lambda: evaluate(task, data, ours, batch_size=bench.batch_size, success=success),
        lambda: peer_columns(theirs, net, batches),
        most=COLUMN_REPEATS,
        warm_up=(
            lambda: PGD(Linf(EPS), 1)(task, batches[0]),
            lambda: library.PGD(net, steps=1)(batches[0]["inputs"], batches[0]["data_samples"]),
        ),
    )
    found, other = paired.outputs
    spent = sum(result.cost.forwards + result.cost.backwards for result in found.attacks)
    counted = n * (1 + sum(2 * attack.steps + 1 for attack in theirs.values()))
    rows = []
    for name, right in found.correct.items():
        row = {"column": name, "natx %": found.accuracy(name), "torchattacks %": 100 * float(other[name].double().mean())}
        rows.append({**row, "same outcome": float((right == other[name]).double().mean())})
    details = {"images": n, "net and images": origin, "accuracy (same starts on both sides)": rows}
    return Measured(paired, predicted=spent / counted, details=details)


@item("columns_any", a=f"{COLUMNS}, success='any'", b=EACH_COLUMN, limit=0.5)
def columns_any(bench: Bench) -> Measured:
    return columns(bench, "any")


@item("columns_last", a=f"{COLUMNS}, success='last'", b=EACH_COLUMN, limit=0.65)
def columns_last(bench: Bench) -> Measured:
    return columns(bench, "last")


def memory_work(bench: Bench, kind: str) -> Callable[[], Any]:
    if kind == "train":
        return trainer(bench, "VT")
    task, batch = bench.task(), bench.batch()
    task.train()
    attack = PGD(Linf(EPS), STEPS, step_size=STEP)
    return lambda: attack(task, batch)


def peak_memory(bench: Bench, kind: str) -> float:
    """MB that a run needs above the model and the batch, on this process's device."""
    if bench.device.type == "cuda":
        work = memory_work(bench, kind)
        torch.cuda.reset_peak_memory_stats(bench.device)
        before = torch.cuda.memory_allocated(bench.device)
        work()
        return (torch.cuda.max_memory_allocated(bench.device) - before) / 1e6

    def status(key: str) -> float:
        return int(re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024 / 1e6

    memory_work(Bench(bench.device, "resnet8_cifar", 2, 1, 1), kind)()  # loads libraries and code
    work = memory_work(bench, kind)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from what is resident now
    before = status("VmRSS")
    work()
    return status("VmHWM") - before


def memory_in_fresh_process(bench: Bench, kind: str) -> float:
    # Every larger block comes from and goes back to the system at once, so the resident peak is what lives.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    command = [sys.executable, __file__, "--memory-worker", kind, "--model", bench.model]
    command += ["--batch-size", str(bench.batch_size), "--device", str(bench.device)]
    command += ["--threads", str(torch.get_num_threads())]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the memory measurement failed: {' '.join(command)}\n{done.stderr}")
    return float(json.loads(done.stdout.splitlines()[-1])["MB"])


@item(
    "attack_memory",
    a="peak memory of PGD-10 above model and batch",
    b="peak memory of a plain training step (VT, SGD with momentum) above model and batch",
    limit=1.0,
    unit="MB",
)
def attack_memory(bench: Bench) -> Measured:
    if bench.device.type == "cpu" and not Path("/proc/self/clear_refs").exists():
        raise NotRun("needs Linux: the peak is read from /proc/self/status")
    paired = interleave(
        partial(memory_in_fresh_process, bench, "attack"),
        partial(memory_in_fresh_process, bench, "train"),
        repeats=min(bench.repeats, MEMORY_REPEATS),
        measure=lambda run: (run(), None),
        warm_up=(),
    )
    gpu, cpu = "torch.cuda.max_memory_allocated", "VmHWM - VmRSS of /proc/self/status, peak reset by clear_refs"
    return Measured(paired, details={"method": f"fresh process a run; {gpu if bench.device.type == 'cuda' else cpu}"})


def epoch_rows(bench: Bench, *, models: dict[str, dict[str, float]], batch: Batch, steps: int) -> list[dict[str, Any]]:
    """Seconds an epoch of 50,000 images (whole batches) from the mean time of ``steps`` steps."""
    rows = []
    for model, paper in models.items():
        for kind, reported in paper.items():
            row: dict[str, Any] = {"model": model, "training": kind, "paper (RTX 4090), s": reported}
            for precision in ("fp32", "bf16"):
                try:
                    step = trainer(bench, kind, bf16=precision == "bf16", model=model, batch=batch)
                    for _ in range(EPOCH_WARM_UP):
                        step()
                    seconds, _ = stopwatch(bench.device)(lambda: [step() for _ in range(steps)])
                    row[f"{precision}, s"] = seconds / steps * (50_000 // len(batch["index"]))
                except torch.cuda.OutOfMemoryError:
                    row[f"{precision}, s"] = "out of memory"
            rows.append(row)
    return rows


@item("epoch_times", a="seconds an epoch here", b="Table 9 of the paper")
def epoch_times(bench: Bench) -> Measured:
    if bench.device.type != "cuda":
        raise NotRun("epoch times need a GPU: --device cuda")
    rows = epoch_rows(bench, models=PAPER_EPOCHS, batch=bench.batch(EPOCH_BATCH), steps=EPOCH_STEPS)
    note = f"{EPOCH_STEPS} steps of {EPOCH_BATCH} random images after {EPOCH_WARM_UP}, no data loading; bf16 is channels_last"
    return Measured(None, details={"method": note, "epochs": rows})


def main() -> None:
    arguments = parse_arguments()
    for name in ("batch_size", "repeats", "images"):
        if getattr(arguments, name) < 1:
            raise ConfigError(f"--{name.replace('_', '-')} must be at least 1; got {getattr(arguments, name)}")
    device = cli.set_up(arguments)
    names = ("model", "batch_size", "repeats", "images", "checkpoint")
    bench = Bench(device, **{name: getattr(arguments, name) for name in names})
    if arguments.memory_worker:
        print(json.dumps({"MB": peak_memory(bench, arguments.memory_worker)}))
        return
    out = Path(arguments.out or f"results/benchmark_{device.type}.json")
    read_results(out)  # a bad --out fails now, not after the first item
    facts = machine_facts(device)
    print(f"{facts['device']}: {facts['cpu']}, {facts['threads']} torch threads, {facts['capability']} kernels, ", end="")
    print(f"oneDNN {facts['onednn']}, AMX {facts['amx']}, avx512_bf16 {facts['avx512_bf16']}", flush=True)
    command = shlex.join(["python", "tools/benchmark.py", *sys.argv[1:]])
    setting = dict(
        model=bench.model, batch_size=bench.batch_size, threads=facts["threads"], device=str(device), command=command
    )
    for name in [n for n in ITEMS if not arguments.only or n in arguments.only]:
        print(f"{name} ...", flush=True)
        result = run_item(ITEMS[name], bench, {**setting, "machine": facts})
        add_result(out, result, order=list(ITEMS))
        print(f"  {describe(result)}", flush=True)
    print(f"done: {out} and {out.with_suffix('.md')}")


def describe(result: dict[str, Any]) -> str:
    if "not_run" in result:
        return f"not run: {result['not_run']}"
    if "ratio" not in result:
        return f"took {result['seconds']:.0f} s"
    ratio, limit = result["ratio"], result["limit"]
    verdict = {True: "met", False: "NOT met", None: "does not apply here"}[result["met"]]
    spread = f"{ratio['median']:.3f} ({ratio['min']:.3f} to {ratio['max']:.3f})"
    return f"{spread}, limit {result['bound']} {limit:g}: {verdict}; took {result['seconds']:.0f} s"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=list(ITEMS), help=f"of: {', '.join(ITEMS)}")
    parser.add_argument("--model", default="resnet18_cifar", help="a CIFAR network (default: resnet18_cifar)")
    parser.add_argument("--batch-size", type=int, default=64, help="images a step (default: 64)")
    parser.add_argument("--repeats", type=int, default=7, help="pairs an item (default: 7; 3 at most where one is long)")
    parser.add_argument("--images", type=int, default=128, help="images of the columns items (default: 128)")
    parser.add_argument("--checkpoint", help="adversarially trained weights of --model for the columns items")
    parser.add_argument("--out", help="JSON file to add to (default: results/benchmark_<device>.json)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument("--threads", type=int, help="CPU threads of torch (default: torch's own choice)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument("--memory-worker", choices=["attack", "train"], help=argparse.SUPPRESS)
    parser.set_defaults(launcher="none")
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main, debug="--debug" in sys.argv)
