"""Analysis: sparsity of the output, class boundaries, weights and features of some models side by side."""

from natx.analysis.collect import Collected, View, collect
from natx.analysis.compare import WHAT, analyse
from natx.analysis.report import write_analysis

__all__ = ["WHAT", "Collected", "View", "analyse", "collect", "write_analysis"]
