"""Attacks made for detectors: DAG on the classes of dense proposals, RAP on objectness and boxes."""

from tasks.det.attacks.dag import DAG
from tasks.det.attacks.dense import Dense, dense
from tasks.det.attacks.rap import RAP

__all__ = ["DAG", "RAP", "Dense", "dense"]
