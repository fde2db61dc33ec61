"""FNA, SMA and IFGSM against loops of a few lines, on a linear embedding and on a small network."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from natx.attacks import PGD, Universal
from natx.data import Part
from natx.errors import ConfigError
from natx.evaluation import evaluate_set
from natx.task import Output, Task
from natx.threat import Linf
from tasks.reid.metrics import Retrieval
from tasks.reid.objectives import FNA, IFGSM, SMA, TMA

EPS, STEP, STEPS = 8 / 255, 1 / 255, 5
# Two people with two and three queries, one with a single query; the gallery has everybody.
IDS = torch.tensor([3, 3, 5, 5, 5, 9, 3, 5, 9, 9])
QUERIES, GALLERY = torch.arange(6), torch.arange(6, 10)


class Embedding(Task):
    """A small network from pixels to embeddings in float64, with a class layer."""

    def __init__(self, linear: bool = False) -> None:
        super().__init__()
        self.num_classes = 4
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            body = [nn.Flatten(), nn.Linear(24, 7)]
            self.net = nn.Sequential(*body) if linear else nn.Sequential(*body, nn.Tanh(), nn.Linear(7, 5))
            self.net.double()

    @property
    def upstream(self) -> nn.Module:
        return self.net

    def pixels(self, batch: dict[str, Any]) -> Tensor:
        return batch["inputs"]

    def network(self, x: Tensor, batch: dict[str, Any]) -> Tensor:
        return self.net(x)

    def read(self, raw: Tensor, batch: dict[str, Any], *, rows: Any = None) -> Output:
        n = len(raw)
        return Output({}, raw[:, :4], batch.get("data_samples"), torch.arange(n), raw.new_ones(n), n, features=raw)

    @torch.no_grad()
    def predict(self, batch: dict[str, Any]) -> Tensor:
        return self.net(batch["inputs"])


class Set:
    """Ten images of three people."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(1)
        # Away from 0 and 1, so that only the ball limits an attack.
        self.images = torch.rand(10, 2, 3, 4, generator=generator, dtype=torch.float64) * 0.8 + 0.1
        self.labels, self.probes, self.gallery, self.attacked = IDS, QUERIES, GALLERY, QUERIES
        self.queries, self.cameras = QUERIES, torch.tensor([0, 1, 0, 1, 0, 0, 2, 2, 2, 3])

    def __len__(self) -> int:
        return 10

    def __getitems__(self, positions: Any) -> dict[str, Tensor]:
        index = torch.as_tensor(positions)
        return {"inputs": self.images[index], "index": index}


def unit(features: Tensor) -> Tensor:
    return features / features.norm(dim=-1, keepdim=True)


def ascend(net: nn.Module, x: Tensor, score: Any, *, start: Tensor | None = None) -> Tensor:
    """Signed steps on one image, by the book."""
    x_adv = (x if start is None else start).clone()
    for _ in range(STEPS):
        x_adv.requires_grad_()
        (grad,) = torch.autograd.grad(score(net(x_adv[None])[0]), x_adv)
        x_adv = (x_adv.detach() + STEP * grad.sign()).clamp(x - EPS, x + EPS).clamp(0, 1)
    return x_adv


def attack(objective: Any, data: Set, task: Embedding, **kwargs: Any) -> tuple[Tensor, list[str]]:
    built = PGD(Linf(EPS), STEPS, step_size=STEP, objective=objective, random_start=False, **kwargs)
    with torch.no_grad():
        notes = built.observe(data, task.net(data.images))
    targets = built.images_of(data)
    return built(task, data.__getitems__(QUERIES if targets is None else targets)), notes


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("guides", ["query", "gallery"])
def test_ifgsm_pushes_from_every_guide_of_the_person(guides: str, normalise: bool) -> None:
    data, task = Set(), Embedding()
    x_adv, _ = attack(IFGSM(guides=guides, normalise=normalise), data, task)
    scale = unit if normalise else (lambda f: f)
    clean = scale(task.net(data.images).detach())
    for q in QUERIES:
        pool = [g for g in (QUERIES if guides == "query" else GALLERY) if IDS[g] == IDS[q]]
        guide_set = clean[torch.stack(pool)]
        expected = ascend(task.net, data.images[q], lambda f, g=guide_set: (scale(f) - g).square().sum())
        if len(pool) > 1 or guides == "gallery":
            torch.testing.assert_close(x_adv[q], expected, rtol=0, atol=1e-12)
        else:
            assert torch.equal(x_adv[q], data.images[q])  # its own clean embedding is its only guide


@pytest.mark.parametrize("normalise", [False, True])
def test_fna_also_pulls_to_the_mean_of_the_furthest_other_person(normalise: bool) -> None:
    data, task = Set(), Embedding()
    x_adv, notes = attack(FNA(normalise=normalise), data, task)
    scale = unit if normalise else (lambda f: f)
    clean = scale(task.net(data.images).detach())
    means = {int(i): clean[QUERIES][IDS[QUERIES] == i].mean(0) for i in IDS.unique()}
    for q in QUERIES:
        far = max((i for i in means if i != IDS[q]), key=lambda i: (clean[q] - means[i]).norm())

        def score(f: Tensor, q: int = q, far: int = far) -> Tensor:
            push = sum((scale(f) - clean[g]).square().sum() for g in QUERIES if IDS[g] == IDS[q])
            return push - (scale(f) - means[far]).square().sum()

        torch.testing.assert_close(x_adv[q], ascend(task.net, data.images[q], score), rtol=0, atol=1e-12)
        assert (x_adv[q] - data.images[q]).abs().max() > 0  # a single query is pulled all the same
    assert notes == []


# --- one perturbation for all -----------------------------------------------------------------------------------------


class Training(Set):
    """Nine images of three people to fit on, with their classes and neither queries nor gallery."""

    def __init__(self) -> None:
        super().__init__()
        self.images, self.labels = self.images.flip(0)[:9], IDS[:9]
        del self.probes, self.gallery, self.attacked, self.queries

    def __len__(self) -> int:
        return 9

    def __getitems__(self, positions: Any) -> dict[str, Tensor]:
        batch = super().__getitems__(positions)
        return {**batch, "data_samples": self.labels[batch["index"]]}


OTHERS = [8, 1, 2, 6, 4, 0, 7]  # images of the fit: some of the training set, in an order of their own


@pytest.mark.parametrize("kind", ["IFGSM", "FNA", "TMA", "IFGSM of the batch"])
def test_a_universal_perturbation_is_fitted_with_the_guides_of_the_images_of_the_fit(kind: str) -> None:
    train, judged, task = Training(), Set(), Embedding()
    objective = {
        "IFGSM": IFGSM(guides="all", normalise=True),
        "FNA": FNA(guides="all", normalise=True),
        "TMA": TMA(guides="all", normalise=True),
        "IFGSM of the batch": IFGSM(guides="batch", normalise=True),
    }[kind]
    built = Universal(
        Linf(EPS), Part(train, OTHERS), epochs=2, batch_size=3, step_size=2 * STEP, objective=objective, seed=4
    )
    attacked = built.judge(task, judged.__getitems__(QUERIES)).x_adv

    clean = {i: unit(task.net(train.images[i][None])[0].detach()) for i in OTHERS}
    person = {i: int(IDS[i]) for i in OTHERS}
    delta, generator = torch.zeros(2, 3, 4, dtype=torch.float64), torch.Generator().manual_seed(4)
    for _ in range(2):
        for part in torch.randperm(len(OTHERS), generator=generator).split(3):
            batch = [OTHERS[i] for i in part.tolist()]
            guides = batch if kind.endswith("batch") else OTHERS
            means = {
                p: torch.stack([clean[g] for g in guides if person[g] == p]).mean(0)
                for p in person.values()
                if p in [person[g] for g in guides]
            }
            total = torch.zeros_like(delta)
            for i in batch:
                x = (train.images[i] + delta).clamp(0, 1).requires_grad_()
                f, own = unit(task.net(x[None])[0]), [clean[g] for g in guides if person[g] == person[i]]
                others = {p: float((clean[i] - mean).norm()) for p, mean in means.items() if p != person[i]}
                push = sum((f - g).square().sum() for g in own)
                score = {
                    "FNA": lambda f=f, push=push, o=others, m=means: push - (f - m[max(o, key=o.get)]).square().sum(),
                    "TMA": lambda f=f, push=push, o=others, m=means: -(f - m[min(o, key=o.get)]).square().sum(),
                }.get(kind, lambda push=push: push)()
                total += torch.autograd.grad(score, x)[0]
            delta = (delta + 2 * STEP * total.sign()).clamp(-EPS, EPS)
    assert delta.abs().max() > STEP
    torch.testing.assert_close(attacked, (judged.images[QUERIES] + delta).clamp(0, 1), rtol=0, atol=1e-12)


def test_a_universal_perturbation_away_from_the_images_themselves_begins_at_random() -> None:
    """The gradient of SMA is zero at the clean image, and would be at every step."""
    train, judged, task = Training(), Set(), Embedding()
    built = Universal(Linf(EPS), train, epochs=3, batch_size=9, step_size=STEP, objective=SMA(), seed=2)
    attacked = built.judge(task, judged.__getitems__(QUERIES))
    delta = attacked.x_adv - judged.images[QUERIES]
    torch.testing.assert_close(delta, delta[:1].expand_as(delta), rtol=0, atol=1e-12)
    start = Universal(Linf(EPS), train, epochs=1, batch_size=9, step_size=1e-12, objective=SMA(), seed=2)
    first = (start.judge(task, judged.__getitems__(QUERIES)).x_adv - judged.images[QUERIES])[0]
    assert 0.5 * EPS < first.abs().max() <= EPS and first.unique().numel() == first.numel()
    clean, own = task.net(train.images).detach(), first
    for _ in range(3):
        x = (train.images + own).clamp(0, 1).requires_grad_()
        (grad,) = torch.autograd.grad((task.net(x) - clean).square().sum(), x)
        own = (own + STEP * grad.sum(0).sign()).clamp(-EPS, EPS)
    torch.testing.assert_close(delta[0], own, rtol=0, atol=1e-9)
    assert (attacked.cost.forwards, attacked.cost.backwards) == (3 * 2 * 9, 3 * 9)


@pytest.mark.parametrize("side", ["query", "gallery", "both"])
@pytest.mark.parametrize("objective", [IFGSM, SMA])
def test_a_universal_perturbation_is_laid_on_the_images_of_its_side(objective: Any, side: Any) -> None:
    data, task = Set(), Embedding()
    guides = {} if objective is SMA else {"guides": "all"}
    built = Universal(Linf(EPS), Training(), epochs=1, batch_size=4, objective=objective(side=side, **guides))
    evaluation = evaluate_set(task, data, [built], metric=Retrieval(), batch_size=3)
    assert evaluation.attacks[1].cost.forwards > 0
    count = {"query": 6, "gallery": 4, "both": 10}[side]
    assert len(built.images_of(data) or QUERIES) == count
    notes = evaluation.attacks[1].notes
    assert notes[-1] == "Universal is one perturbation for all images, fitted on 9 of Training in 1 pass"
    assert len(notes) == (1 if side == "query" else 2)  # which images are attacked


def test_a_universal_perturbation_has_no_guides_among_the_judged_queries() -> None:
    with pytest.raises(ConfigError, match="a training set has guides='all'"):
        Universal(Linf(EPS), Training(), objective=FNA()).judge(Embedding(), Set().__getitems__(QUERIES))


# --- the gallery, and both sides --------------------------------------------------------------------------------------


def test_ama_attacks_the_gallery_images_of_the_people_who_are_searched_for() -> None:
    """Bai et al.: each is pushed from the clean features, of length 1, of every query image of its person."""
    data, task = Set(), Embedding()
    data.labels = IDS.clone()
    data.labels[9] = 0  # a distractor stays clean
    x_adv, notes = attack(IFGSM(normalise=True, side="gallery"), data, task)
    clean = unit(task.net(data.images).detach())
    assert len(x_adv) == 3
    for row, g in enumerate((6, 7, 8)):
        queries = clean[torch.stack([q for q in QUERIES if IDS[q] == IDS[g]])]
        expected = ascend(task.net, data.images[g], lambda f, queries=queries: (unit(f) - queries).square().sum())
        torch.testing.assert_close(x_adv[row], expected, rtol=0, atol=1e-12)
    assert notes == ["3 gallery images of the queries' people are attacked, the queries are clean"]


def test_a_subset_of_queries_attacks_their_gallery_images_and_keeps_its_guides() -> None:
    data = Set()
    data.queries = torch.tensor([2, 5])  # identities 5 and 9; all six query images still guide
    assert IFGSM(side="gallery").images_of(data) == [7, 8, 9]
    assert FNA(side="both").images_of(data) == [2, 5, 7, 8, 9] and SMA().images_of(data) is None
    assert SMA(side="both").scope(data) == ["2 queries and 3 gallery images of their people are attacked"]


@pytest.mark.parametrize("target", ["nearest", "furthest"])
def test_tma_pulls_to_the_mean_of_another_person(target: Any) -> None:
    data, task = Set(), Embedding()
    x_adv, _ = attack(TMA(normalise=True, guides="all", side="both", target=target), data, task)
    clean = unit(task.net(data.images).detach())
    means = {int(i): clean[i == IDS].mean(0) for i in IDS.unique()}
    choose = min if target == "nearest" else max
    for row, at in enumerate([*QUERIES.tolist(), *GALLERY.tolist()]):
        others = [i for i in means if i != IDS[at]]
        aim = means[choose(others, key=lambda i: (clean[at] - means[i]).norm())]
        expected = ascend(task.net, data.images[at], lambda f, aim=aim: -(unit(f) - aim).square().sum())
        torch.testing.assert_close(x_adv[row], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("side", ["query", "gallery", "both"])
def test_an_evaluation_changes_the_images_of_the_side_alone(side: Any) -> None:
    data, task = Set(), Embedding()
    seen: list[Tensor] = []

    class Recording(Retrieval):
        def __call__(self, predictions: Tensor, dataset: Any) -> dict[str, float]:
            seen.append(predictions)
            return super().__call__(predictions, dataset)

    built = PGD(Linf(EPS), STEPS, step_size=STEP, objective=IFGSM(guides="all", side=side), random_start=False)
    evaluation = evaluate_set(task, data, [built], metric=Recording(), batch_size=3)
    moved = (seen[0] != seen[1]).any(1).nonzero().flatten().tolist()
    assert moved == {"query": [*range(6)], "gallery": [*range(6, 10)], "both": [*range(10)]}[side]
    clean, attacked = (torch.stack(pixels) for _, pixels in evaluation.examples.columns.values())
    assert torch.equal(clean, attacked) == (side == "gallery")  # the pictures show queries
    assert evaluation.attacks[1].settings.get("side", "query") == side


@pytest.mark.parametrize("kind", [IFGSM, FNA, TMA, SMA])
def test_unknown_sides_and_sets_without_sides_are_refused(kind: Any) -> None:
    with pytest.raises(ConfigError, match="'query', 'gallery' or 'both'; got 'left'"):
        kind(side="left")
    with pytest.raises(ConfigError, match="needs a test set with queries and gallery"):
        kind(side="both").images_of(object())


@pytest.mark.parametrize("kind", [IFGSM, FNA])
def test_guides_of_a_batch_judge_nothing(kind: Any) -> None:
    """Test images have no classes from which a batch could tell who is who."""
    with pytest.raises(ConfigError, match="guides='batch' is for training.*judge with guides='query'") as error:
        attack(kind(guides="batch"), Set(), Embedding())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("normalise", [False, True])
def test_sma_moves_from_the_clean_embedding_from_a_random_start(normalise: bool) -> None:
    data, task = Set(), Embedding()
    built = PGD(Linf(EPS), STEPS, step_size=STEP, objective=SMA(normalise=normalise), seed=3)
    assert built.observe(data, None) == []
    batch = data.__getitems__(QUERIES)
    x_adv = built(task, batch)
    start = PGD(Linf(EPS), 1, step_size=0.0, objective=SMA(), seed=3)(task, batch)  # a step of 0 shows the start
    assert (start - data.images[QUERIES]).abs().max() > 0.9 * EPS
    scale = unit if normalise else (lambda f: f)
    for q in QUERIES:
        own = scale(task.net(data.images[q][None])[0].detach())
        expected = ascend(task.net, data.images[q], lambda f, own=own: (scale(f) - own).square().sum(), start=start[q])
        torch.testing.assert_close(x_adv[q], expected, rtol=0, atol=1e-12)


def test_sma_without_a_random_start_is_refused() -> None:
    with pytest.raises(ConfigError, match="random_start=True"):
        PGD(Linf(EPS), STEPS, objective=SMA(), random_start=False)


@pytest.mark.parametrize("objective", [IFGSM(), IFGSM(guides="gallery"), FNA(), FNA(guides="all", normalise=True)])
def test_every_attack_stays_in_the_ball_and_leaves_the_model_alone(objective: Any) -> None:
    data, task = Set(), Embedding()
    task.train()
    before = [p.clone() for p in task.parameters()]
    x_adv, _ = attack(objective, data, task)
    assert (x_adv - data.images[QUERIES]).abs().max() <= EPS + 1e-12
    assert x_adv.min() >= 0 and x_adv.max() <= 1
    assert task.training and all(p.requires_grad and p.grad is None for p in task.parameters())
    assert all(torch.equal(p, q) for p, q in zip(task.parameters(), before))


@pytest.mark.parametrize("objective", [IFGSM(), FNA(), SMA()])
def test_an_image_is_attacked_alike_in_any_batch(objective: Any) -> None:
    data, task = Set(), Embedding()
    built = PGD(Linf(EPS), STEPS, step_size=STEP, objective=objective, random_start=isinstance(objective, SMA))
    built.observe(data, task.predict({"inputs": data.images}))
    whole = built(task, data.__getitems__(QUERIES))
    parts = torch.cat([built(task, data.__getitems__(block)) for block in ([0], [1, 2, 3], [4, 5])])
    torch.testing.assert_close(whole, parts, rtol=0, atol=1e-12)


class Rounding(Embedding):
    """As on a processor whose kernels round differently for batches of another size."""

    def network(self, x: Tensor, batch: dict[str, Any]) -> Tensor:
        return super().network(x, batch) * (1 + 1e-15 * len(x))


@pytest.mark.parametrize("guides", ["query", "all"])
def test_rounding_does_not_move_an_image_that_is_its_only_guide(guides: str) -> None:
    """The clean embedding comes from a batch of ten, the first gradient from six: their difference is noise."""
    data, task = Set(), Rounding()
    data.labels = torch.arange(10)  # ten people with one image each
    built = PGD(Linf(EPS), STEPS, step_size=STEP, objective=IFGSM(guides=guides), random_start=False)
    (note,) = built.observe(data, task.network(data.images, {}).detach())
    assert note.startswith("6 of 6 attacked images")
    assert torch.equal(built(task, data.__getitems__(QUERIES)), data.images[QUERIES])
    moved = PGD(Linf(EPS), STEPS, step_size=STEP, objective=IFGSM(guides=guides), random_start=True)
    moved.observe(data, task.network(data.images, {}).detach())
    start = PGD(Linf(EPS), 1, step_size=0.0, objective=SMA())(task, data.__getitems__(QUERIES))
    assert (moved(task, data.__getitems__(QUERIES)) - start).abs().max() > STEP  # away from itself, there is a gradient


def test_linear_embedding_has_a_closed_form() -> None:
    """One guide on a line: the gradient of ``|w x - g|^2`` keeps its sign, so x moves by eps * sign."""
    data, task = Set(), Embedding(linear=True)
    weight = task.net[1].weight.data
    weight[1:] = 0  # only the first coordinate carries anything
    x_adv, _ = attack(IFGSM(guides="gallery"), data, task, bn_mode="eval")
    clean = task.net(data.images).detach()[:, 0]
    for q in QUERIES:
        guide = clean[torch.stack([g for g in GALLERY if IDS[g] == IDS[q]])].mean()
        direction = (clean[q] - guide).sign() * weight[0].sign().view(2, 3, 4)
        torch.testing.assert_close(x_adv[q], data.images[q] + STEPS * STEP * direction, rtol=0, atol=1e-9)


def test_a_single_query_is_reported_and_named_with_the_remedy() -> None:
    _, notes = attack(IFGSM(), Set(), Embedding())
    assert notes == [
        "1 of 6 attacked images have no guide of their identity but themselves: IFGSM leaves them unchanged "
        "(guides='gallery' has others)"
    ]
    assert attack(IFGSM(guides="gallery"), Set(), Embedding())[1] == []


def test_an_identity_without_gallery_images_is_reported() -> None:
    data = Set()
    data.gallery = torch.tensor([6, 7])  # nobody with identity 9
    x_adv, notes = attack(IFGSM(guides="gallery"), data, Embedding())
    assert notes and notes[0].startswith("1 of 6 attacked images")
    assert torch.isfinite(x_adv).all()


def test_guides_of_a_batch_are_the_images_of_the_same_person_in_it() -> None:
    data, task = Set(), Embedding()
    task.train()
    batch = {**data.__getitems__(torch.arange(10)), "data_samples": IDS}
    built = PGD(Linf(EPS), STEPS, step_size=STEP, objective=IFGSM(guides="batch"), random_start=False)
    x_adv, clean = built(task, batch), task.net(data.images).detach()
    for i in range(10):
        pool = clean[[g for g in range(10) if IDS[g] == IDS[i]]]
        expected = ascend(task.net, data.images[i], lambda f, pool=pool: (f - pool).square().sum())
        torch.testing.assert_close(x_adv[i], expected, rtol=0, atol=1e-12)
    assert built.cost_per_image() == (STEPS + 1, STEPS)


def test_guides_of_a_set_are_needed_before_the_attack() -> None:
    data, task = Set(), Embedding()
    built = PGD(Linf(EPS), 1, objective=IFGSM(), random_start=False)
    with pytest.raises(ConfigError, match="train with 'batch'"):
        built(task, data.__getitems__(QUERIES))
    del data.probes
    with pytest.raises(ConfigError, match="a training set has guides='all'"):
        built.observe(data, task.predict({"inputs": data.images}))


def test_one_person_alone_has_nobody_to_be_pulled_to() -> None:
    data = Set()
    data.labels = torch.full((10,), 3)
    with pytest.raises(ConfigError, match="other identity"):
        attack(FNA(), data, Embedding())


@pytest.mark.parametrize("kind", [IFGSM, FNA])
def test_unknown_guides_are_refused(kind: type) -> None:
    with pytest.raises(ConfigError, match="'query', 'gallery', 'all' or 'batch'"):
        kind(guides="probe")


def test_reports_name_guides_and_distance() -> None:
    described = PGD(Linf(EPS), objective=FNA(guides="gallery", normalise=True)).describe()
    assert (described["objective"], described["guides"], described["normalise"]) == ("FNA", "gallery", True)


def test_class_objectives_refuse_images_of_no_class() -> None:
    with pytest.raises(ConfigError, match="objective of the task"):
        PGD(Linf(EPS), 1)(Embedding(), Set().__getitems__(QUERIES))


def test_images_of_another_set_keep_its_index() -> None:
    """Held-out images carry their index in the training set; guides are found all the same."""

    class HeldOut(Set):
        def __init__(self) -> None:
            super().__init__()
            self.index = torch.arange(10) * 7 + 100

        def __getitems__(self, positions: Any) -> dict[str, Tensor]:
            return {**super().__getitems__(positions), "index": self.index[torch.as_tensor(positions)]}

    plain, task = attack(FNA(), Set(), Embedding())[0], Embedding()
    assert torch.equal(attack(FNA(), HeldOut(), task)[0], plain)


@pytest.mark.parametrize("guides", ["gallery", "all"])
@pytest.mark.parametrize("objective", [TMA, FNA])
def test_distractors_are_nobody_to_pull_to(objective: Any, guides: Any) -> None:
    """The mean of two, of nobody in particular, would be the nearest here, or the furthest."""
    data, choose = Set(), min if objective is TMA else max
    data.labels, data.distractor = IDS.clone(), 0
    data.labels[8:] = 0
    clean = torch.randn(10, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    clean += 10 * torch.eye(7, dtype=torch.float64)[IDS // 2 - 1]  # each person has an axis
    clean[8:] = clean[:8].mean(0) + torch.tensor([[5.0], [-5.0]] if objective is TMA else [[50.0], [50.0]])
    attack = objective(guides=guides)
    attack.observe(data, clean)
    pulls = attack.prepare(Embedding(), data.__getitems__(range(5)), x=data.images[:5])["pull"]
    guiding = range(6, 10) if guides == "gallery" else range(10)
    everybody = {
        int(i): clean[[row for row in guiding if data.labels[row] == i]] for i in data.labels[guiding].unique()
    }
    for at in range(5):
        means = {i: rows.mean(0) for i, rows in everybody.items() if i != data.labels[at]}
        ordered = sorted(means, key=lambda i, at=at, means=means: float((clean[at] - means[i]).norm()))
        assert choose(ordered, key=ordered.index) == 0  # were they one person
        people = [i for i in ordered if i != 0]
        torch.testing.assert_close(pulls[at], means[choose(people, key=people.index)], rtol=0, atol=1e-12)
