"""The rows of a run of scores: a line a document, and a line that ends each task of a model and variant."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, ValidationError

from ..errors import BenchError
from ..records import SCORES, Failure, Row, Status, read_lines


class Arm(Row):
    """What is scored: a model in a variant and a dtype. It is also the head of every row."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    variant: str
    dtype: str


class Score(Arm):
    """One document under one arm: negative log-likelihood in nats, or whether the right ending was chosen.

    ``correct`` goes by the likeliest ending, ``correct_norm`` by the likeliest per byte.
    """

    kind: Literal["score"] = "score"
    task: str
    document: int = Field(ge=0)
    digest: str
    nll: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    tokens: int | None = None
    bytes: int | None = None
    correct: bool | None = None
    correct_norm: bool | None = None


class Task(Arm):
    """A task has ended under one arm: what became of it, and the receipt of what really ran."""

    kind: Literal["task"] = "task"
    task: str
    status: Status
    reason: str | None = None
    failure: Failure | None = None
    receipt: dict = {}


def write(folder: Path, rows: Iterable[Row]) -> None:
    """Append the rows of one task in a single write: an interrupted task leaves none."""
    lines = "".join(row.model_dump_json(exclude_none=True) + "\n" for row in rows).encode()
    descriptor = os.open(folder / SCORES, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        if (size := os.fstat(descriptor).st_size) and os.pread(descriptor, 1, size - 1) != b"\n":
            lines = b"\n" + lines  # a half-written line of a killed process stays, on a line of its own
        while lines:  # a large write may be cut
            lines = lines[os.write(descriptor, lines) :]
    finally:
        os.close(descriptor)


def read(folder: Path) -> tuple[list[Score], list[Task]]:
    """The rows of a run; a half-written line and the documents of a task without end are left out."""
    found: dict[str, list] = {"score": [], "task": []}
    kinds = {"score": Score, "task": Task}
    for line in read_lines(folder / SCORES)[0]:
        try:
            found[line["kind"]].append(kinds[line["kind"]].model_validate(line))
        except (KeyError, TypeError, ValidationError) as error:
            raise BenchError(f"{folder.name}/{SCORES}: not a row of this version: {error}") from error
    ended = {_key(row) for row in found["task"]}
    last = {(_key(row), row.document): row for row in found["score"]}  # an interrupted write may have left its first
    return [row for (key, _), row in last.items() if key in ended], found["task"]


def _key(row: Score | Task) -> tuple[str, str, str, str]:
    return row.model, row.variant, row.dtype, row.task
