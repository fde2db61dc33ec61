"""Methods: training recipes, one file each."""

from natx.methods.adversarial import Adversarial
from natx.methods.awp import AWP
from natx.methods.base import Method
from natx.methods.distillation import Distillation
from natx.methods.free import FreeAdversarial
from natx.methods.free_training import FreeTraining
from natx.methods.grad_align import GradAlign
from natx.methods.las import LAS
from natx.methods.prior import ATAS, PriorGuided
from natx.methods.sam import SAM
from natx.methods.standard import Standard

__all__ = [
    "ATAS",
    "AWP",
    "LAS",
    "SAM",
    "Adversarial",
    "Distillation",
    "FreeAdversarial",
    "FreeTraining",
    "GradAlign",
    "Method",
    "PriorGuided",
    "Standard",
]
