"""Attacks made for detectors: DAG on the classes of proposals, RAP on objectness and boxes, TOG on the own losses."""

from tasks.det.attacks.dag import DAG
from tasks.det.attacks.dense import Dense, dense
from tasks.det.attacks.rap import RAP
from tasks.det.attacks.tog import TOGFabrication, TOGMislabelling, TOGVanishing

__all__ = ["DAG", "RAP", "Dense", "TOGFabrication", "TOGMislabelling", "TOGVanishing", "dense"]
