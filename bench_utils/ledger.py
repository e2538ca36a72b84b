"""What the calls of one cell did, and the status of a cell that an exception ended."""

from __future__ import annotations

from collections.abc import Callable

from . import receipts
from .backends import Backend
from .errors import CellError
from .timing import Timed


class Ledger:
    """The calls of one cell, seen after each: its row, its compiled calls, the number of its tokens.

    ``write(role, index, timed, compiled_calls)`` puts a call's row on disk.
    """

    def __init__(self, backend: Backend, write: Callable[[str, int, Timed, int], None]) -> None:
        self._backend, self._write, self._seen = backend, write, backend.compiled_calls()
        self.compiled_calls = 0
        self.tokens: list[list[int]] = []
        self.lengths: set[int] = set()

    def keep(self, role: str, index: int, timed: Timed) -> None:
        """Take note of one call, and write its row."""
        made = self._backend.compiled_calls() - self._seen
        self._seen += made
        self.compiled_calls += made if role == "sample" else 0
        if role == "sample":  # the first is that of the prompt which plain PyTorch is asked too
            self.tokens = self.tokens or self._backend.tokens(timed.result)
        self.lengths.add(len(timed.result) if hasattr(timed.result, "__len__") else 1)
        self._write(role, index, timed, made)


class ReadbackError(RuntimeError):
    """What was loaded, or where, is not what the label says."""


def require(*results: tuple[str, str | None]) -> None:
    """ReadbackError with the reason of the first result that is not ok."""
    status, reason = receipts.first_failure(*results)
    if status != "ok":
        raise ReadbackError(reason)


def status_of(error: Exception) -> str:
    """The status of a cell that an exception ended."""
    module, name = type(error).__module__, type(error).__name__
    if isinstance(error, CellError):
        return error.status
    if name == "OutOfMemoryError":
        return "oom_gpu"
    if "output of CUDAGraphs that has been overwritten" in str(error):
        return "graph_skip"
    if isinstance(error, MemoryError) or "DefaultCPUAllocator: can't allocate memory" in str(error):
        return "oom_host"
    if "CUDA error" in str(error) or name == "AcceleratorError":
        return "cuda_sticky"
    if module.startswith(("torch._dynamo", "torch._inductor")):
        return "not_compiled"
    if isinstance(error, ReadbackError):
        return "silent_fallback"
    return "unavailable" if name == "BenchError" else "harness_bug"
