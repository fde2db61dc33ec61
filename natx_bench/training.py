"""Training steps of classification methods against each other."""

from __future__ import annotations

from functools import partial

from natx.benchmark import Measured, NotRun
from natx_bench.cifar import images, n_fgsm, trainer
from natx_bench.common import Bench, compare_steps, item

UNION = "the same without the nasty term (Adversarial on clean + PGD-10 images)"


@item("nat_step_vs_union", a="NAT training step, random adversary", b=UNION, limit=1.12)
def nat_step_vs_union(bench: Bench) -> Measured:
    return compare_steps(bench, trainer(bench, "NAT"), trainer(bench, "union"), images(bench))


@item(
    "single_vs_multi_step",
    a="NAT training step with N-FGSM",
    b="NAT training step with PGD-10",
    limit=0.40,
)
def single_vs_multi_step(bench: Bench) -> Measured:
    return compare_steps(bench, trainer(bench, "NAT", attack=n_fgsm()), trainer(bench, "NAT"), images(bench))


@item(
    "bf16_vs_fp32",
    a="NAT training step, fp32, NCHW",
    b="NAT training step, bf16 autocast, channels_last",
    limit=2.5,
    at_least=True,
    needs_amx=True,
)
def bf16_vs_fp32(bench: Bench) -> Measured:
    batch = images(bench)
    paired = bench.timed(partial(trainer(bench, "NAT"), batch), partial(trainer(bench, "NAT", bf16=True), batch))
    return Measured(paired, details={"note": "A / B is the speed-up; the limit is for CPUs with AMX"})


@item(
    "small_maps",
    a="NAT training step with N-FGSM, bf16 autocast, small maps side by side (as the program runs it on AMX)",
    b="the same, each image's by itself",
    limit=1.0,
    needs_amx=True,
    setting=dict(model="resnet18_cifar"),
)
def small_maps(bench: Bench) -> Measured:
    """A network whose last stage has maps of 4 x 4 and many channels."""
    if bench.device.type != "cpu":
        raise NotRun("needs --device cpu")
    a, b = (trainer(bench, "NAT", bf16=True, attack=n_fgsm(), model="resnet18_cifar") for _ in range(2))
    a.learner.small_maps, b.learner.small_maps = True, False
    return compare_steps(bench, a, b, images(bench))
