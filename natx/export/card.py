"""The model card of an exported classifier: what it is, how to load it, and what is known about it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from pprint import pformat
from typing import Any

from natx.checks.text import wording
from natx.config import short_name
from natx.export.metadata import metadata
from natx.models.hub import HUB
from natx.registry import THREATS
from natx.report.text import explanation, markdown_table
from natx.threat import Linf, NormBall, ThreatModel
from natx.version import __version__

BENCHMARKS = {"CIFAR10": "cifar10", "CIFAR100": "cifar100"}  # RobustBench's test sets, by the data set's class here
INSTALL = (  # seen in release 1.1.1 on PyPI, where all of eval.py is a comment
    "From its repository, as the release on PyPI has no `benchmark()`: "
    "`pip install git+https://github.com/RobustBench/robustbench`."
)
CLEAN_ONLY = "Standard"  # the method that sees no attack
NOT_JUDGED = "Not judged: no report of these weights was found, so nothing is claimed about them."
WRAPPER = '''\
import torch


class Normalised(torch.nn.Module):
    """Takes pixels in [0,1] and gives the network what it was trained on."""

    def __init__(self, net, mean, std):
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, pixels):
        return self.net((pixels - self.mean) / self.std)
'''
OF_OUTPUTS = WRAPPER.replace("/ self.std)\n", "/ self.std).logits\n")


@dataclass
class Facts:
    """What a card is written from.

    Attributes:
        described: the content of config.json, see :func:`natx.export.weights.describe`.
        library: 'timm' or 'transformers', where that builds the architecture; else None.
        config: the training config.
        meta: what the checkpoint says of itself.
        checkpoint_sha256: hash of the checkpoint that was exported.
        reports: contents of the reports about it.
        commands: what to type to train and to judge it.
        remarks: that another training than the config's made it.
        repository: ``owner/name`` on the Hugging Face hub, where it is to lie there.
        licence: of the weights.
    """

    described: dict[str, Any]
    library: str | None
    config: dict[str, Any]
    meta: dict[str, Any]
    checkpoint_sha256: str
    reports: list[dict[str, Any]]
    commands: list[str]
    remarks: list[str]
    repository: str | None = None
    licence: str | None = None

    @property
    def data(self) -> str:
        """The class of the data set that it learned from; empty where the config names none."""
        return _type(self.config.get("data", {}).get("train"))

    @property
    def learned_from(self) -> str | None:
        """The kind of the method that made its views, which says whether it saw attacks; None where nothing says it."""
        return None if self.remarks else _innermost(self.config).get("type")

    @property
    def trained_against(self) -> str | None:
        """The threat model of its training where that is not the config's, as the checkpoint says it."""
        trained, named = self.meta.get("threat"), threat_of(self.config)
        return None if trained is None or trained == str(named) else str(trained)


def card(facts: Facts) -> str:
    """The card as Markdown, with the header that model hubs read."""
    architecture, threat = facts.described["architecture"], threat_of(facts.config)
    header = metadata(
        name=facts.repository or architecture,
        reports=facts.reports,
        data=facts.data,
        threat=None if threat is None else str(threat),
        trained_against=facts.trained_against,
        checkpoint_sha256=facts.checkpoint_sha256,
        library=facts.library,
        licence=facts.licence,
        trained=facts.learned_from not in (None, CLEAN_ONLY),
    )
    title = f"# {architecture}{f' trained on {facts.data}' if facts.data else ''}"
    sections = [f"---\n{header.to_yaml()}\n---", title, _origin(facts), _inputs(facts), *_usage(facts)]
    return "\n\n".join([*sections, *_numbers(facts), *_commands(facts)]) + "\n"


def threat_of(config: dict[str, Any]) -> ThreatModel | None:
    """The threat model that a config names, for itself or for its method's attack."""
    threat = config.get("threat") or (_innermost(config).get("attack") or {}).get("threat")
    return THREATS.build(dict(threat)) if threat else None


def _innermost(config: dict[str, Any]) -> dict[str, Any]:
    """The method that makes the views, within those around it (AWP, SAM)."""
    method = config.get("method") or {}
    while isinstance(method.get("method"), dict):
        method = method["method"]
    return method


def method_text(method: dict[str, Any]) -> str:
    """A method's config in words: its type, views, attack and terms with their numbers."""
    parts = []
    if method.get("views"):
        parts.append(f"views {' and '.join(method['views'])}")
    if method.get("attack"):
        parts.append(f"attack {_entry(method['attack'])}")
    if method.get("terms"):
        parts.append(f"terms {', '.join(_entry(term) for term in method['terms'])}")
    if isinstance(method.get("method"), dict):
        parts.append(f"around {method_text(method['method'])}")
    return _type(method) + (f" ({'; '.join(parts)})" if parts else "")


def _entry(settings: dict[str, Any]) -> str:
    """A part's type and those of its settings that are plain numbers."""
    numbers = [f"{k}={v:.4g}" for k, v in settings.items() if isinstance(v, (int, float)) and not isinstance(v, bool)]
    return _type(settings) + (f"({', '.join(numbers)})" if numbers else "")


def _type(settings: Any) -> str:
    kind = settings.get("type", "") if isinstance(settings, dict) else ""
    return kind if isinstance(kind, str) else kind.__name__


def _origin(facts: Facts) -> str:
    meta, threat = facts.meta, threat_of(facts.config)
    method = facts.config.get("method")
    plain = threat is not None and facts.learned_from == CLEAN_ONLY
    lines = [
        f"trained by: {method_text(method) if method and not facts.remarks else 'unknown'}"
        + "".join(f"; {remark}" for remark in facts.remarks),
        f"threat model: {threat or 'none named in the config'}"
        + (", for judging only: it learned from clean images" if plain else "")
        + (f"; it trained against {facts.trained_against}" if facts.trained_against else ""),
        f"classes: {facts.described['num_classes']}" + _classes(facts.described.get("label_names")),
        f"epochs: {meta.get('epoch', 'unknown')}, selected on {meta.get('selected_on', 'unknown')}, "
        f"seed {meta.get('seed', 'unknown')}",
        f"exported by natx {__version__} from a checkpoint with SHA-256 {facts.checkpoint_sha256}",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _classes(names: list[str] | None) -> str:
    listed = ", ".join(names[:10]) if names else ""
    return f" ({listed}{', ...' if len(names) > 10 else ''})" if names else ""


def _inputs(facts: Facts) -> str:
    settings = facts.described["pretrained_cfg"]
    channels, height, width = settings["input_size"]
    size = "exactly" if settings["fixed_input_size"] else "trained at or near"
    return (
        "**Inputs.** The weights expect normalised inputs, `(pixels - mean) / std`, in the library that they come "
        "from; `natx.load` has the normalisation inside and takes pixels in [0,1].\n\n"
        f"- mean {settings['mean']}, std {settings['std']}\n"
        f"- {channels} channel{'s' * (channels != 1)}, {size} {height} x {width} pixels"
    )


def _usage(facts: Facts) -> list[str]:
    """Sections that show how to load and how to benchmark it."""
    described = facts.described
    settings = described["pretrained_cfg"]
    place = f"{HUB}{facts.repository}" if facts.repository else "model.safetensors"
    task = facts.config.get("task") or {}
    own = ""
    if isinstance(task.get("model"), dict):
        network = {**task["model"], **(task.get("model_args") or {})}
        own = f", model={network}, num_classes={described['num_classes']}"
    natx = _code(f'import natx\n\nmodel = natx.load("{place}"{own})  # pixels in [0,1], eval mode\n')
    sections = ["## With natx", natx]
    if facts.library is None:
        form = "is a class that is not in these files: it is imported from `PYTHONPATH`"
        if not own:
            form = "is not built by plain timm: natx has the network, or its form of it"
        return [*sections, f"`{described['architecture']}` {form}.", *_benchmark(facts)]
    build, wrapper = (_timm(facts), WRAPPER) if facts.library == "timm" else (_transformers(facts), OF_OUTPUTS)
    wrap = f"{wrapper}\n\nmodel = Normalised(net, mean={settings['mean']}, std={settings['std']}).eval()\n"
    on_pixels = "Attacks and RobustBench work on pixels in [0,1], so wrap it:"
    return [*sections, f"## With {facts.library}", _code(build), on_pixels, _code(wrap), *_benchmark(facts)]


def _timm(facts: Facts) -> str:
    """How timm builds ``net``."""
    if facts.repository:
        name = f"{HUB}{facts.repository}"
        return f'import timm\n\nnet = timm.create_model("{name}", pretrained=True).eval()  # normalised inputs\n'
    described = facts.described
    arguments = "".join(f", {key}={pformat(value)}" for key, value in described.get("model_args", {}).items())
    return (
        "import timm\nfrom safetensors.torch import load_file\n\n"
        f'net = timm.create_model("{described["architecture"]}", num_classes={described["num_classes"]}{arguments})\n'
        'net.load_state_dict(load_file("model.safetensors"))\nnet.eval()  # normalised inputs\n'
    )


def _transformers(facts: Facts) -> str:
    """How transformers builds ``net``."""
    return (
        "from transformers import AutoModelForImageClassification\n\n"
        f'net = AutoModelForImageClassification.from_pretrained("{facts.repository or "."}").eval()'
        "  # normalised inputs\n"
    )


def _benchmark(facts: Facts) -> list[str]:
    """How RobustBench judges ``model``, the module on [0,1] pixels that the sections before made."""
    name = BENCHMARKS.get(_type(facts.config.get("data", {}).get("test")))
    if name is None:
        text = (
            "RobustBench's `benchmark()` brings its own test images (CIFAR-10, CIFAR-100, ImageNet); for other data, "
        )
        return ["## With RobustBench", text + "`natx.evaluate(model, images, labels, ...)` runs the same AutoAttack."]
    threat = threat_of(facts.config) or Linf(8 / 255)
    if not isinstance(threat, NormBall):
        return ["## With RobustBench", f"RobustBench attacks within norm balls, and this model is for: {threat}."]
    eps = f"{threat.eps * 255:.4g} / 255" if isinstance(threat, Linf) else f"{threat.eps:g}"
    arguments = f'dataset="{name}", threat_model="{threat.norm}", eps={eps}, device=device'
    call = (
        'import torch\nfrom robustbench import benchmark\n\ndevice = torch.device("cuda")\n'
        f"clean, attacked = benchmark(model.to(device), {arguments})\n"
    )
    return ["## With RobustBench", INSTALL, _code(call)]


def _code(text: str) -> str:
    return f"```python\n{text}```"


def _numbers(facts: Facts) -> list[str]:
    """The reports' tables, with what the audit said where there was one."""
    sections = ["## Numbers"]
    for report in facts.reports:
        images = f"Judged on {report['settings'].get('data', 'unknown data')}."
        sections += [f"{images} {explanation(report)}", markdown_table([report])]
        sections += [wording(report)] if report.get("checks") else []
    return sections if facts.reports else [*sections, NOT_JUDGED]


def _commands(facts: Facts) -> list[str]:
    """What it was trained and judged by."""
    return ["## Commands", "\n".join(["```", *facts.commands, "```"])] if facts.commands else []


def portable(command: str) -> str:
    """A command without the paths of the machine it ran on: of a whole path only the last name stays."""
    return shlex.join(_portable(word) for word in shlex.split(command))


def _portable(word: str) -> str:
    key, equals, value = word.rpartition("=")
    return f"{key}{equals}{short_name(value) if Path(value).is_absolute() else value}"
