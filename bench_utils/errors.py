"""The one error a user meets, and the helper that makes it name the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """Bad input or a missing precondition: what was wrong, where, and what to do."""


class CellError(BenchError):
    """A cell that an engine could not measure: ``status`` says how it failed."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


def unknown(kind: str, name: object, known: Iterable[str]) -> BenchError:
    """The error for a name that is not in a list, with the nearest names first."""
    names = list(known)
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names)}"
    return BenchError(f"unknown {kind} {str(name)!r}; {hint}")
