"""A task's network compiled in place: the same modules, weights and keys, called through ``torch.compile``."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from natx.runtime.progress import say
from natx.task import Task

BACKEND = "inductor"


@dataclass
class Compilation:
    """What the compiled parts of one task share.

    Attributes:
        backend: of ``torch.compile``.
        sizes: batch sizes that are compiled; each is a graph of its own, with static shapes.
        failure: why nothing is compiled any more; None while it works.
    """

    backend: str | Callable[..., Any]
    sizes: frozenset[int]
    failure: str | None = None
    calls: dict[int, int] = field(default_factory=dict)

    def fail(self, error: Exception) -> None:
        """Go on without, and say so once."""
        if self.failure is None:
            cause = getattr(error, "inner_exception", error)  # of what a backend raised
            text = next((line for line in str(cause).splitlines() if line.strip()), "")
            self.failure = f"{type(cause).__name__}: {text.strip()[:200]}"
            say(f"note: torch.compile (backend {self.backend!r}) fails ({self.failure}); the network runs uncompiled")


class CompiledCall:
    """What a module's call goes through: the compiled graph for full batches, the module itself for all others.

    Attacks that drop broken images end in many small batches: to compile each size would take longer than it saves, and
    to fill them up would pay only while a batch is fuller than the reciprocal of the speed-up, which it is for a few
    steps. So what is not full runs as it always did.

    torch keeps the compiled call of a module in ``_compiled_call_impl``, outside of its state and of its copies: a copy
    of the module (an average of weights) is not compiled.
    """

    def __init__(self, module: nn.Module, compilation: Compilation) -> None:
        module.compile(backend=compilation.backend, dynamic=False)
        self.module, self.compilation = module, compilation
        self.compiled: Callable[..., Any] = module._compiled_call_impl  # type: ignore[assignment]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The module's output."""
        compilation, count = self.compilation, _images(args)
        if compilation.failure is not None or count not in compilation.sizes:
            return self.module._call_impl(*args, **kwargs)
        try:
            result = self.compiled(*args, **kwargs)
        except _compiler_errors() as error:
            compilation.fail(error)
            return self.module._call_impl(*args, **kwargs)
        compilation.calls[count] = compilation.calls.get(count, 0) + 1
        return result


def compile_network(
    task: Task, *, sizes: Collection[int], backend: str | Callable[..., Any] | bool = BACKEND
) -> Compilation:
    """Compile the parts of a task's network (:meth:`natx.task.Task.compiled_parts`) in place; nothing runs yet.

    A graph is made when a batch of its size comes for the first time, which takes seconds to minutes, for the modes in
    which it comes (training, attacks, predictions). Outputs and gradients are those of the network itself but for
    rounding. Where the compiler fails (no C++ compiler, an operator that it does not know), one line says so and the
    network runs uncompiled.

    Args:
        task: its network is compiled.
        sizes: batch sizes to compile; batches of another size run uncompiled.
        backend: of ``torch.compile``; True for inductor.
    """
    compilation = Compilation(BACKEND if isinstance(backend, bool) else backend, frozenset(sizes))
    for part in task.compiled_parts():
        part._compiled_call_impl = CompiledCall(part, compilation)  # type: ignore[assignment]
    return compilation


def compilation_notes(compilation: Compilation | None) -> list[str]:
    """What a report says of it; nothing where nothing was to be compiled."""
    if compilation is None:
        return []
    if compilation.failure is not None:
        return [f"torch.compile failed ({compilation.failure}): the network ran uncompiled"]
    sizes = ", ".join(map(str, sorted(compilation.sizes)))
    count = sum(compilation.calls.values())
    return [f"the network was compiled (torch.compile, {compilation.backend}) for batches of {sizes}: {count} calls"]


def _images(args: tuple[Any, ...]) -> int:
    """The leading dimension of the first tensor among the arguments, or within a sequence there; 0 where none is."""
    for value in args:
        if isinstance(value, Tensor) and value.dim():
            return len(value)
        if isinstance(value, (tuple, list)) and (count := _images(tuple(value))):
            return count
    return 0


def _compiler_errors() -> tuple[type[Exception], ...]:
    """What torch's compilers raise where they fail, and not what the network itself does."""
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor.exc import CppCompileError, InvalidCxxCompiler, OperatorIssue

    return (TorchDynamoException, CppCompileError, InvalidCxxCompiler, OperatorIssue)
