"""The rows of a run: their schema, and a journal that appends them.

A run is a folder: ``run.json`` (the manifest), ``processes.jsonl`` (what is constant for a process and a cell:
plan of the process, receipts, statuses) and ``samples.jsonl`` (one line a timed call). Lines are appended and
never changed; a line is on disk before the next call is timed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import BenchError, said

SCHEMA = 2  # 2: a manifest may name its stack and group, a process its machine
MANIFEST, PROCESSES, SAMPLES = "run.json", "processes.jsonl", "samples.jsonl"
SCORES = "scores.jsonl"  # in place of the other two, where quality is scored and nothing timed
# Samples of one process and cell that count in results.
KEPT = 100

Status = Literal[
    "ok", "unavailable", "not_compiled", "recompile_storm", "graph_skip", "silent_fallback", "output_mismatch",
    "token_mismatch", "oom_gpu", "oom_host", "cuda_sticky", "segfault", "abort", "timeout", "not_steady",
    "contaminated", "throttled", "device_lost", "server_died", "server_error", "short_output", "cached_answer",
    "harness_bug",
]  # fmt: skip
# A cell with one of these did not come to its end: samples it left on disk measure nothing.
UNFINISHED = frozenset({
    "unavailable", "oom_gpu", "oom_host", "cuda_sticky", "segfault", "abort", "timeout", "device_lost", "server_died",
    "server_error", "short_output", "cached_answer", "harness_bug",
})  # fmt: skip
# With one of these a latency exists, but does not measure what its label says.
DISQUALIFIED = frozenset({
    "not_compiled", "recompile_storm", "graph_skip", "silent_fallback", "output_mismatch", "token_mismatch",
    "contaminated", "throttled",
})  # fmt: skip
Phase = Literal["prefill", "decode", "e2e", "load", "compile_cold", "compile_warm", "first_call"]
# The phases of a request, in the order a process measures them: the first call is a whole request.
TIMED = ("e2e", "prefill", "decode")
Role = Literal["warmup", "sample", "probe"]


class Row(BaseModel):
    """A line of a journal; unknown fields are errors, so that nothing is dropped on save."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Process(Row):
    """A measuring process has started."""

    kind: Literal["process"] = "process"
    process: str
    attempt: int
    round: int
    order: int
    model: str
    variant: str
    backend: str
    dtype: str
    device: str
    machine: str | None = None
    started_at: float
    host_score: float | None = None


class Failure(Row):
    """An exception, whole."""

    type: str
    message: str
    traceback: str


class Cell(Row):
    """A cell has ended in a process: what became of it, and the receipt of what really ran."""

    kind: Literal["cell"] = "cell"
    process: str
    attempt: int
    cell: str
    phase: Phase
    prompt_tokens: int
    new_tokens: int
    batch_size: int
    exhibit: bool = False
    status: Status
    reason: str | None = None
    failure: Failure | None = None
    weights: str | None = None
    stop_reason: str | None = None
    count: int = 0
    steady: bool | None = None
    timer: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    receipt: dict = {}


class End(Row):
    """A process has ended, by itself or by a signal; without this line it was interrupted and counts for nothing."""

    kind: Literal["end"] = "end"
    process: str
    attempt: int
    exit_code: int
    finished_at: float


class Sample(Row):
    """One timed call."""

    process: str
    attempt: int
    cell: str
    role: Role
    index: int
    latency_ms: float = Field(gt=0, allow_inf_nan=False)
    event_ms: float | None = None
    compiled_calls: int | None = None
    started_at: float


class Manifest(Row):
    """What a run is: the plan that was in force, where and with what it ran, and whether it is complete."""

    schema_version: int = SCHEMA
    run: str
    report: str
    preset: str
    device: str
    device_name: str
    machine: str
    plan_digest: str
    plan: dict
    weights: str
    seed: int
    identity: dict
    stack: str | None = None
    group: str | None = None
    started_at: str
    finished_at: str | None = None
    status: Literal["measuring", "complete"] = "measuring"


_KINDS = {"process": Process, "cell": Cell, "end": End}


def kept(index: int, count: int) -> bool:
    """Whether the sample of that index counts among ``count``: at most KEPT of them, evenly spread.

    The stride is the smallest power of two that suffices, so a row on disk never has to be taken back.
    """
    stride = 1
    while count > KEPT * stride:
        stride *= 2
    return index % stride == 0


class Journal:
    """Appends rows to a run folder; one writer at a time, each line a single write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, int] = {}

    def append(self, row: Row) -> None:
        """Write one row; it is in the kernel's hands when this returns."""
        name = SAMPLES if isinstance(row, Sample) else PROCESSES
        os.write(self._open(name), row.model_dump_json(exclude_none=True).encode() + b"\n")

    def sync(self) -> None:
        """Force everything appended to disk."""
        for descriptor in self._files.values():
            os.fsync(descriptor)

    def close(self) -> None:
        """Close the files."""
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files.clear()

    def _open(self, name: str) -> int:
        if name not in self._files:
            path = self.folder / name
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            if (size := os.fstat(descriptor).st_size) and os.pread(descriptor, 1, size - 1) != b"\n":
                os.write(descriptor, b"\n")  # a half-written line of a killed process stays, on a line of its own
            self._files[name] = descriptor
        return self._files[name]


def read_lines(path: Path) -> tuple[list[dict], int]:
    """The JSON objects of a journal, and how many lines were not one (half-written by a killed process)."""
    rows, broken = [], 0
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else ()
    for line in filter(None, lines):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            rows.append(row)
        else:
            broken += 1
    return rows, broken


def read_processes(folder: Path) -> Iterator[Process | Cell | End]:
    """The rows of ``processes.jsonl``, validated."""
    for row in read_lines(folder / PROCESSES)[0]:
        try:
            yield _KINDS[row["kind"]].model_validate(row)
        except (KeyError, TypeError, ValidationError) as error:
            raise BenchError(f"{folder.name}/{PROCESSES}: not a row of schema {SCHEMA}: {_why(error)}") from error


def check_samples(folder: Path) -> None:
    """BenchError where a line of ``samples.jsonl`` is an object but no sample."""
    try:
        for row in read_lines(folder / SAMPLES)[0]:
            Sample.model_validate(row)
    except ValidationError as error:
        raise BenchError(f"{folder.name}/{SAMPLES}: not a row of schema {SCHEMA}: {said(error)}") from error


def _why(error: Exception) -> str:
    return said(error) if isinstance(error, ValidationError) else f"no kind that is known ({error})"


def complete_attempts(rows: list[Process | Cell | End]) -> dict[str, int]:
    """For each process that ever ended, the last attempt that did."""
    ended: dict[str, int] = {}
    for row in rows:
        if isinstance(row, End):
            ended[row.process] = max(row.attempt, ended.get(row.process, 0))
    return ended


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a run folder; BenchError when it is missing, newer, or not one."""
    try:
        data = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BenchError(f"run {folder.name!r} has no readable {MANIFEST}: {error}") from error
    schema = data.get("schema_version", 0) if isinstance(data, dict) else None
    if not isinstance(schema, int):
        raise BenchError(f"run {folder.name!r}: {MANIFEST} is not a manifest: it states no schema_version")
    if schema > SCHEMA:
        raise BenchError(f"run {folder.name!r} has schema {schema}; this version reads up to {SCHEMA}")
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        raise BenchError(f"run {folder.name!r}: {MANIFEST} is not a manifest: {said(error)}") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest by renaming into place; BenchError when the folder cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        scratch = folder / f".{MANIFEST}"
        scratch.write_text(manifest.model_dump_json(indent=1) + "\n")
        scratch.replace(folder / MANIFEST)
    except OSError as error:
        raise BenchError(
            f"results folder {folder.parent.name!r} cannot be written ({error.strerror}); choose another"
        ) from error
