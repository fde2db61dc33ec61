"""Training steps of classification methods against each other."""

from __future__ import annotations

from functools import partial

from natx.benchmark import Measured
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
