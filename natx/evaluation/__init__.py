"""Evaluation: the judge."""

from natx.evaluation.metric import Metric
from natx.evaluation.robust import CLEAN, AttackResult, Evaluation, evaluate
from natx.evaluation.selection import Selection
from natx.evaluation.sets import SetAttackResult, SetEvaluation, evaluate_set

__all__ = [
    "CLEAN",
    "AttackResult",
    "Evaluation",
    "Metric",
    "Selection",
    "SetAttackResult",
    "SetEvaluation",
    "evaluate",
    "evaluate_set",
]
