"""Seeding per epoch, which makes a resumed run equal to one that was never stopped."""

from __future__ import annotations

import random

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from natx.registry import HOOKS
from natx.training.learner import learner_of


@HOOKS.register_module()
class SeedHook(Hook):
    """Before each epoch, seeds torch, numpy and random from (seed, epoch, rank) and tells the learner the epoch.

    mmengine restores no generator state on resume; with this hook there is none to restore.
    """

    priority = "VERY_HIGH"

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def before_train_epoch(self, runner: Runner) -> None:
        """See the class."""
        state = np.random.SeedSequence([self.seed, runner.epoch, runner.rank]).generate_state(3)
        torch.manual_seed(int(state[0]))
        np.random.seed(int(state[1]))
        random.seed(int(state[2]))
        learner_of(runner).epoch = runner.epoch
