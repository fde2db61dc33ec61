"""Evaluation: the judge."""

from natx.evaluation.metric import Metric
from natx.evaluation.robust import CLEAN, AttackResult, Evaluation, evaluate
from natx.evaluation.selection import Selection

__all__ = ["CLEAN", "AttackResult", "Evaluation", "Metric", "Selection", "evaluate"]
