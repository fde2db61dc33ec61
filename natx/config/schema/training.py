"""What a training config may say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import mmengine.dataset  # noqa: F401  registers its samplers
import mmengine.optim  # noqa: F401  registers optimisers, wrappers and schedules
import mmengine.visualization  # noqa: F401  registers the writers of logs
from mmengine.registry import OPTIM_WRAPPERS, OPTIMIZERS, PARAM_SCHEDULERS, VISBACKENDS
from pydantic import Field, model_validator

from natx.config.schema.built import PARTS, Built
from natx.config.schema.parts import Attack, FrozenModel, Method, OptionalAttack, Task, Threat
from natx.config.schema.section import Keys, Section, entry
from natx.registry import AUGMENTS, DATASETS, METRICS, SAMPLERS

Dataset = Annotated[Any, Built(DATASETS)]


SEEDS = 2**32  # how many numpy's generator takes


class Imports(Section):
    """`custom_imports`: modules that register the classes which the config names (mmengine)."""

    imports: str | Sequence[str] = entry("`['tasks.cls']`, `['tasks.reid']`, `['tasks.det']`, and modules of your own")
    allow_failed_imports: bool = entry("go on where one cannot be imported", default=False)


class Copies(Section):
    """`data.copies`: adversarial copies of the training images, made once before training (offline AMD)."""

    source: FrozenModel = entry("the one model that they are made on")
    attack: Attack = entry("the attack; it must stay in whole 1/255")


class Data(Section):
    """`data`: images and how they are shown."""

    train: Dataset = entry("the training set; keys besides `type` are the class's arguments")
    test: Dataset = entry("the test set; needed for judging and for `protocol='paper'`", default=None)
    batch_size: int = entry("images a step and process", gt=0)
    num_workers: int = entry("loading processes", default=0, ge=0)
    on_device: bool = entry("keep the training images on the device: for sets of up to 4 GB", default=False)
    heldout: int = entry(
        "training images set aside to choose the best epoch by (whole identities where the data set has those); "
        "0: train on all, and keep the last epoch",
        default=0,
        ge=0,
    )
    augments: Annotated[Any, Built(AUGMENTS, several=True)] = entry("what is done to each training batch", default=())
    sampler: Annotated[Any, Built(SAMPLERS, supplied=("dataset", "batch_size", "seed"), optional=True)] = entry(
        "the order of the training images; shuffled where absent", default=None
    )
    generated: Dataset = entry("a further training set of generated images; with `MixedSampler`", default=None)
    copies: Copies | None = entry("adversarial copies beside the images", default=None)


class TrainCfg(Section):
    """`train_cfg`: how long."""

    max_epochs: int = entry("epochs", gt=0)


class Paramwise(Section):
    """`optim_wrapper.paramwise_cfg`: multipliers for some of the parameters (mmengine)."""

    custom_keys: dict[str, dict[str, float]] | None = entry("`lr_mult`, `decay_mult` by part of a name", default=None)
    bias_lr_mult: float | None = entry("learning rate of biases", default=None)
    bias_decay_mult: float | None = entry("weight decay of biases", default=None)
    norm_decay_mult: float | None = entry("weight decay of normalisation layers", default=None)
    flat_decay_mult: float | None = entry("weight decay of parameters with one dimension", default=None)
    dwconv_decay_mult: float | None = entry("weight decay of depthwise convolutions", default=None)
    dcn_offset_lr_mult: float | None = entry("learning rate of deformable convolutions' offsets", default=None)
    bypass_duplicate: bool = entry("skip parameters that stand twice", default=False)


NORMS, VALUES = ("max_norm", "norm_type", "error_if_nonfinite"), ("clip_value",)  # of clip_grad, by its type


class ClipGrad(Section):
    """`optim_wrapper.clip_grad`: a bound on the gradient (mmengine, torch.nn.utils)."""

    type: Literal["norm", "value"] = entry("what is bounded", default="norm")
    max_norm: float | None = entry("largest norm", default=None, gt=0)
    norm_type: float | None = entry("which norm", default=None)
    error_if_nonfinite: bool | None = entry("stop at a norm that is not finite", default=None)
    clip_value: float | None = entry("largest value, under `type='value'`", default=None, gt=0)

    @model_validator(mode="after")
    def _fits_its_type(self) -> ClipGrad:
        """Torch's function for either takes its own settings alone, and is first called at the first update."""
        needed, own = {"norm": ("max_norm", NORMS), "value": ("clip_value", VALUES)}[self.type]
        if getattr(self, needed) is None:
            raise ValueError(f"type={self.type!r} needs {needed}")
        if other := sorted(self.model_fields_set - {"type", *own}):
            raise ValueError(f"type={self.type!r} takes {', '.join(own)} and not {', '.join(other)}")
        return self


class Select(Section):
    """`select`: how the best epoch is chosen."""

    attack: OptionalAttack = entry(
        "what decides is the accuracy, or the metric's first value, under it; left out: PGD-10 on the threat that the "
        "method trains against, where it does and images are classified; None: clean",
        default=None,
    )
    every: int = entry("looked at every so many epochs, and at the last", default=1, gt=0)
    batch_size: int = entry("images a step of the attack", default=250, gt=0)


class Ema(Section):
    """`ema`: an average of the weights, judged beside them; the better is kept as best, the average saved as last."""

    decay: float = entry("largest share of the old average in the new one", default=0.995, ge=0, lt=1)
    warmup: float = entry("share of all steps before averaging begins", default=0.025, ge=0, lt=1)


class Guard(Section):
    """`guard`: catastrophic overfitting, looked for after every epoch (FGSM against PGD-10 on held-out images)."""

    gap: float = entry(
        "points by which the accuracy under FGSM may be above that under PGD-10, beyond chance",
        default=20.0,
        gt=0,
        lt=100,
    )
    stronger: Sequence[dict[str, Any]] = entry(
        "overrides of `method` by dotted key, one dict for each time that the training goes back to the last good "
        "epoch and on with them; they add up. None: it tells, and keeps the last good weights as best",
        default=(),
    )


class Start(Section):
    """`start`: weights of another training to begin with."""

    config: str | None = entry("the training config that they come from, which is trained first", default=None)
    options: dict[str, Any] | None = entry("overrides of that config, by dotted key", default=None)
    checkpoint: str | Path | None = entry("the weights themselves", default=None)
    task: Task = entry("the model that they are of, beside `checkpoint`", default=None)
    ema: bool = entry("take the average of the weights that `checkpoint` holds beside them", default=False)
    part: Literal["all", "backbone"] = entry(
        "`'backbone'`: what a classifier has before its class layer, trained on images of its own, starts another task",
        default="all",
    )


# Why networks are not sharded: an attack and a weight perturbation work on the whole network between two steps.
WHOLE = (
    "shards the network (FSDP, DeepSpeed), which natx cannot train: each process has the whole network; leave it out, "
    "shard_optimizer=True shares out the optimiser's memory, a smaller data.batch_size bounds the activations"
)
# The learner casts by itself, which switches off whatever a wrapper has switched on around it.
CAST = "would train in float32, since natx casts by itself: set amp='bfloat16' (--amp), which needs no loss scaling"
WRAPPED = ("optimizer", "paramwise_cfg", "clip_grad", "constructor")  # of optim_wrapper, beside its class's arguments


class Training(Section):
    """A training config."""

    refused: ClassVar[dict[str, str]] = dict.fromkeys(("strategy", "model_wrapper_cfg"), WHOLE)

    task: Task = entry("the model: its task's class and that class's arguments")
    data: Data = entry("images")
    method: Method = entry("the recipe: views, inner attack, terms")
    optim_wrapper: Annotated[
        Any,
        Built(
            OPTIM_WRAPPERS,
            also=WRAPPED,
            default="OptimWrapper",
            refused={"DeepSpeedOptimWrapper": WHOLE, "AmpOptimWrapper": CAST, "ApexOptimWrapper": CAST},
        ),
    ] = entry("mmengine's wrapper of the `optimizer` (a class of torch.optim), `clip_grad`, `paramwise_cfg`")
    train_cfg: TrainCfg = entry("length")
    seed: int = entry(
        "of weights, batches, augmentations and attacks that name none; `--seed` overrides it", ge=0, lt=SEEDS
    )
    param_scheduler: Annotated[
        Any, Built(PARAM_SCHEDULERS, several=True, supplied=("optimizer",), also=("convert_to_iter_based",))
    ] = entry("mmengine's schedules of the learning rate, one or several", default=())
    threat: Threat = entry("threat model of attacks that name none", default=None)
    select: Select | None = entry("choice of the best epoch", default=None)
    protocol: Literal["heldout", "paper"] = entry(
        "`'heldout'` chooses on held-out training images, `'paper'` on the test set, which reports say",
        default="heldout",
    )
    heldout_seed: Annotated[int, Field(ge=0, lt=SEEDS)] | Literal["run"] = entry(
        "which images are held out; `'run'`: drawn from `seed`", default=0
    )
    metric: Annotated[Any, Built(METRICS)] = entry("of tasks that are measured over a whole set", default=None)
    ema: Ema | None = entry("average of the weights, for any method: `--cfg-options ema.decay=0.995`", default=None)
    guard: Guard | None = entry(
        "left out: `dict()` where a classifier is trained on single steps and images are held out; None: nobody looks",
        default=None,
    )
    start: Start | None = entry("weights to begin with", default=None)
    amp: Literal["bfloat16"] | None = entry("run the whole step, attack included, in bfloat16", default=None)
    compile: bool | str = entry(
        "train the network compiled in place (torch.compile); True: by inductor, or another backend's name, as "
        "`'cudagraphs'`; `--compile`",
        default=False,
    )
    sync_bn: bool = entry("batch-norm statistics over all processes", default=False)
    shard_optimizer: bool = entry(
        "each of several processes keeps its share of the optimiser's memory (ZeRO, stage 1); one process keeps all",
        default=False,
    )
    adversary_dir: str | Path | None = entry(
        "where frozen models are stored (default: `adversaries` beside the work dir)", default=None
    )
    log_interval: int | None = entry("steps between log lines (default: 50, fewer in short epochs)", default=None, gt=0)
    checkpoint_every: str | float | None = entry(
        "time after which the state is written inside an epoch: `'30s'`, `'10min'`, `'2h'`, seconds; None: never",
        default="10min",
    )
    vis_backends: Annotated[Any, Built(VISBACKENDS, several=True)] = entry(
        "mmengine's writers of logs (default: `[dict(type='LocalVisBackend')]`)", default=None
    )
    paper_row: str | None = entry("the row of an attack config's `paper` that it reproduces", default=None)
    launcher: Literal["none", "pytorch", "slurm"] = entry("set by `--launcher`", default="none")
    custom_imports: Imports | None = entry("modules to import", default=None)


PARTS |= {
    "optimizer": Built(
        OPTIMIZERS,
        supplied=("params",),
        refused={
            "ZeroRedundancyOptimizer": "is asked for by shard_optimizer=True beside the optimiser's own class",
            "LBFGS": "is LBFGS, which computes the loss several times a step: take one that goes by the gradient",
            "SparseAdam": "is SparseAdam, for sparse gradients, which no network here has: take Adam",
        },
    ),
    "paramwise_cfg": Keys(Paramwise),
    "clip_grad": Keys(ClipGrad),
}
