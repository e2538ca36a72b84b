"""Run folders as tidy frames: one row a sample, everything that is constant for it joined."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from .catalog import VARIANTS
from .environment import identity_digest
from .errors import BenchError
from .records import (
    SAMPLES,
    SCORES,
    UNFINISHED,
    Cell,
    End,
    Manifest,
    Process,
    Row,
    complete_attempts,
    kept,
    read_lines,
    read_manifest,
    read_processes,
)
from .statistics import MedianInterval, median_over_processes

COLUMNS = [
    "run", "report", "device", "machine", "model", "variant", "backend", "dtype", "weights", "phase",
    "prompt_tokens", "new_tokens", "batch_size", "exhibit", "round", "order", "process", "attempt", "role", "index",
    "status", "reason", "latency_ms", "event_ms", "compiled_calls", "timer", "started_at", "tokens_in", "tokens_out",
    "expected_calls", "tokens", "identity",
]  # fmt: skip
KEY = ["model", "variant", "dtype", "phase", "prompt_tokens", "new_tokens", "batch_size"]


def base(process: str) -> str:
    """A process without the number of the child that went on after a crash."""
    return process.partition("+")[0]


def ended(rows: Iterable[Row]) -> set[tuple[str, int]]:
    """Processes that came to their end, each with its attempt; one that went on after a crash is a process of its own.

    Only their cells count: what was killed before its end may have left any part of them.
    """
    return {(row.process, row.attempt) for row in rows if isinstance(row, End)}


def load(path: Path | str | Iterable[Path | str]) -> pd.DataFrame:
    """A run folder, or many, as one frame with COLUMNS: a row a sample, and a row without latency a failed cell.

    Latencies in milliseconds; ``expected_calls`` are the calls of compiled code that one sample must make,
    ``compiled_calls`` those it made; ``tokens`` are the ids that the cell's first call produced, as
    JSON, None where the engine's arithmetic is less than its weights' precision and they may differ.

    Only the last complete attempt of a process counts; half-written lines are left out, their number is in
    ``frame.attrs["broken_lines"]``.
    """
    folders = [Path(path)] if isinstance(path, str | Path) else [Path(p) for p in path]
    if len({f.resolve() for f in folders}) < len(folders):
        raise BenchError("a run is named twice; its rows would count twice")
    if not folders:
        raise BenchError("no run to load: measure one first, or name its folder")
    loaded = [_load(folder) for folder in folders]
    frame = pd.concat(loaded, ignore_index=True) if len(loaded) > 1 else loaded[0]
    frame.attrs["broken_lines"] = sum(f.attrs["broken_lines"] for f in loaded)
    return frame


def _load(folder: Path) -> pd.DataFrame:
    manifest = read_manifest(folder)
    cells = receipts(folder)
    cells["machine"] = machines(cells, manifest)
    lines, broken = read_lines(folder / SAMPLES)
    samples = pd.DataFrame(lines, columns=["process", "attempt", "cell", "role", "index", "latency_ms", "event_ms",
                                           "compiled_calls", "started_at"])  # fmt: skip
    constants = cells.drop(columns=["receipt", "failure", "stop_reason", "steady"])
    constants["expected_calls"] = [_per_sample(r, n) for r, n in zip(cells["receipt"], cells["count"], strict=True)]
    exact = [r.get("tokens") if r.get("arithmetic") != "mixed" else None for r in cells["receipt"]]
    constants["tokens"] = [json.dumps(tokens) if tokens is not None else None for tokens in exact]
    frame = constants.merge(samples, on=["process", "attempt", "cell"], how="left")
    frame = frame[[_counts(*row) for row in zip(frame["role"], frame["index"], frame["count"], strict=True)]]
    frame = frame.assign(run=manifest.run, report=manifest.report, device=manifest.device)
    frame["identity"] = identity_digest(manifest.identity)
    for column in ("event_ms", "latency_ms", "compiled_calls"):
        frame[column] = frame[column].astype("float64")
    frame = frame.reindex(columns=COLUMNS).reset_index(drop=True)
    frame.attrs["broken_lines"] = broken
    return frame


def _counts(role: object, index: float, count: int) -> bool:
    return role != "sample" or kept(int(index), int(count))


def _per_sample(receipt: dict, count: int) -> float:
    return receipt["expected_calls"] / count if count and "expected_calls" in receipt else float("nan")


def receipts(path: Path | str) -> pd.DataFrame:
    """One row a process and cell of a run: what became of it, its receipt as a dictionary."""
    rows = list(read_processes(Path(path)))
    last, whole = complete_attempts(rows), ended(rows)
    processes = {(r.process, r.attempt): r for r in rows if isinstance(r, Process)}
    cells = [row for row in rows if isinstance(row, Cell) and (row.process, row.attempt) in whole]
    counted = [cell for cell in cells if cell.attempt == last.get(base(cell.process))]
    records = [_described(cell, processes.get((cell.process, cell.attempt))) for cell in counted]
    if not records and (Path(path) / SCORES).exists():
        raise BenchError(f"run {Path(path).name!r} holds scores, and nothing in it was timed; read it with bu.quality")
    if not records:
        raise BenchError(f"run {Path(path).name!r} has no finished process yet; measure it first")
    return pd.DataFrame(records)


def machines(cells: pd.DataFrame, manifest: Manifest) -> pd.Series:
    """The machine of each row of receipts: its process's, or where that does not say, the one that began the run."""
    stated = cells["machine"] if "machine" in cells else pd.Series(None, cells.index, dtype=object)
    return stated.fillna(manifest.machine)


def _described(cell: Cell, process: Process | None) -> dict:
    own = cell.model_dump(exclude={"kind"})
    if process is None:
        return own
    shared = process.model_dump(
        include={"round", "order", "model", "variant", "backend", "dtype", "machine", "host_score"}, exclude_none=True
    )
    return shared | own


def medians(rows: pd.DataFrame) -> pd.DataFrame:
    """Median latency per process and cell: a row a round, ``latency_ms`` in milliseconds, ``n`` samples behind it."""
    good = rows[(rows["role"] == "sample") & rows["latency_ms"].notna() & ~rows["status"].isin(UNFINISHED)]
    keys = [*KEY, "weights", "device", "run", "round", "order", "process", "status", "exhibit"]
    constant = {name: (name, "first") for name in ("tokens", "tokens_in", "tokens_out", "timer", "machine")}
    grouped = good.groupby(keys, dropna=False, sort=True)
    return grouped.agg(latency_ms=("latency_ms", "median"), n=("latency_ms", "size"), **constant).reset_index()


def over_rounds(cells: pd.DataFrame) -> MedianInterval:
    """Median over the rounds of one cell, with the interval that its processes' medians allow; milliseconds."""
    return median_over_processes(cells["latency_ms"].to_numpy(), cells["process"].to_numpy())


def cell_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Timed cells over all rounds: ``median_ms`` of the rounds' medians with its interval, samples and statuses."""
    cells = medians(rows).query("phase in ['prefill', 'decode', 'e2e']")
    found = []
    for key, group in cells.groupby([*KEY, "exhibit"], sort=False):
        ci = over_rounds(group)
        facts = {
            "median_ms": ci.median,
            "low_ms": ci.low,
            "high_ms": ci.high,
            "rounds": len(group),
            "samples": group["n"].sum(),
        }
        tally = group["status"].value_counts()
        status = ", ".join(f"{s} {n}" if len(tally) > 1 else s for s, n in tally.items())
        found.append(dict(zip([*KEY, "exhibit"], key, strict=True)) | facts | {"status": status})
    columns = [*KEY, "exhibit", "median_ms", "low_ms", "high_ms", "rounds", "samples", "status"]
    return pd.DataFrame(found, columns=columns)


def by_clock(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows timed in the measuring process, and rows timed over HTTP by a client: never to be ranked together."""
    served = rows["variant"].map(lambda name: name in VARIANTS and VARIANTS[name].served).astype(bool)
    return rows[~served], rows[served]


def failures(receipts: pd.DataFrame) -> pd.DataFrame:
    """Cells whose status is not ok: a row a cell and reason, with the number of rounds it happened in."""
    bad = receipts[receipts["status"] != "ok"].fillna({"reason": ""})
    keys = ["model", "variant", "phase", "status", "reason", "exhibit"]
    return bad.groupby(keys, sort=False).size().rename("rounds").reset_index()
