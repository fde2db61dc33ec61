#!/usr/bin/env python
"""Measure natx against bare loops and other libraries: python tools/benchmark.py [--only NAME ...] [--device cuda]

Every item is a ratio of two runs taken in turns on the same model and images. Results are added to --out (JSON) and
rendered beside it (.md). Run it on a machine that does nothing else. Peers: pip install natx[bench]
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from a checkout without installing

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from natx import cli  # noqa: E402
from natx.attacks import PGD  # noqa: E402
from natx.batch import Batch, to_device  # noqa: E402
from natx.benchmark import (  # noqa: E402
    Item,
    Measured,
    NotRun,
    Paired,
    add_result,
    describe,
    interleave,
    machine_facts,
    machine_line,
    read_results,
    resident_peak,
    run_item,
    stopwatch,
)
from natx.benchmark.opponents import (  # noqa: E402
    Pixels,
    SharedStart,
    agreement,
    bare_pgd,
    margin_pgd,
    peer,
    peer_columns,
    pixel_batches,
    torch_start,
)
from natx.benchmark.training import Patterns, recipe, train_until, training_step  # noqa: E402
from natx.checkpoint import load_weights  # noqa: E402
from natx.errors import ConfigError  # noqa: E402
from natx.evaluation import CLEAN, evaluate  # noqa: E402
from natx.learner import Learner  # noqa: E402
from natx.threat import Linf  # noqa: E402
from tasks.cls import ClassificationTask  # noqa: E402
from tasks.cls.datasets import CIFAR10  # noqa: E402
from tasks.reid.ranking import retrieve  # noqa: E402

EPS, STEP, STEPS = 8 / 255, 2 / 255, 10
MARKS, MARGIN_STEPS = (10, 20, 50, 100), 30
TRAIN_STEPS, TRAIN_ACCURACY = 300, 50.0  # at most; about what the paper's nets reach under PGD (Table 2)
EPOCH_BATCH, EPOCH_STEPS, EPOCH_WARM_UP = 512, 20, 3
# Market-1501's test set; the distance matrix and torchreid's Python loop over it take about a minute a repeat.
REID_QUERIES, REID_GALLERY, REID_IDENTITIES, REID_CAMERAS, REID_WIDTH, REID_REPEATS = 3368, 15913, 750, 6, 512, 3
# Table 9 of the paper, CIFAR-10, seconds an epoch on an RTX 4090.
PAPER_EPOCHS = {
    "resnet18_cifar": {"VT": 15.3, "PGD-AT": 108.6, "NAT": 129.8},
    "wrn_34_10": {"VT": 90.2, "PGD-AT": 1047.2, "NAT": 1165.8},
}
NATX_PGD = "natx PGD-10, fp32"
UNION = "the same without the nasty term (Adversarial on clean + PGD-10 images)"
COLUMNS = "natx: one evaluate() of clean, PGD-10/20/50/100, C&W-30"
EACH_COLUMN = "torchattacks: clean, PGD-10, -20, -50, -100, C&W-30 (its PGD on the margin) one by one, a forward each"

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

    def timed(self, a: Callable[[], Any], b: Callable[[], Any], **kwargs: Any) -> Paired:
        """Interleaved seconds of A and B."""
        return interleave(a, b, repeats=self.repeats, measure=stopwatch(self.device), **kwargs)

    @cached_property
    def trained(self) -> tuple[ClassificationTask, Any, str]:
        """An adversarially trained net, the images its columns are measured on, and what both are."""
        data, origin = column_images(self.images, train=self.checkpoint is None)
        task = self.task()
        if self.checkpoint:
            load_weights(task, Path(self.checkpoint))
            return task, data, f"{self.checkpoint}; {origin}"
        inner, judge = PGD(Linf(EPS), 3, step_size=4 / 255), PGD(Linf(EPS), STEPS, step_size=STEP)
        done = train_until(task, data, attack=inner, judge=judge, accuracy=TRAIN_ACCURACY, most=TRAIN_STEPS)
        return task, data, f"{done}, on the images measured: {origin}"


def against_pgd(bench: Bench, make: Callable[[Bench, nn.Module, Batch], Callable[[], Any]]) -> Measured:
    """natx's PGD-10 against another on the same weights, images, eps, step size and steps."""
    task, batch = bench.task(), bench.batch()
    attack = PGD(Linf(EPS), STEPS, step_size=STEP)
    paired = bench.timed(lambda: attack(task, batch), make(bench, Pixels(task), batch))
    moved = [(torch.as_tensor(x).to(bench.device) - batch["inputs"]).abs() * 255 for x in paired.outputs]
    details = {
        f"{s} moves pixels by (mean and most, 1/255)": [float(m.mean()), float(m.max())] for s, m in zip("AB", moved)
    }
    return Measured(paired, details=details)


@item("pgd10_vs_bare", a=NATX_PGD, b="bare PGD-10 loop, parameters without gradients", limit=1.05, predicted=1.0)
def pgd10_vs_bare(bench: Bench) -> Measured:
    def make(_: Bench, net: nn.Module, batch: Batch) -> Callable[[], Tensor]:
        net.requires_grad_(False)
        return lambda: bare_pgd(net, batch["inputs"], batch["data_samples"], eps=EPS, size=STEP, steps=STEPS)

    return against_pgd(bench, make)


@item("pgd10_vs_torchattacks", a=NATX_PGD, b="torchattacks.PGD, 10 steps", limit=1.03, predicted=1.0)
def pgd10_vs_torchattacks(bench: Bench) -> Measured:
    library = peer("torchattacks")

    def make(_: Bench, net: nn.Module, batch: Batch) -> Callable[[], Tensor]:
        attack = library.PGD(net, eps=EPS, alpha=STEP, steps=STEPS, random_start=True)
        return lambda: attack(batch["inputs"], batch["data_samples"])

    return against_pgd(bench, make)


@item("pgd10_vs_foolbox", a=NATX_PGD, b="foolbox LinfPGD.run (with weight gradients)", limit=1.03, predicted=20 / 30)
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
    b="ART ProjectedGradientDescentPyTorch.generate (with weight gradients, two forwards for a log line)",
    limit=1.03,
    predicted=20 / 32,
)
def pgd10_vs_art(bench: Bench) -> Measured:
    evasion, estimators = peer("art.attacks.evasion"), peer("art.estimators.classification")

    def make(bench: Bench, net: nn.Module, batch: Batch) -> Callable[[], Any]:
        kind = "gpu" if bench.device.type == "cuda" else "cpu"
        shape = dict(input_shape=(3, 32, 32), nb_classes=10, clip_values=(0, 1))
        wrapped = estimators.PyTorchClassifier(net, loss=nn.CrossEntropyLoss(), **shape, device_type=kind)
        settings = dict(eps=EPS, eps_step=STEP, max_iter=STEPS, num_random_init=1, batch_size=bench.batch_size)
        attack = evasion.ProjectedGradientDescentPyTorch(wrapped, **settings, verbose=False)
        x, y = batch["inputs"].cpu().numpy(), batch["data_samples"].cpu().numpy()
        return lambda: attack.generate(x, y)

    return against_pgd(bench, make)


def trainer(
    bench: Bench, kind: str, *, bf16: bool = False, model: str | None = None, batch: Batch | None = None
) -> Callable[[], Any]:
    """One training step of a recipe on a batch of random images."""
    build = partial(bench.task, model=model, channels_last=bf16)
    method = recipe(kind, attack=PGD(Linf(EPS), STEPS, step_size=STEP), adversary=partial(build, seed=1))
    learner = Learner(build(), method, amp="bfloat16" if bf16 else None).to(bench.device)
    method.prepare(learner.task, bench.device)
    # A small rate: many steps on one batch must not end in overflow.
    optimizer = torch.optim.SGD(learner.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4)
    return partial(training_step(learner, optimizer), bench.batch() if batch is None else batch)


@item("nat_step_vs_union", a="NAT training step, random adversary", b=UNION, limit=1.12, predicted=28 / 26)
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


def column_images(count: int, *, train: bool) -> tuple[Any, str]:
    if not Path("data/cifar-10-batches-py").exists():
        return Patterns(count), "synthetic images (no data/cifar-10-batches-py)"
    return CIFAR10(
        root="data", train=train, verify=False, limit=count
    ), f"CIFAR-10 {'training' if train else 'test'} images"


def columns(bench: Bench, success: str) -> Measured:
    library = peer("torchattacks")
    task, data, origin = bench.trained
    net, n = Pixels(task), len(data)
    batches = pixel_batches(task, data, bench.batch_size)
    ours = [
        SharedStart(Linf(EPS), MARKS[-1], step_size=STEP, milestones=MARKS),
        SharedStart(Linf(EPS), MARGIN_STEPS, step_size=STEP, objective=dict(type="Margin"), name="C&W"),
    ]
    for attack in ours:
        attack.starts = torch.cat([torch_start(batch, EPS) for batch in batches])
    theirs = {CLEAN: None} | {f"PGD-{k}": library.PGD(net, eps=EPS, alpha=STEP, steps=k) for k in MARKS}
    theirs["C&W"] = margin_pgd(library)(net, eps=EPS, alpha=STEP, steps=MARGIN_STEPS)
    paired = bench.timed(
        lambda: evaluate(task, data, ours, batch_size=bench.batch_size, success=success),
        lambda: peer_columns(theirs, net, batches),
        warm_up=(
            lambda: PGD(Linf(EPS), 1)(task, batches[0]),
            lambda: library.PGD(net, steps=1)(batches[0]["inputs"], batches[0]["data_samples"]),
        ),
    )
    found, other = paired.outputs
    spent = sum(result.cost.forwards + result.cost.backwards for result in found.attacks)
    counted = n * (len(theirs) + sum(2 * attack.steps for attack in theirs.values() if attack))
    details = {"images": n, "net": origin, "accuracy, same starts on both sides": agreement(found, other)}
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
    if kind == "reid":
        return Pedestrians.draw(bench.device).natx
    task, batch = bench.task(), bench.batch()
    task.train()
    attack = PGD(Linf(EPS), STEPS, step_size=STEP)
    return lambda: attack(task, batch)


def peak_memory(bench: Bench, kind: str) -> float:
    """MB that a run needs above the model and the batch, on this process's device."""
    if bench.device.type == "cpu":
        memory_work(Bench(bench.device, "resnet8_cifar", 2, 1, 1), kind)()  # loads libraries and code
        return resident_peak(memory_work(bench, kind))
    work = memory_work(bench, kind)
    torch.cuda.reset_peak_memory_stats(bench.device)
    before = torch.cuda.memory_allocated(bench.device)
    work()
    return (torch.cuda.max_memory_allocated(bench.device) - before) / 1e6


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
        repeats=bench.repeats,
        measure=lambda run: (run(), None),
        warm_up=(),
    )
    gpu, cpu = "torch.cuda.max_memory_allocated", "VmHWM - VmRSS of /proc/self/status, peak reset by clear_refs"
    return Measured(paired, details={"method": f"fresh process a run; {gpu if bench.device.type == 'cuda' else cpu}"})


@dataclass(frozen=True)
class Pedestrians:
    """Features of Market-1501's size: of each identity around its own random point, so that some are found."""

    features: tuple[Tensor, Tensor]
    labels: dict[str, Tensor]

    @classmethod
    def draw(cls, device: torch.device, *, queries: int = REID_QUERIES, gallery: int = REID_GALLERY) -> "Pedestrians":
        """The same features and labels every time; identity 0 is a distractor."""
        generator = torch.Generator().manual_seed(0)
        centres = torch.randn(REID_IDENTITIES + 1, REID_WIDTH, generator=generator)
        features, labels = [], {}
        for side, count, lowest in (("query", queries, 1), ("gallery", gallery, 0)):
            ids = torch.randint(lowest, REID_IDENTITIES + 1, (count,), generator=generator)
            features.append((centres[ids] + 3 * torch.randn(count, REID_WIDTH, generator=generator)).to(device))
            labels[f"{side}_ids"] = ids
            labels[f"{side}_cameras"] = torch.randint(REID_CAMERAS, (count,), generator=generator)
        return cls((features[0], features[1]), labels)

    def natx(self) -> dict[str, float]:
        return retrieve(*self.features, **self.labels).values()

    def torchreid(self, library: Any) -> dict[str, float]:
        """mAP and Rank-k as torchreid's engine computes them where its Cython extension is not built."""
        names = ("query_ids", "gallery_ids", "query_cameras", "gallery_cameras")
        distances = library.compute_distance_matrix(*self.features, "cosine").cpu().numpy()
        cmc, mean = library.evaluate_rank(distances, *(self.labels[n].numpy() for n in names), use_cython=False)
        return {"mAP": 100 * float(mean)} | {f"Rank-{k}": 100 * float(cmc[k - 1]) for k in (1, 5, 10)}


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
        repeats=min(bench.repeats, REID_REPEATS),
        measure=stopwatch(bench.device),
        warm_up=(people.natx, partial(few.torchreid, library)),
    )
    ours, theirs = paired.outputs
    details = {
        "setting": f"{REID_QUERIES} queries, {REID_GALLERY} gallery images, {REID_IDENTITIES} identities, "
        f"{REID_CAMERAS} cameras, {REID_WIDTH} random features an image, cosine distance; no network takes part",
        "torchreid": version("torchreid"),
        "values": [{"": key, "natx %": ours[key], "torchreid %": theirs[key]} for key in ours],
        "largest difference, %": max(abs(ours[key] - theirs[key]) for key in ours),
        "peak memory of A above the features, MB": memory_in_fresh_process(bench, "reid"),
        "all distances at once would take, MB": REID_QUERIES * REID_GALLERY * 4 / 1e6,
    }
    return Measured(paired, details=details)


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
                    seconds = sum(stopwatch(bench.device)(step)[0] for _ in range(steps))
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
    note = (
        f"{EPOCH_STEPS} steps of {EPOCH_BATCH} random images after {EPOCH_WARM_UP}, no data loading; bf16 channels_last"
    )
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
    print(machine_line(facts), flush=True)
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


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=list(ITEMS), help=f"of: {', '.join(ITEMS)}")
    parser.add_argument("--model", default="resnet18_cifar", help="a CIFAR network (default: resnet18_cifar)")
    parser.add_argument("--batch-size", type=int, default=64, help="images a step (default: 64)")
    parser.add_argument("--repeats", type=int, default=7, help="pairs an item (default: 7)")
    parser.add_argument("--images", type=int, default=128, help="images of the columns items (default: 128)")
    parser.add_argument("--checkpoint", help="adversarially trained weights of --model for the columns items")
    parser.add_argument("--out", help="JSON file to add to (default: results/benchmark_<device>.json)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument("--threads", type=int, help="CPU threads of torch (default: torch's own choice)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument("--memory-worker", choices=["attack", "train", "reid"], help=argparse.SUPPRESS)
    parser.set_defaults(launcher="none")
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main, debug="--debug" in sys.argv)
