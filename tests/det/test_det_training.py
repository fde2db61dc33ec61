"""Training detectors: runs that are killed, sampling over epochs, and what an attack may climb."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from detector_runs import SIDE, THREAT, base, generated, mtd_nat
from detectors import CLASSES, detector, faster, retina, square_batch, ssd
from forks import run_tool
from safetensors.torch import load_file
from torch import Tensor
from workshop import write_config

from natx.attacks import build_attack
from natx.batch import TEACHER, Batch
from natx.config import load_config, plain_dict
from natx.data import build_dataset
from natx.errors import ConfigError, UserError
from natx.models.adversary import Adversary
from natx.models.checkpoint import load_state
from natx.models.weights import read_meta
from natx.objectives import DLR, Adaptive, CrossEntropy, ImageLoss, Margin
from natx.registry import METHODS, TASKS
from natx.terms import ARD, KD, TRADES, PriorConsistency, View
from natx.training.build import build_learner
from natx.training.images import build_selection
from natx.training.learner import Learner
from natx.training.run import train
from tasks.det import DetectionTask

CPU = torch.device("cpu")
FAMILIES = pytest.mark.parametrize("family", [ssd, retina, faster])


@pytest.fixture(scope="module")
def models() -> dict[Any, DetectionTask]:
    return {family: detector(family()).eval() for family in (ssd, retina, faster)}


def refused(kind: type[UserError], build: Callable[[], Any], *parts: str) -> None:
    """A user's mistake in one line that contains ``parts``."""
    with pytest.raises(kind) as error:
        build()
    text = str(error.value)
    assert "\n" not in text and len(text) < 500
    assert [part for part in parts if part not in text] == [], text


# ------------------------------------------------------------------------------------------------ resuming

# Named in custom_imports: SIGKILL after the first step of the second epoch.
KILLER = """
import os, signal
from natx.training.hooks import LogValues

check = LogValues.after_train_iter


def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
    check(self, runner, batch_idx, data_batch, outputs)
    if [runner.epoch + 1, batch_idx + 1] == [2, 1]:
        os.kill(os.getpid(), signal.SIGKILL)


if os.environ.get("NATX_TEST_KILL"):
    LogValues.after_train_iter = after_train_iter
"""


def test_a_killed_run_of_mtd_with_nat_ends_with_the_weights_of_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both runs share the adversary, which the first one trains."""
    (tmp_path / "natx_test_det_killer.py").write_text(KILLER)
    monkeypatch.syspath_prepend(tmp_path)
    imports = {"imports": ["tasks.det", "natx_test_det_killer"]}
    source = write_config(tmp_path / "std.py", base(tmp_path / "voc", custom_imports=imports))
    data, method = {"heldout": 2, "batch_size": 3}, mtd_nat({"config": str(source)})
    average = {"decay": 0.9, "warmup": 0.0}
    content = base(tmp_path / "voc", custom_imports=imports, data=data, method=method, ema=average)
    path, run = write_config(tmp_path / "nat.py", content), tmp_path / "killed"
    whole = train(load_config(path), tmp_path / "whole", device=CPU)
    words = (path, "--work-dir", run)
    done = run_tool("train.py", *words, folders=(tmp_path,), NATX_TEST_KILL="yes")
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert load_state(run / "last.pth")["meta"]["epoch"] == 1
    train(load_config(path), run, device=CPU, resume=True)
    first, second = load_state(tmp_path / "whole" / "last.pth"), load_state(run / "last.pth")
    assert first["meta"]["epoch"] == second["meta"]["epoch"] == 2 and first["meta"]["iter"] == 4
    assert equal(first["weights"], second["weights"]) and equal(first["optimizer"], second["optimizer"])
    assert equal(first["live"], second["live"]) and not equal(first["live"], first["weights"])
    assert read_meta(whole)["holds"] == read_meta(whole)["best"]["weights"]
    assert equal(load_file(whole), load_file(run / "best.safetensors"))
    assert read_meta(whole)["epoch"] == read_meta(run / "best.safetensors")["epoch"]
    assert [path.name.split("-")[0] for path in (tmp_path / "adversaries").iterdir()] == ["std"]


def equal(first: Any, second: Any) -> bool:
    """Bit for bit, through containers."""
    if isinstance(first, Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(equal, first, second))
    return first == second


# ------------------------------------------------------------------------------------------------ held-out images


def test_held_out_images_have_the_size_that_the_detector_learns_at(tmp_path: Path) -> None:
    """Images to learn from are read at twice the detector's size and resized last; those that choose an epoch too."""
    data = {
        "train": {**generated(tmp_path / "voc", "trainval"), "size": [2 * SIDE, 2 * SIDE]},
        "heldout": 3,
        "augments": [{"type": "BoxFlip"}, {"type": "BoxResize", "size": [SIDE, SIDE]}],
    }
    content = base(tmp_path / "voc", data=data, select={"batch_size": 2})
    config = load_config(write_config(tmp_path / "std.py", content))
    whole = build_dataset(plain_dict(config.data.train))
    rest, selection = build_selection(config, whole)
    held = selection.dataset.__getitems__([0, 1, 2])
    learner = build_learner(config, seed=0)
    learnt = learner.augmented(rest.__getitems__([0]))
    assert held["inputs"].shape[2:] == learnt["inputs"].shape[2:] == (SIDE, SIDE)
    assert rest.__getitems__([0])["inputs"].shape[2:] == (2 * SIDE, 2 * SIDE)
    for index, annotation in zip(held["index"].tolist(), held["data_samples"]):
        large = whole.annotations[index]
        assert torch.equal(annotation.boxes, large.boxes) and annotation.shape == (SIDE, SIDE)
        torch.testing.assert_close(annotation.resized_boxes, large.resized_boxes / 2)
    assert 0 <= selection(learner.task)["clean"] <= 100
    assert selection.dataset.fingerprint() != whole.fingerprint() and len(selection.dataset) == 3


# ------------------------------------------------------------------------------------------------ terms


def test_terms_that_compare_views_row_by_row_refuse_a_detector(models: dict[Any, DetectionTask]) -> None:
    """SSD has as many rows on each view, three negatives for each positive, but of other priors."""
    task, batch = models[ssd], square_batch()
    x = task.pixels(batch)
    moved = (x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    with torch.no_grad():
        outputs = {name: task(batch, pixels) for name, pixels in (("clean", x), ("prior", x), ("adv", moved))}
    assert len(outputs["prior"].logits) == len(outputs["adv"].logits)
    assert not torch.equal(outputs["prior"].rows[1], outputs["adv"].rows[1])
    views = [View(name, x, output) for name, output in outputs.items()]
    for term in (PriorConsistency(), ARD(), KD(), TRADES()):
        entries = {**batch, TEACHER: torch.zeros_like(outputs["adv"].logits)}
        refused(ConfigError, lambda term=term, entries=entries: term(views, entries), type(term).__name__)


# ------------------------------------------------------------------------------------------------ sampling


def watched(task: DetectionTask) -> tuple[list[Tensor], list[Tensor]]:
    """What a two-stage detector samples from now on: boxes at each reading, and sets of the first stage's priors."""
    looks: list[Tensor] = []
    drawn: list[Tensor] = []
    read, sampler = task.read, task.net.rpn_head.sampler
    sample = sampler.sample

    def reading(raw: Any, batch: Batch, *, rows: Any = None) -> Any:
        output = read(raw, batch, rows=rows)
        looks.append(output.rows[1].detach().clone())
        return output

    def sampling(*args: Any, **kwargs: Any) -> Any:
        found = sample(*args, **kwargs)
        drawn.append(torch.cat([found.pos_inds, found.neg_inds]).sort().values)
        return found

    task.read, sampler.sample = reading, sampling
    return looks, drawn


@pytest.mark.parametrize("step_size", [0.0, 2 / 255], ids=["still", "moving"])
def test_epochs_sample_anew_and_the_steps_of_an_attack_do_not(step_size: float) -> None:
    # In eval mode throughout, or the statistics of batch norm would move the proposals, too.
    task, batch = detector(faster()).eval(), square_batch()
    attack = {"type": "PGD", "threat": THREAT, "steps": 3, "step_size": step_size, "random_start": False}
    method = {"type": "Adversarial", "attack": {**attack, "objective": {"type": "ImageLoss"}}}
    learner = Learner(task, METHODS.build(method)).eval()
    looks, drawn = watched(task)
    found = []
    for epoch in (0, 1, 0):
        looks.clear()
        drawn.clear()
        learner.epoch = epoch
        learner(**square_batch(), mode="loss")  # other tensors with the same content, as a loader gives them
        firsts = [torch.cat(drawn[i : i + 3]) for i in range(0, len(drawn), 3)]  # of three images at once
        assert firsts and all(torch.equal(first, firsts[0]) for first in firsts)
        assert len(looks) == 4  # three steps, and the training on what they found
        assert all(torch.equal(boxes, looks[0]) for boxes in looks) == (step_size == 0)
        found.append([firsts[0], *looks])
    for now, later, again in zip(*found):
        assert torch.equal(now, again) and not torch.equal(now, later)
    looks.clear()
    build_attack(method["attack"]).judge(task, batch)  # an evaluation has no epochs and no run: the first's draws
    assert torch.equal(looks[0], found[0][1])


# ------------------------------------------------------------------------------------------------ objectives


@pytest.mark.parametrize("family", [ssd, faster])
def test_cross_entropy_climbs_the_classification_loss(models: dict[Any, DetectionTask], family: Callable) -> None:
    task, batch = models[family], square_batch()
    x, output = task.pixels(batch), task(batch)
    score = CrossEntropy()(output, batch, x=x)
    rows = torch.stack([(output.image == i).sum() for i in range(3)])
    objects = torch.stack([((output.image == i) & (output.labels < CLASSES)).sum() for i in range(3)])
    # The same up to the normaliser of an image's own: its positives for SSD, all samples for Faster R-CNN.
    own = (objects if family is ssd else rows).clamp_min(1)
    torch.testing.assert_close(score / own, output.image_losses["loss_cls"], rtol=1e-4, atol=1e-5)
    attack = build_attack({"type": "PGD", "steps": 3, "random_start": False}, threat=THREAT)
    after = ImageLoss("loss_cls")(task(batch, attack(task, batch)), batch, x=x)
    attacked = rows > 0  # without an object, SSD has no rows
    assert (after > output.image_losses["loss_cls"])[attacked].all()
    assert attacked.tolist() == [True, family is faster, True]


@pytest.mark.parametrize("family", [ssd, faster])
def test_margins_are_summed_over_an_images_rows(models: dict[Any, DetectionTask], family: Callable) -> None:
    output = models[family](square_batch())
    margins, ratios = torch.zeros(3), torch.zeros(3)
    for logits, label, image in zip(output.logits.detach(), output.labels, output.image):
        others = torch.cat([logits[:label], logits[label + 1 :]])  # background is one of the classes
        gap, top = logits[label] - others.max(), logits.sort(descending=True).values
        margins[image] -= gap
        ratios[image] -= gap / (top[0] - top[2])
    for objective, expected in ((Margin(), margins), (DLR(), ratios)):
        torch.testing.assert_close(objective(output, {}, x=output.logits), expected, rtol=1e-4, atol=1e-3)


@FAMILIES
def test_the_adaptive_attack_compares_the_targets_rows(models: dict[Any, DetectionTask], family: Callable) -> None:
    task, other, batch = models[family], detector(family(), seed=1), square_batch()
    x, output = task.pixels(batch), task(batch)
    objective = Adaptive(Adversary([other]), 0.5, temperature=2.0)
    objective.prepare(task, batch, x=x)
    logits = other.read(other.network(x, batch), batch, rows=output.rows).logits
    ours, theirs = (value.double() / 2 for value in (output.logits, logits))
    if family is retina:  # one Bernoulli a class
        pairs = [(ours.sigmoid(), theirs.sigmoid()), ((-ours).sigmoid(), (-theirs).sigmoid())]
        divergence = sum((p * (p / q).log()).sum(1) for p, q in pairs)
    else:
        p, q = ours.softmax(1), theirs.softmax(1)
        divergence = (p * (p / q).log()).sum(1)
    expected = CrossEntropy()(output, batch, x=x).double()
    expected = expected.index_add(0, output.image, -0.5 * 4 * divergence)  # the sign of Eq. 14
    torch.testing.assert_close(objective(output, batch, x=x).double(), expected, rtol=1e-4, atol=1e-4)
    attack = build_attack({"type": "PGD", "steps": 2, "objective": objective}, threat=THREAT)
    x_adv = attack(task, batch)
    before, after = (objective(task(batch, pixels), batch, x=pixels) for pixels in (x, x_adv))
    assert (after > before)[[0, 2]].all()
    assert all(parameter.grad is None for model in (task, other) for parameter in model.parameters())


@FAMILIES
def test_objectives_and_attacks_on_whole_images_are_refused(models: dict[Any, DetectionTask], family: Callable) -> None:
    task, batch = models[family], square_batch()
    for name in ("KL",) if family is not retina else ("KL", "Margin", "DLR"):
        attack = build_attack({"type": "PGD", "steps": 1, "objective": {"type": name}}, threat=THREAT)
        parts = ["got a 'sigmoid' head"] if family is retina else ["DetectionTask", "ImageLoss or CrossEntropy"]
        for run in (attack, attack.judge):
            refused(ConfigError, lambda run=run: run(task, batch), name, *parts)
    for name in ("AutoAttack", "APGD", "Square"):
        attack = build_attack({"type": name}, threat=THREAT)
        for run in (attack, attack.judge):
            refused(ConfigError, lambda run=run: run(task, batch), "class of a whole image", "DetectionTask", "PGD")


def nasty_step(objective: dict[str, Any]) -> dict[str, Tensor]:
    """One step of NAT against an inner attack on some objective."""
    task = detector(ssd()).train()
    attack = {"type": "PGD", "threat": THREAT, "steps": 2, "step_size": 4 / 255, "objective": objective}
    method = METHODS.build(mtd_nat(Adversary([detector(ssd(), seed=1)]), attack=attack))
    method.prepare(task, CPU)
    scalars = Learner(task, method, seed=0)(**square_batch(), mode="loss")
    sum(value for name, value in scalars.items() if "loss" in name).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in task.parameters())
    return scalars


def test_nat_trains_on_attacks_of_the_classes_of_rows_and_refuses_those_of_whole_images() -> None:
    for name in ("CrossEntropy", "Margin", "DLR"):
        scalars = nasty_step({"type": name})
        assert scalars["loss_nasty"] < 0 and scalars["total_adv"] > scalars["total_clean"]
    refused(ConfigError, lambda: nasty_step({"type": "KL"}), "KL", "ImageLoss or CrossEntropy")


# ------------------------------------------------------------------------------------------------ weights to start from


def test_vggs_weights_do_without_the_layers_that_ssd_adds(tmp_path: Path) -> None:
    model = ssd()
    model["backbone"] = dict(type="SSDVGG", depth=11, with_last_pool=False, ceil_mode=True, out_indices=(3, 4))
    model["backbone"].update(out_feature_indices=(14, 24), init_cfg=None)
    model["neck"].update(in_channels=(512, 1024), out_channels=(512, 1024, 64))
    model["bbox_head"]["in_channels"] = (512, 1024, 64)
    task = DetectionTask(model, CLASSES)
    backbone, path = task.net.backbone, tmp_path / "vgg.pth"
    added = {"features.21.weight", "features.21.bias", "features.23.weight", "features.23.bias"}
    assert added <= backbone.state_dict().keys()
    # As torchvision's and the original VGG have them: convolutions, and fully connected layers that are not asked for.
    vgg = {key: torch.full_like(value, 0.5) for key, value in backbone.state_dict().items() if key not in added}
    torch.save({**vgg, "classifier.0.weight": torch.zeros(2, 3)}, path)
    started = TASKS.build({"type": "DetectionTask", "num_classes": CLASSES, "model": model, "checkpoint": path})
    for key, value in started.net.backbone.state_dict().items():
        assert value.eq(0.5).all() != (key in added), key
    torch.save({key: vgg[key] for key in list(vgg)[2:]}, path)
    refused(UserError, lambda: DetectionTask(model, CLASSES, checkpoint=path), "2 keys missing", "features.0.bias")
