"""Methods: training recipes, one file each."""

from natx.methods.adversarial import Adversarial
from natx.methods.base import Method
from natx.methods.standard import Standard

__all__ = ["Adversarial", "Method", "Standard"]
