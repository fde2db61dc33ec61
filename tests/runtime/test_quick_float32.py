"""What training on a GPU may do with float32, and that judging inside it may not."""

from __future__ import annotations

import pytest
import torch

from natx.runtime.precision import exact_float32, quick_float32

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


def switches() -> tuple[str, str, bool]:
    return (
        torch.backends.cuda.matmul.fp32_precision,
        torch.backends.cudnn.conv.fp32_precision,
        torch.backends.cudnn.benchmark,
    )


def legacy() -> tuple[str, bool, bool]:
    """The same as the old interface has it."""
    cudnn = torch.backends.cudnn
    return torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark


def test_training_is_quick_and_judging_inside_it_is_exact() -> None:
    before = legacy()
    with pytest.raises(RuntimeError, match="stop"), quick_float32(CUDA):
        assert switches() == ("tf32", "tf32", True)
        assert torch.get_float32_matmul_precision() == "high"
        with exact_float32():
            assert switches() == ("ieee", "ieee", False)
        assert switches() == ("tf32", "tf32", True)
        raise RuntimeError("stop")
    assert legacy() == before


def test_other_devices_are_left_alone() -> None:
    before = switches()
    with quick_float32(CPU):
        assert switches() == before
