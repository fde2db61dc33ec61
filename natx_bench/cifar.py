"""CIFAR networks, images and training steps that the classification items share; all drawn from fixed seeds."""

from __future__ import annotations

from functools import partial

import torch

from natx.attacks import PGD, Attack
from natx.attacks.single_step import SingleStep
from natx.batch import Batch, to_device
from natx.benchmark.training import Trainer, recipe, settled
from natx.threat import Linf
from natx.training.learner import Learner
from natx_bench.common import Bench
from tasks.cls import ClassificationTask

EPS, STEP, STEPS = 8 / 255, 2 / 255, 10


def network(
    bench: Bench, *, model: str | None = None, seed: int = 0, channels_last: bool = False
) -> ClassificationTask:
    """A random network in eval mode whose batch-norm statistics are those of random images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        task = ClassificationTask(model or bench.model, 10, channels_last=channels_last).to(bench.device)
    settled(task, images(bench, 32))
    return task


def images(bench: Bench, count: int | None = None) -> Batch:
    """Random images in [0,1] with random labels."""
    generator, n = torch.Generator().manual_seed(0), count or bench.batch_size
    batch = {
        "inputs": torch.rand(n, 3, 32, 32, generator=generator),
        "data_samples": torch.randint(10, (n,), generator=generator),
        "index": torch.arange(n),
    }
    return to_device(batch, bench.device)


def pgd10() -> PGD:
    """The paper's inner attack."""
    return PGD(Linf(EPS), STEPS, step_size=STEP)


def n_fgsm() -> SingleStep:
    """The single-step inner attack of the fast configs (configs/_base_/methods/n_fgsm.py)."""
    return SingleStep(Linf(EPS), noise=2.0, step=1.0, clip=False)


def trainer(
    bench: Bench, kind: str, *, bf16: bool = False, model: str | None = None, attack: Attack | None = None
) -> Trainer:
    """Training steps of a recipe, with PGD-10 inside where no other attack is named."""
    build = partial(network, bench, model=model, channels_last=bf16)
    method = recipe(kind, attack=attack or pgd10(), adversary=partial(build, seed=1))
    learner = Learner(build(), method, amp="bfloat16" if bf16 else None).to(bench.device)
    method.prepare(learner.task, bench.device)
    return Trainer(learner)
