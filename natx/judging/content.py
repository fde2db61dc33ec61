"""Values that a model carries, told from others by their content: equal ones look alike in every process."""

from __future__ import annotations

import functools
import hashlib
import types
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn

from natx.evaluation.progress import digest

PLAIN = (bool, int, float, str, type(None))
SEQUENCES = (list, tuple, set, frozenset)


def content(value: Any, seen: tuple[int, ...] = ()) -> Any:
    """Plain values that are equal where two values are.

    Tensors and arrays count by their numbers, modules by their state, functions by their code and what they close over,
    other objects by their class and attributes; of an object without attributes the class is all that can be told.

    Args:
        value: anything.
        seen: identities of the objects around it, in which a circle ends.
    """
    if isinstance(value, PLAIN):
        return value
    if id(value) in seen:
        return "around"
    inner = functools.partial(content, seen=(*seen, id(value)))
    if isinstance(value, Tensor):
        return digest(value)
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        numbers = np.ascontiguousarray(value)
        return f"{value.dtype} {value.shape} {hashlib.sha256(numbers.tobytes()).hexdigest()}"
    if isinstance(value, nn.Module):
        state = {name: digest(tensor) for name, tensor in [*value.named_parameters(), *value.named_buffers()]}
        return [named(type(value)), state, {name: inner(own(part)) for name, part in value.named_modules()}]
    if isinstance(value, Mapping):
        return [named(type(value)), [[inner(key), inner(entry)] for key, entry in value.items()]]
    if isinstance(value, SEQUENCES):
        entries = [inner(entry) for entry in value]
        ordered = entries if isinstance(value, (list, tuple)) else sorted(entries, key=repr)
        return [named(type(value)), ordered]
    if isinstance(value, functools.partial):
        return ["partial", inner(value.func), inner(value.args), inner(value.keywords)]
    if isinstance(value, types.MethodType):
        return ["method", inner(value.__self__), value.__name__]
    if isinstance(value, types.FunctionType):
        return ["function", _code(value.__code__), [inner(cell.cell_contents) for cell in value.__closure__ or ()]]
    if isinstance(value, (type, types.BuiltinFunctionType)):
        return named(value)
    return [named(type(value)), inner(getattr(value, "__dict__", {}))]


def own(module: nn.Module) -> dict[str, Any]:
    """What a module's class has given it: no tensors, parts, hooks or mode, which torch keeps in it."""
    return {key: value for key, value in vars(module).items() if key not in _TORCHS}


def named(kind: Any) -> str:
    """The full name of a class or function."""
    return f"{kind.__module__}.{kind.__qualname__}"


def _code(code: types.CodeType) -> Any:
    """What a function does, wherever it was defined; its constants may be functions' codes themselves."""
    constants = [_code(part) if isinstance(part, types.CodeType) else repr(part) for part in code.co_consts]
    return [hashlib.sha256(code.co_code).hexdigest(), constants, list(code.co_names)]


_TORCHS = frozenset(vars(nn.Module()))
