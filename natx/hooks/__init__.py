"""Hooks of the training loop, one file each."""

from natx.hooks.checkpoints import Checkpoints
from natx.hooks.ema import EMA
from natx.hooks.guard import NonFiniteGuard
from natx.hooks.progress import ProgressHook
from natx.hooks.seed import SeedHook

__all__ = ["EMA", "Checkpoints", "NonFiniteGuard", "ProgressHook", "SeedHook"]
