"""What a class takes: the names of its arguments, and whether values have the types that its signature states."""

from __future__ import annotations

import inspect
import typing
from functools import cache
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

ALL_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@cache
def arguments(kind: Any) -> dict[str, inspect.Parameter] | None:
    """The arguments that a class or function takes by name; None where it takes any.

    A class with ``**kwargs`` hands them on to the next constructor in its order of bases.
    """
    taken: dict[str, inspect.Parameter] = {}
    for constructor in _constructors(kind):
        try:
            parameters = list(inspect.signature(constructor).parameters.values())
        except (TypeError, ValueError):  # built in, without a signature
            return None
        for parameter in parameters[isinstance(kind, type) :]:  # without self
            if parameter.kind in ALL_NAMED:
                taken.setdefault(parameter.name, parameter)
        if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
            return taken
    return None


@cache
def _adapters(kind: Any) -> dict[str, TypeAdapter[Any]]:
    """What tells the types of a class's arguments, where they can be read from its annotations."""
    adapters: dict[str, TypeAdapter[Any]] = {}
    for constructor in reversed(_constructors(kind)):
        try:
            hints = typing.get_type_hints(constructor)
        except (NameError, TypeError, AttributeError):  # names that exist for type checkers alone
            continue
        for name, hint in hints.items():
            try:
                adapters[name] = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
            except (PydanticUserError, TypeError):  # a class with a configuration of its own, or no type
                continue
    return adapters


def misfit(kind: Any, name: str, value: Any) -> str | None:
    """What is wrong with the type of an argument's value, ``should be a valid integer``; None where nothing is.

    Lists count as tuples and whole numbers as floats, as in the classes themselves; text is no number, and a float no
    whole one: a class would get it as it stands.
    """
    parameter, adapter = (arguments(kind) or {}).get(name), _adapters(kind).get(name)
    if adapter is None or (parameter is not None and parameter.default is value):
        return None
    try:
        return _converted(value, adapter.validate_python(value))
    except ValidationError as error:
        return " or ".join(dict.fromkeys(entry["msg"].removeprefix("Input ") for entry in error.errors()))
    except PydanticUserError:
        return None


def _converted(value: Any, read: Any) -> str | None:
    """What is wrong with a value, or an entry of it, that fits a type only once it is converted, which nothing does."""
    if isinstance(read, (int, float)) and isinstance(value, str):
        return f"should be a valid {'number' if isinstance(read, float) else 'integer'}"
    if isinstance(read, int) and isinstance(value, float):
        return "should be a valid integer"
    if isinstance(value, (list, tuple)) and isinstance(read, (list, tuple)):
        return next((text for pair in zip(value, read) if (text := _converted(*pair)) is not None), None)
    return None


def _constructors(kind: Any) -> list[Any]:
    """A class's constructors in the order in which they are called; a function itself."""
    if not isinstance(kind, type):
        return [kind]
    return [vars(base)["__init__"] for base in kind.__mro__ if "__init__" in vars(base) and base is not object]
