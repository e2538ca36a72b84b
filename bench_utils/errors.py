"""The one error a user meets, and the helper that makes it name the remedy."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


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


def said(error: ValidationError, problem: dict | None = None) -> str:
    """A problem of a failed validation, the first if none is given, with the path to the wrong element."""
    problem = problem or error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "value_error":  # one of our own sentences
        return f"{where}: {problem['ctx']['error']}".removeprefix(": ")
    got = "" if problem["type"] == "missing" else f" (got {str(problem['input'])[:100]!r})"
    return f"{where}: {problem['msg']}{got}".removeprefix(": ")


@contextlib.contextmanager
def writing(file: Path) -> Iterator[None]:
    """BenchError that names the file where it cannot be written inside."""
    try:
        yield
    except OSError as error:
        remedy = "name a file in a folder that is there and can be written"
        raise BenchError(f"file {file.name!r} cannot be written: {error.strerror or error}; {remedy}") from error
