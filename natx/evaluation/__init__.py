"""Evaluation: outcomes of images and sets under attacks; ``natx.judging`` goes from configs to a report."""

from natx.evaluation.metric import Metric
from natx.evaluation.robust import CLEAN, AttackResult, Evaluation, evaluate
from natx.evaluation.sets import SetAttackResult, SetEvaluation, evaluate_set

__all__ = [
    "CLEAN",
    "AttackResult",
    "Evaluation",
    "Metric",
    "SetAttackResult",
    "SetEvaluation",
    "evaluate",
    "evaluate_set",
]
