"""Tiny trainings of detectors: the config, MTD's inner attack, and MTD with NAT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from detectors import ssd
from workshop import merged

SIDE = 64
THREAT = {"type": "Linf", "eps": 8 / 255}
ONE_STEP = {"type": "PGD", "steps": 1, "step_size": 8 / 255}
MTD: dict[str, Any] = {
    "type": "WorstOf",
    "threat": THREAT,
    "attacks": [{**ONE_STEP, "objective": {"type": "ImageLoss", "name": name}} for name in ("loss_cls", "loss_bbox")],
    "objective": {"type": "ImageLoss"},
}


def generated(root: Path, split: str) -> dict[str, Any]:
    """Eight training and five test images of 64 x 64 pixels with one or two digits."""
    sizes = {"images": 8, "test_images": 5, "canvas": [SIDE, SIDE], "sides": [20, 40], "objects": [1, 2]}
    return {"type": "GeneratedVOC", "root": str(root), "split": split, **sizes}


def folder(root: Path, split: str, *, classes: list[str]) -> dict[str, Any]:
    """A folder in Pascal VOC's layout."""
    content = {"root": str(root), "split": split, "size": [SIDE, SIDE], "classes": classes}
    return {"type": "VOCDetection", **content}


def detection(model: dict[str, Any], classes: int) -> dict[str, Any]:
    return {"type": "DetectionTask", "num_classes": classes, "model": model}


def base(root: Path, **changes: Any) -> dict[str, Any]:
    """Two epochs of two steps of a small SSD on clean images."""
    content: dict[str, Any] = {
        "custom_imports": {"imports": ["tasks.det"]},
        "seed": 0,
        "data": {
            "train": generated(root, "trainval"),
            "test": generated(root, "test"),
            "heldout": 0,
            "batch_size": 4,
            "augments": [{"type": "BoxZoom", "out": 1.5, "inside": 0.6}],
        },
        "task": detection(ssd(10, side=SIDE), 10),
        "method": {"type": "Standard"},
        "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.01, "momentum": 0.9}},
        "train_cfg": {"max_epochs": 2},
        "metric": {"type": "DetectionMAP"},
        "vis_backends": [{"type": "LocalVisBackend"}],
    }
    return merged(content, changes)


def mtd_nat(adversary: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """MTD and NAT: clean and adversarial images, and the nasty term."""
    terms = [{"type": "TaskLoss"}, {"type": "NastyKL", "weight": 0.06, "temperature": 4.0, "adversary": adversary}]
    return {"type": "Adversarial", "views": ("clean", "adv"), "attack": MTD, "terms": terms, **changes}
