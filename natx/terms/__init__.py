"""Terms: the summands of training losses, one file each."""

from natx.terms.base import Term, View
from natx.terms.nasty import NastyKL, nasty_divergence
from natx.terms.task_loss import TaskLoss

__all__ = ["NastyKL", "TaskLoss", "Term", "View", "nasty_divergence"]
