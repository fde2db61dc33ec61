"""Evaluation: the judge."""

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
