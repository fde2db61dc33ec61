"""attack_mode: the state a model has while it is attacked, restored on any exit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

BNMode = Literal["eval", "train"]


@contextmanager
def attack_mode(module: nn.Module, bn_mode: BNMode = "eval") -> Iterator[None]:
    """Put a model into the mode for an attack and restore it on exit, exceptions included.

    Every module goes to eval (dropout and drop-path off) and every parameter stops asking for gradients, so that an
    attack costs no weight gradients. With ``bn_mode='train'`` batch-norm layers normalise with the batch's own
    statistics, as in robust_overfitting's ``train_cifar.py``; unlike there, their running statistics are put back
    afterwards, so the attack leaves no trace. Modes are kept per module: a layer frozen in eval inside a training
    model is still frozen afterwards.
    """
    if bn_mode not in ("eval", "train"):
        raise ValueError(f"bn_mode is 'eval' or 'train'; got {bn_mode!r}")
    modes = [(m, m.training) for m in module.modules()]
    flags = [(p, p.requires_grad) for p in module.parameters()]
    buffers = []
    try:
        module.eval()
        if bn_mode == "train":
            norms = [m for m, _ in modes if isinstance(m, _BatchNorm)]
            buffers = [(b, b.clone()) for m in norms for b in m.buffers(recurse=False)]
            for norm in norms:
                norm.training = True
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        yield
    finally:
        for m, training in modes:  # parents first; by their own train(), which undoes what eval mode did (LoRA)
            if m.training != training:
                m.train(training)
        for m, training in modes:  # whatever that makes of the flag
            m.training = training
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
        with torch.no_grad():
            for buffer, saved in buffers:
                buffer.copy_(saved)
