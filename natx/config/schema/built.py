"""Parts that a class is built from: ``dict(type="PGD", steps=10)``, whose keys are the class's arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mmengine.registry import PARAM_SCHEDULERS
from mmengine.registry import Registry as MMEngineRegistry
from pydantic import GetCoreSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

from natx.config.schema.arguments import arguments, misfit
from natx.config.schema.section import Part, Problem, joined, unread
from natx.errors import ConfigError
from natx.registry import require_known

# Packages whose annotations tell the types of arguments.
ANNOTATED = ("natx.", "tasks.", "mmengine.")
# Arguments, of whatever class, that hold further parts.
PARTS: dict[str, Part] = {}


@dataclass(frozen=True)
class Built(Part):
    """Annotation of a key that holds ``dict(type=..., ...)`` of a registry, or a list of such dicts.

    Attributes:
        registry: where the class is looked up.
        several: a list of them.
        supplied: arguments that natx itself gives, and a config cannot.
        also: keys besides the class's arguments.
        default: the class where ``type`` is absent.
        optional: None takes away what a base says.
        refused: classes of the registry that natx does not use, each with what to say of it.
    """

    registry: MMEngineRegistry
    several: bool = False
    supplied: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    default: str | None = None
    optional: bool = False
    refused: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Pydantic's hook: the value is judged by :meth:`problems` and left as it is."""

        def checked(value: Any) -> Any:
            if problems := [*self.problems(value, "")]:
                raise PydanticCustomError("built", "does not fit", {"problems": problems})
            return value

        return core_schema.no_info_plain_validator_function(checked)

    def problems(self, value: Any, key: str) -> Iterator[Problem]:
        """See :meth:`Part.problems`."""
        if value is None and self.optional:
            return
        if not self.several or (self.registry is PARAM_SCHEDULERS and isinstance(value, dict)):
            yield from self._problems(value, key)
        elif isinstance(value, (list, tuple)):
            for i, entry in enumerate(value):
                yield from self._problems(entry, joined(key, str(i)))
        else:
            yield key, f"should be a list of dict(type='...'); got {value!r}"

    def _problems(self, value: Any, key: str) -> Iterator[Problem]:
        if not isinstance(value, (dict, str, int, float, list, tuple, type(None))):
            return  # an object that was built in Python
        kind = value.get("type", self.default) if isinstance(value, dict) else None
        if kind is None or not isinstance(value, dict):
            yield key, f"should be a {self.registry.name} as dict(type='...', ...); got {value!r}"
            return
        if isinstance(kind, str):
            if kind in self.refused:
                yield joined(key, "type"), self.refused[kind]
                return
            try:
                require_known(self.registry, kind)
            except ConfigError as error:
                yield joined(key, "type"), f"is an {error}"
                return
            kind = self.registry.get(kind)
        # Epochs that become iterations may be fractions, whatever mmengine's annotations say.
        whole = not value.get("convert_to_iter_based")
        for name, entry in value.items():
            if name in self.also and name in PARTS:
                yield from PARTS[name].problems(entry, joined(key, name))
            elif name not in ("type", "_scope_", *self.also):
                yield from self._argument_problems(kind, name, entry, key, whole=whole)

    def _argument_problems(self, kind: Any, name: str, value: Any, key: str, *, whole: bool) -> Iterator[Problem]:
        """What is wrong with an argument; parts that are built themselves count too.

        Args:
            kind: the class.
            name: of the argument.
            value: of the argument.
            key: where the class's dict stands in the config.
            whole: a number with a fraction does not do for a whole one.
        """
        taken, where = arguments(kind), joined(key, name)
        if taken is not None and (name not in taken or name in self.supplied):
            known = ["type", *(other for other in taken if other not in self.supplied), *self.also]
            yield where, unread(name, known, by=kind.__name__)
        elif name in PARTS:
            if isinstance(value, (dict, list, tuple)):
                yield from PARTS[name].problems(value, where)
        elif str(getattr(kind, "__module__", "")).startswith(ANNOTATED):
            if (whole or not isinstance(value, float)) and (text := misfit(kind, name, value)):
                yield where, f"{text}; got {value!r}"
