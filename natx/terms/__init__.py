"""Terms: the summands of training losses, one file each."""

from natx.terms.ard import ARD
from natx.terms.base import Term, View
from natx.terms.iad import IAD
from natx.terms.kd import KD
from natx.terms.lasso import LASSO
from natx.terms.lbgat import LBGAT
from natx.terms.mart import MART
from natx.terms.nasty import NastyKL, nasty_divergence
from natx.terms.prior import PriorConsistency
from natx.terms.rslad import RSLAD
from natx.terms.sparsity import EMR, NNR
from natx.terms.task_loss import TaskLoss
from natx.terms.trades import TRADES

__all__ = [
    "ARD",
    "EMR",
    "IAD",
    "KD",
    "LASSO",
    "LBGAT",
    "MART",
    "NNR",
    "NastyKL",
    "PriorConsistency",
    "RSLAD",
    "TRADES",
    "TaskLoss",
    "Term",
    "View",
    "nasty_divergence",
]
