from __future__ import annotations

import importlib
import math
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from workshop import environment

from natx.errors import ConfigError
from tasks.det import compat
from tasks.det.compat.focal import sigmoid_focal_loss
from tasks.det.compat.missing import FUNCTIONS, MODULES, REGISTERED
from tasks.det.compat.nms import batched_nms, nms, soft_nms
from tasks.det.compat.roi_align import RoIAlign, roi_align

mmcv_ops = sys.modules["mmcv.ops"]
substituted = pytest.mark.skipif(not hasattr(mmcv_ops, "from_natx"), reason="full mmcv is installed")
ROOT = Path(__file__).resolve().parents[2]


def boxes_and_scores(
    seed: int, *, count: int = 60, low: float = 0.0, side: float = 30.0, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """Many overlapping boxes, some of no width, with distinct scores."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(low, low + side, (count, 2))
    size = rng.uniform(0, 0.6 * side, (count, 2))
    size[: count // 10] = 0
    scores = rng.permutation(count) / count + 0.005
    return torch.tensor(np.concatenate([corner, corner + size], 1), dtype=dtype), torch.tensor(scores, dtype=dtype)


# ------------------------------------------------------------------------------------------------ suppression


def iou(a: list[float], b: list[float], offset: int) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + offset)
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + offset)
    area = [(x[2] - x[0] + offset) * (x[3] - x[1] + offset) for x in (a, b)]
    union = sum(area) - width * height
    return width * height / union if union > 0 else 0.0


def plain_nms(boxes: Tensor, scores: Tensor, threshold: float, *, offset: int = 0, above: float = -1) -> list[int]:
    kept: list[int] = []
    b, s = boxes.tolist(), scores.tolist()
    for i in sorted(range(len(s)), key=lambda i: -s[i]):
        if s[i] > above and all(iou(b[i], b[k], offset) <= threshold for k in kept):
            kept.append(i)
    return kept


def plain_soft_nms(boxes: Tensor, scores: Tensor, method: str, **options: Any) -> tuple[list[int], list[float]]:
    threshold, sigma = options.get("iou_threshold", 0.3), options.get("sigma", 0.5)
    floor, offset = options.get("min_score", 1e-3), options.get("offset", 0)
    b, left = boxes.tolist(), dict(enumerate(scores.tolist()))
    kept, final = [], []
    while left:
        best = max(left, key=lambda i: left[i])
        kept.append(best)
        final.append(left.pop(best))
        for i in list(left):
            o = iou(b[best], b[i], offset)
            if method == "gaussian":
                left[i] *= math.exp(-o * o / sigma)
            elif o >= threshold:
                left[i] *= 1 - o if method == "linear" else 0
            if left[i] < floor:
                del left[i]
    return kept, final


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7])
def test_nms_is_the_loop(threshold: float, offset: int) -> None:
    for seed in range(3):
        boxes, scores = boxes_and_scores(seed)
        found, kept = nms(boxes, scores, threshold, offset=offset)
        assert kept.tolist() == plain_nms(boxes, scores, threshold, offset=offset)
        assert torch.equal(found, torch.cat([boxes[kept], scores[kept, None]], 1))


def test_nms_offset_matters() -> None:
    boxes = torch.tensor([[0.0, 0, 1, 1], [1, 0, 2, 1]])
    scores = torch.tensor([0.9, 0.8])
    assert len(nms(boxes, scores, 0.3, offset=0)[1]) == 2  # they touch in a line
    assert len(nms(boxes, scores, 0.3, offset=1)[1]) == 1  # they share a column of pixels: 2 of 6


def test_nms_filters_limits_and_keeps_ties_in_order() -> None:
    boxes, scores = boxes_and_scores(1)
    _, kept = nms(boxes, scores, 0.5, score_threshold=0.4, max_num=5)
    assert kept.tolist() == plain_nms(boxes, scores, 0.5, above=0.4)[:5]
    _, tied = nms(boxes, torch.ones_like(scores), 0.5)
    assert tied.tolist() == plain_nms(boxes, torch.ones_like(scores), 0.5)
    found, none = nms(boxes[:0], scores[:0], 0.5)
    assert found.shape == (0, 5) and none.dtype == torch.int64
    assert len(nms(boxes, scores, 0.5, score_threshold=2)[1]) == 0


def test_nms_passes_gradients_and_takes_half_precision() -> None:
    boxes, scores = (x.requires_grad_() for x in boxes_and_scores(2))
    found, kept = nms(boxes, scores, 0.5)
    found.sum().backward()
    assert boxes.grad.abs().sum() == 4 * len(kept) and scores.grad.sum() == len(kept)
    half = boxes.detach().half()
    assert nms(half, half[:, 0], 0.5)[0].dtype == torch.float16


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("method", ["linear", "gaussian", "naive"])
def test_soft_nms_is_the_loop(method: str, offset: int) -> None:
    for seed, options in enumerate([{}, {"iou_threshold": 0.6, "sigma": 0.2}, {"min_score": 0.3}]):
        boxes, scores = boxes_and_scores(seed)
        found, kept = soft_nms(boxes, scores, method=method, offset=offset, **options)
        expected, final = plain_soft_nms(boxes, scores, method, offset=offset, **options)
        assert kept.tolist() == expected
        torch.testing.assert_close(found, torch.cat([boxes[kept], torch.tensor(final).double()[:, None]], 1))


def test_an_overlap_right_at_the_threshold() -> None:
    """mmcv's rules: nms drops what lies above, soft_nms lowers what reaches it."""
    boxes, scores = torch.tensor([[0.0, 0, 2, 1], [0, 0, 1, 1]]), torch.tensor([0.75, 0.5])  # they share a half
    assert len(nms(boxes, scores, 0.5)[1]) == 2
    assert soft_nms(boxes, scores, 0.5)[0][:, 4].tolist() == [0.75, 0.25]
    assert soft_nms(boxes, scores, 0.51)[0][:, 4].tolist() == [0.75, 0.5]


def test_soft_nms_leaves_its_input_and_the_best_box() -> None:
    boxes, scores = boxes_and_scores(3)
    before = scores.clone()
    found, kept = soft_nms(boxes, scores, min_score=2.0)
    assert torch.equal(scores, before) and kept.tolist() == [int(scores.argmax())]
    assert soft_nms(boxes[:0], scores[:0])[0].shape == (0, 5)
    single, _ = soft_nms(boxes.float(), scores.float())
    assert single.dtype == torch.float32


def by_class(boxes: Tensor, scores: Tensor, classes: Tensor, config: dict[str, Any]) -> list[tuple[int, float]]:
    """(index, final score) of every kept box, class after class, by falling score."""
    found: list[tuple[int, float]] = []
    for c in sorted(set(classes.tolist())):
        own = (classes == c).nonzero()[:, 0]
        if config["type"] == "nms":
            kept = plain_nms(boxes[own], scores[own], config["iou_threshold"])
            final = scores[own][kept].tolist()
        else:
            kept, final = plain_soft_nms(boxes[own], scores[own], "linear", iou_threshold=config["iou_threshold"])
        found += zip(own[kept].tolist(), final)
    return sorted(found, key=lambda pair: -pair[1])


@pytest.mark.parametrize("low", [0.0, -20.0], ids=["image", "negative coordinates"])
@pytest.mark.parametrize("split", [10000, 5], ids=["one pass", "split"])
@pytest.mark.parametrize("kind", ["nms", "soft_nms"])
def test_batched_nms_is_the_loop_over_classes(kind: str, split: int, low: float) -> None:
    boxes, scores = boxes_and_scores(4, low=low)
    classes = torch.arange(len(boxes)) % 4
    config = {"type": kind, "iou_threshold": 0.4, "split_thr": split}
    found, kept = batched_nms(boxes, scores, classes, config)
    expected = by_class(boxes, scores, classes, config)
    assert kept.tolist() == [i for i, _ in expected]
    final = torch.tensor([s for _, s in expected], dtype=torch.float64)
    torch.testing.assert_close(found, torch.cat([boxes[kept], final[:, None]], 1))
    assert config == {"type": kind, "iou_threshold": 0.4, "split_thr": split}  # left as it was


def test_classes_do_not_meet_at_negative_coordinates() -> None:
    """Moving class 1 by the largest coordinate + 1, as mmcv does, would put the second box onto the first."""
    boxes = torch.tensor([[-10.0, -10, 0, 0], [-11, -11, -1, -1]])
    _, kept = batched_nms(boxes, torch.tensor([0.9, 0.8]), torch.tensor([0, 1]), {"iou_threshold": 0.5})
    assert kept.tolist() == [0, 1]


def test_batched_nms_does_not_round_far_classes() -> None:
    boxes, scores = boxes_and_scores(5, low=3000.0, side=2.0, dtype=torch.float32)
    classes = torch.full((len(boxes),), 1_000_000)
    found, kept = batched_nms(boxes, scores, classes, {"type": "nms", "iou_threshold": 0.5})
    assert kept.tolist() == plain_nms(boxes.double(), scores, 0.5)
    assert found.dtype == torch.float32 and torch.equal(found[:, :4], boxes[kept])


@pytest.mark.parametrize("split", [10000, 5], ids=["one pass", "split"])
def test_class_agnostic_lets_all_classes_compete(split: int) -> None:
    boxes, scores = boxes_and_scores(6)
    classes = torch.arange(len(boxes)) % 4
    config = {"type": "nms", "iou_threshold": 0.4, "split_thr": split}
    agnostic = plain_nms(boxes, scores, 0.4)
    assert agnostic != [i for i, _ in by_class(boxes, scores, classes, config)]
    for found in (
        batched_nms(boxes, scores, classes, config, class_agnostic=True),
        batched_nms(boxes, scores, classes, config | {"class_agnostic": True}),
    ):
        assert found[1].tolist() == agnostic


@pytest.mark.parametrize("split", [10000, 5], ids=["one pass", "split"])
def test_batched_nms_limits_ties_and_empty_input(split: int) -> None:
    boxes, scores = boxes_and_scores(7)
    classes = torch.arange(len(boxes)) % 3
    config = {"iou_threshold": 0.4, "split_thr": split}
    _, kept = batched_nms(boxes, scores, classes, config)
    _, few = batched_nms(boxes, scores, classes, config | {"max_num": 4})
    assert few.tolist() == kept.tolist()[:4]
    _, tied = batched_nms(boxes, torch.ones_like(scores), classes, config)
    assert tied.tolist() == sorted(tied.tolist())
    empty, none = batched_nms(boxes[:0], scores[:0], classes[:0], config | {"split_thr": 0})
    assert empty.shape == (0, 5) and len(none) == 0


def test_batched_nms_without_a_config_sorts() -> None:
    boxes, scores = boxes_and_scores(8)
    found, order = batched_nms(boxes, scores, torch.zeros(len(boxes)), None)
    assert len(order) == len(boxes) and all(a >= b for a, b in pairwise(found[:, 4].tolist()))
    assert torch.equal(found[:, :4], boxes[order])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"type": "nms_rotated", "iou_threshold": 0.5}, "'nms_rotated'"),
        ({"type": "nms", "iou_thr": 0.5}, "nms has no option iou_thr"),
        ({"type": "soft_nms", "method": "cubic"}, "linear, gaussian, naive; got 'cubic'"),
        ({"type": "nms", "iou_threshold": 0.5, "offset": 2}, "offset of nms is 0 or 1; got 2"),
    ],
)
def test_a_wrong_nms_config_is_one_line(config: dict[str, Any], message: str) -> None:
    boxes, scores = boxes_and_scores(9)
    with pytest.raises(ConfigError, match=message) as caught:
        batched_nms(boxes, scores, torch.zeros(len(boxes)), config)
    assert "\n" not in str(caught.value)


def test_nms_refuses_boxes_it_does_not_understand() -> None:
    with pytest.raises(ValueError, match="N x 4"):
        nms(torch.rand(3, 5), torch.rand(3), 0.5)
    with pytest.raises(ValueError, match="N x 4"):
        soft_nms(torch.rand(3, 4), torch.rand(2))


# ------------------------------------------------------------------------------------------------ RoIAlign


def bilinear(plane: np.ndarray, y: float, x: float) -> float:
    """The plane between pixel centres at whole coordinates; the border holds for one pixel, then 0."""
    height, width = plane.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    fy, fx = y - top, x - left
    upper = plane[top, left] * (1 - fx) + plane[top, right] * fx
    return upper * (1 - fy) + (plane[bottom, left] * (1 - fx) + plane[bottom, right] * fx) * fy


def plain_roi_align(features: Tensor, rois: Tensor, size: tuple[int, int], scale: float, ratio: int, aligned: bool):
    pooled = np.zeros((len(rois), features.shape[1], *size))
    for n, (index, *corners) in enumerate(rois.tolist()):
        x1, y1, x2, y2 = (c * scale - 0.5 * aligned for c in corners)
        width, height = x2 - x1, y2 - y1
        if not aligned:
            width, height = max(width, 1.0), max(height, 1.0)
        cell = (height / size[0], width / size[1])
        samples = [ratio or max(math.ceil(c), 0) for c in cell]
        for channel, i, j in np.ndindex(pooled.shape[1:]):
            values = [
                bilinear(
                    features[int(index), channel].numpy(),
                    y1 + (i + (a + 0.5) / samples[0]) * cell[0],
                    x1 + (j + (b + 0.5) / samples[1]) * cell[1],
                )
                for a in range(samples[0])
                for b in range(samples[1])
            ]
            pooled[n, channel, i, j] = sum(values) / max(len(values), 1)
    return torch.tensor(pooled)


def regions() -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(0)
    features = torch.tensor(rng.normal(size=(2, 2, 6, 7)))
    rois = [[0, 3, 4, 20, 22], [1, -6, -5, 9, 12], [1, 15, 10, 40, 33], [0, 8, 8, 9, 9], [1, 5, 5, 5, 5]]
    return features, torch.tensor(rois, dtype=torch.float64)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 2])
def test_roi_align_is_the_loop(ratio: int, aligned: bool) -> None:
    features, rois = regions()
    expected = plain_roi_align(features, rois, (3, 2), 0.25, ratio, aligned)
    torch.testing.assert_close(roi_align(features, rois, (3, 2), 0.25, ratio, "avg", aligned), expected)
    layer = RoIAlign(output_size=(3, 2), spatial_scale=0.25, sampling_ratio=ratio, aligned=aligned)
    torch.testing.assert_close(layer(features, rois), expected)


@pytest.mark.parametrize("ratio", [0, 2])
def test_roi_align_has_the_right_gradient(ratio: int) -> None:
    features, rois = regions()
    assert torch.autograd.gradcheck(
        lambda x: roi_align(x, rois, 2, 0.25, ratio), [features.requires_grad_()], fast_mode=True
    )


def test_roi_align_at_the_edges_of_its_input() -> None:
    features, rois = regions()
    assert RoIAlign(7).output_size == (7, 7)  # mmdet reads a pair
    assert RoIAlign(7)(features, rois[:0]).shape == (0, 2, 7, 7)
    half = roi_align(features.half(), rois.float(), 2, 0.25)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.double(), roi_align(features, rois, 2, 0.25), atol=5e-3, rtol=0)
    for refuse in (lambda: RoIAlign(7, pool_mode="max"), lambda: roi_align(features, rois, 7, 1.0, 0, "max")):
        with pytest.raises(ConfigError, match="pool_mode='max'.*full mmcv"):
            refuse()


# ------------------------------------------------------------------------------------------------ focal loss


def plain_focal(logits: Tensor, targets: Tensor, gamma: float, alpha: float) -> Tensor:
    rows = []
    for row, target in zip(logits.tolist(), targets.tolist()):
        p = [1 / (1 + math.exp(-x)) for x in row]
        rows.append(
            [
                -alpha * (1 - q) ** gamma * math.log(q) if c == target else -(1 - alpha) * q**gamma * math.log(1 - q)
                for c, q in enumerate(p)
            ]
        )
    return torch.tensor(rows, dtype=torch.float64)


def logits_and_targets() -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(0)
    targets = torch.tensor([0, 1, 2, 3, -1, 3, 0, 2])  # 3 of 3 classes is mmdet's background; -1 is nobody's, too
    return torch.tensor(rng.normal(scale=2, size=(8, 3))), targets


@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (0.0, 0.5), (1.5, 0.9)])
def test_focal_loss_is_the_formula(gamma: float, alpha: float) -> None:
    logits, targets = logits_and_targets()
    expected = plain_focal(logits, targets, gamma, alpha)
    torch.testing.assert_close(sigmoid_focal_loss(logits, targets, gamma, alpha, None, "none"), expected)
    torch.testing.assert_close(sigmoid_focal_loss(logits, targets, gamma, alpha, None, "sum"), expected.sum())
    torch.testing.assert_close(sigmoid_focal_loss(logits, targets, gamma, alpha), expected.sum() / 8)  # over rows
    weight = torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64)
    rows = torch.tensor([0.5, 2, 3, 1, 1, 1, 0.5, 3], dtype=torch.float64)
    weighted = sigmoid_focal_loss(logits, targets, gamma, alpha, weight, "none")
    torch.testing.assert_close(weighted, expected * rows[:, None])


def test_focal_loss_has_the_right_gradient_and_survives_extremes() -> None:
    logits, targets = logits_and_targets()
    assert torch.autograd.gradcheck(
        lambda x: sigmoid_focal_loss(x, targets, 2.0, 0.25, None, "none"), [logits.requires_grad_()]
    )
    far = torch.tensor([[1e4, -1e4, 200.0]], requires_grad=True)
    sigmoid_focal_loss(far, torch.tensor([1])).backward()
    assert far.grad.isfinite().all()
    half = sigmoid_focal_loss(logits.detach().half(), targets)
    assert half.dtype == torch.float32 and torch.isfinite(half)


@substituted
def test_mmdet_has_one_focal_loss_on_every_device() -> None:
    """mmdet's path for GPUs, which calls mmcv.ops, against its path for the CPU: the same to the bit."""
    from mmdet.models.losses import focal_loss

    logits, targets = logits_and_targets()
    targets = targets.clamp(min=0)  # mmdet's own path cannot take -1
    weight = torch.linspace(0, 1, len(targets))
    for kind in (torch.float32, torch.float64):
        gpu = focal_loss.sigmoid_focal_loss(logits.to(kind), targets, weight.to(kind), avg_factor=3)
        assert torch.equal(gpu, focal_loss.FocalLoss()(logits.to(kind), targets, weight.to(kind), avg_factor=3))


def test_focal_loss_refuses_what_it_would_misread() -> None:
    logits, targets = logits_and_targets()
    with pytest.raises(ConfigError, match="none, mean or sum; got 'avg'"):
        sigmoid_focal_loss(logits, targets, reduction="avg")
    for wrong in (targets.float(), targets[:4], targets[:, None]):
        with pytest.raises(ValueError, match="N int64 targets"):
            sigmoid_focal_loss(logits, wrong)
    with pytest.raises(ValueError, match="each of 3 classes"):
        sigmoid_focal_loss(logits, targets, weight=torch.ones(4))


# ------------------------------------------------------------------------------------------------ the module


@substituted
@pytest.mark.parametrize("name", [*MODULES, *FUNCTIONS])
def test_an_operator_without_a_substitute_names_itself_and_the_remedy(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"mmcv\.ops\.{name} .*install full mmcv") as caught:
        getattr(mmcv_ops, name)(3, 4, kernel_size=3)
    assert "\n" not in str(caught.value)


@substituted
@pytest.mark.parametrize("name", REGISTERED)
def test_a_layer_named_in_a_config_names_the_remedy(name: str) -> None:
    from mmengine.registry import MODELS

    with pytest.raises(ConfigError, match=f"{REGISTERED[name]} .*install full mmcv"):
        MODELS.build({"type": name})
    with pytest.raises(ConfigError, match="DeformConv2dPack .*install full mmcv"):
        sys.modules["mmcv.cnn"].build_conv_layer({"type": "DCN", "deform_groups": 1}, 3, 4, kernel_size=3)


@substituted
def test_all_of_mmdet_imports() -> None:
    for package in ("apis", "datasets", "engine", "evaluation", "models", "structures", "testing", "visualization"):
        importlib.import_module(f"mmdet.{package}")
    from mmcv import ops
    from mmcv.ops import CornerPool, point_sample
    from mmcv.ops.nms import batched_nms as imported
    from mmcv.ops.roi_align import roi_align as aligned

    assert ops is mmcv_ops and imported is batched_nms is ops.batched_nms and aligned is roi_align is ops.roi_align
    # mmcv-lite's own operators that need nothing compiled
    assert CornerPool("top")(torch.arange(4.0).view(1, 1, 2, 2)).tolist() == [[[[2, 3], [2, 3]]]]
    points = torch.tensor([[[0.25, 0.25], [0.5, 0.5]]])
    assert point_sample(torch.arange(4.0).view(1, 1, 2, 2), points).tolist() == [[[0, 1.5]]]


def test_installing_twice_changes_nothing() -> None:
    first = compat.install()
    assert compat.install() == first and sys.modules["mmcv.ops"] is mmcv_ops
    assert first.startswith("mmcv 2.")


def run(script: str) -> str:
    """Standard output of a script in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_full_mmcv_is_left_untouched() -> None:
    script = """
import sys, types
mmcv, ops = types.ModuleType("mmcv"), types.ModuleType("mmcv.ops")
mmcv.__version__, mmcv.__path__, mmcv.ops, ops.nms = "2.1.0", [], ops, "compiled"
sys.modules |= {"mmcv": mmcv, "mmcv.ops": ops}
before = dict(vars(ops))
import tasks.det
from mmengine.registry import MODELS
assert sys.modules["mmcv.ops"] is mmcv.ops is ops and vars(ops) == before
assert "DCN" not in MODELS.module_dict and not [m for m in sys.modules if m.startswith("mmcv.ops.")]
print(tasks.det.compat.install())
"""
    assert run(script).strip() == "mmcv 2.1.0, operators mmcv's"


def test_absent_or_unfit_libraries_are_one_line() -> None:
    script = """
import sys, types
import natx
from natx.errors import ConfigError
def attempt(**modules):
    sys.modules |= modules
    try:
        import tasks.det
    except ConfigError as error:
        print(error)
attempt(mmdet=None)
attempt(mmcv=None)
unfit = types.ModuleType("mmcv")
unfit.__version__, unfit.__path__, unfit.ops = "9.0.0", [], types.ModuleType("mmcv.ops")
del sys.modules["mmdet"]
attempt(mmcv=unfit, **{"mmcv.ops": unfit.ops})
"""
    lines = run(script).splitlines()
    assert len(lines) == 3 and all("pip install -e '.[det]'" in line for line in lines)
    assert "mmdet" in lines[0] and "mmcv" in lines[1] and "MMCV==9.0.0" in lines[2]


@substituted
def test_compiled_operators_that_do_not_load_are_replaced_with_a_warning() -> None:
    script = """
import sys, warnings
from importlib.machinery import ModuleSpec
class Broken:
    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self) if name == "mmcv._ext" else None
    def create_module(self, spec):
        raise ImportError("undefined symbol: c10")
    def exec_module(self, module):
        pass
sys.meta_path.insert(0, Broken())
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import mmcv.cnn.bricks.transformer  # before tasks.det: it could not take its attention from mmcv.ops
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    import tasks.det
print([str(w.message) for w in seen if "undefined symbol: c10" in str(w.message)])
from mmdet.models import DeformableDETR
print(tasks.det.compat.install())
"""
    warned, source = run(script).splitlines()
    assert "natx's are used" in warned and source.endswith("operators natx's, on torchvision")


# ------------------------------------------------------------------------------------------------ models


def shipped(name: str) -> Any:
    """The model of a config that ships with mmdet, without pretrained weights."""
    import mmdet
    from mmengine.config import Config

    config = Config.fromfile(Path(mmdet.__file__).parent / f".mim/configs/_base_/models/{name}.py").model
    config.backbone.init_cfg = None
    return config


def small(name: str) -> Any:
    """The same on ResNet-18 with narrow heads."""
    config = shipped(name)
    config.backbone.update(depth=18, frozen_stages=-1)
    config.neck.update(in_channels=[64, 128, 256, 512], out_channels=16)
    if name.startswith("retina"):
        config.bbox_head.update(in_channels=16, feat_channels=16, stacked_convs=1, num_classes=4)
    else:
        config.rpn_head.update(in_channels=16, feat_channels=16)
        config.roi_head.bbox_roi_extractor.out_channels = 16
        config.roi_head.bbox_head.update(in_channels=16, fc_out_channels=32, num_classes=4)
    return config


def sample(side: int, boxes: list[list[float]], labels: list[int]) -> Any:
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    shape = (side, side)
    meta = {"img_shape": shape, "ori_shape": shape, "scale_factor": (1.0, 1.0)}
    found = DetDataSample(metainfo=meta)
    found.gt_instances = InstanceData(
        bboxes=torch.tensor(boxes).reshape(-1, 4), labels=torch.tensor(labels, dtype=torch.int64)
    )
    return found


def loss_and_predictions(model: nn.Module, *, side: int, names: set[str]) -> None:
    """Pixels to losses to gradients of pixels and weights; then predictions."""
    images = (torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1)) * 255).requires_grad_()
    samples = [sample(side, [[0.1 * side, 0.2 * side, 0.6 * side, 0.7 * side]], [2])]
    data = model.data_preprocessor({"inputs": images, "data_samples": samples}, training=True)
    losses = model(data["inputs"], data["data_samples"], mode="loss")
    assert set(losses) == names
    total, _ = model.parse_losses(losses)
    total.backward()
    assert total.isfinite() and total > 0 and images.grad.isfinite().all() and images.grad.abs().sum() > 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    model.eval()
    with torch.no_grad():
        (result,) = model(data["inputs"].detach(), data["data_samples"], mode="predict")
    found = result.pred_instances
    assert len(found) and found.bboxes.min() >= 0 and found.bboxes.max() <= side
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    assert found.labels.min() >= 0 and found.labels.max() < 4


def test_ssd300_trains_and_predicts() -> None:
    torch.manual_seed(0)
    config = shipped("ssd300")
    config.bbox_head.num_classes = 4
    model = compat.build_detector(config)
    assert (model.neck.l2_norm.weight == 20).all()
    loss_and_predictions(model, side=300, names={"loss_cls", "loss_bbox"})


def test_retinanet_trains_and_predicts() -> None:
    torch.manual_seed(0)
    config = small("retinanet_r50_fpn")
    model = compat.build_detector(config)
    assert config == small("retinanet_r50_fpn")  # left as it was
    loss_and_predictions(model, side=64, names={"loss_cls", "loss_bbox"})


@pytest.mark.parametrize("kind", ["nms", "soft_nms"])
def test_faster_rcnn_trains_and_predicts(kind: str) -> None:
    torch.manual_seed(0)
    config = small("faster-rcnn_r50_fpn")
    config.test_cfg.rcnn.nms = {"type": kind, "iou_threshold": 0.5}
    names = {"loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "loss_bbox", "acc"}
    loss_and_predictions(compat.build_detector(config), side=64, names=names)


def test_the_fixes_of_ssd_touch_only_what_is_broken() -> None:
    from mmdet.models.necks import SSDNeck

    head = nn.Module()
    compat.fix_ssd_head(head)
    assert head.loss_cls is None
    head.loss_cls = "its own"
    compat.fix_ssd_head(head)
    assert head.loss_cls == "its own"
    options = {"in_channels": (8, 16), "out_channels": (8, 16, 8), "level_strides": (2,), "level_paddings": (1,)}
    scaled, plain = SSDNeck(**options, l2_norm_scale=7), SSDNeck(**options, l2_norm_scale=None)
    nn.init.constant_(scaled.l2_norm.weight, math.nan)
    compat.repair(nn.ModuleList([scaled, plain]))
    assert (scaled.l2_norm.weight == 7).all()


def test_a_model_that_cannot_be_built_is_one_line() -> None:
    config = small("retinanet_r50_fpn")
    for change, message in [
        ({"type": "RetinaNat"}, "RetinaNat is not in the mmdet::model registry"),
        ({"neck": {"type": "FPN"}}, "'RetinaNet'.*FPN"),
        ({"backbone": {**config.backbone, "depth": 50, "dcn": {"type": "DCN"}, "stage_with_dcn": [True] * 4}}, "mmcv"),
    ]:
        with pytest.raises(ConfigError, match=message) as caught:
            compat.build_detector({**config, **change})
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scope", ["natx", None])
def test_a_default_scope_of_others_does_not_matter(scope: str | None) -> None:
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope(scope):
        model = compat.build_detector(small("retinanet_r50_fpn"))
        assert type(model.data_preprocessor).__name__ == "DetDataPreprocessor"
