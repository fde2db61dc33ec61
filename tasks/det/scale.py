"""Whether a backbone's features fit the new heads above it."""

from __future__ import annotations

import math
from typing import Any

import torch

from natx.batch import to_device
from natx.models.mode import attack_mode
from natx.runtime.progress import say
from natx.task import Task

IMAGES = 2
FAR = 3.0  # times the loss of guessing


def check_scale(task: Task, dataset: Any) -> None:
    """Tell where new class layers begin far from guessing: the backbone's weights are of pixels normalised otherwise.

    torchvision's VGG-16 was trained on pixels divided by their deviation, about 58, and SSD's configs (std 1) are for
    Caffe's weights, which take them undivided: its features come out far too large, and SSD begins at many times the
    loss of guessing. This is measured on the images, since what a layer's weights should look like would have to be
    known of each file. New heads give all C classes about the same logit, so that the mean over classes of a row's
    cross-entropy is about log C.

    Args:
        task: a detector on a loaded backbone, its heads as they were drawn.
        dataset: images to try; the first two are taken.
    """
    device = next(task.parameters()).device
    batch = to_device(dataset.__getitems__(list(range(min(IMAGES, len(dataset))))), device)
    with attack_mode(task), torch.no_grad():
        logits = task(batch).logits.float()
    if logits.numel() == 0:
        return
    loss = float((logits.logsumexp(1) - logits.mean(1)).mean())
    guessing = math.log(logits.shape[1])
    if loss > FAR * guessing:
        say(
            f"new heads begin at a loss of {loss:.0f} a row where guessing is {guessing:.1f}: the backbone's weights "
            "are of pixels normalised otherwise; set mean and std of task.model.data_preprocessor to theirs "
            "(torchvision's: mean [123.675, 116.28, 103.53], std [58.395, 57.12, 57.375])"
        )
