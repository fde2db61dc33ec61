"""Hooks of the training loop, one file each."""

from natx.training.hooks.checkpoints import Checkpoints
from natx.training.hooks.clock import ProcessorTime
from natx.training.hooks.ema import EMA
from natx.training.hooks.progress import ProgressHook
from natx.training.hooks.remarks import TermRemarks
from natx.training.hooks.seed import SeedHook
from natx.training.hooks.values import LogValues

__all__ = ["EMA", "Checkpoints", "LogValues", "ProcessorTime", "ProgressHook", "SeedHook", "TermRemarks"]
