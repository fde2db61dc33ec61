"""natx's PGD against a bare loop and the attacks of other libraries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from natx.batch import Batch
from natx.benchmark import Measured
from natx.benchmark.opponents import Pixels, bare_pgd, peer
from natx_bench.cifar import EPS, STEP, STEPS, images, network, pgd10
from natx_bench.common import Bench, item

NATX_PGD = "natx PGD-10, fp32"


def against_pgd(bench: Bench, make: Callable[[Bench, nn.Module, Batch], Callable[[], Any]]) -> Measured:
    """natx's PGD-10 against another on the same weights, images, eps, step size and steps."""
    task, batch, attack = network(bench), images(bench), pgd10()
    paired = bench.timed(lambda: attack(task, batch), make(bench, Pixels(task), batch))
    change = [(torch.as_tensor(x).to(bench.device) - batch["inputs"]).abs() * 255 for x in paired.outputs]
    details = {
        f"{s} moves pixels by (mean and most, 1/255)": [float(m.mean()), float(m.max())] for s, m in zip("AB", change)
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
