"""Objectives: what an attack climbs, one score per image."""

from natx.objectives.adaptive import Adaptive
from natx.objectives.base import Objective, build_objective
from natx.objectives.losses import DLR, KL, CrossEntropy, ImageLoss, Margin, NamedLoss, margin
from natx.objectives.rescaled import RescaledCrossEntropy
from natx.objectives.targeted import (
    TARGET,
    TargetedCrossEntropy,
    TargetedDLR,
    TargetedMargin,
    TargetedObjective,
)
from natx.objectives.teacher import TeacherKL

__all__ = [
    "Adaptive",
    "CrossEntropy",
    "DLR",
    "ImageLoss",
    "KL",
    "Margin",
    "NamedLoss",
    "Objective",
    "RescaledCrossEntropy",
    "TARGET",
    "TargetedCrossEntropy",
    "TargetedDLR",
    "TargetedMargin",
    "TargetedObjective",
    "TeacherKL",
    "build_objective",
    "margin",
]
