"""What a step waits for: launches, memory, arithmetic, or a mixture, from numbers that are shown beside the word.

Per step of a profiled cell: ``wall``, the clock of its timed calls; ``span``, between two events on the GPU;
``kernel``, the sum inside kernels, from the profiled call; ``graph``, the same step replayed as one CUDA graph.
"""

from __future__ import annotations

import pandas as pd

from . import catalog, physics
from .gates import seen_once

# Kernels that fill less than this share of the wall leave the device waiting for the host.
BUSY = 0.5
# A step that a CUDA graph makes so many times faster was bound by its launches.
GAIN = 1.5
# What memory or arithmetic would take at least, as a share of the kernels' time, from which it is what binds.
BOUND = 0.5
# Time from one launch to the next that the fastest host reaches on current GPUs, in microseconds.
LAUNCH_US = 2.3

STEP = ["model", "variant", "dtype", "prompt_tokens", "new_tokens", "batch_size"]
COLUMNS = ["model", "variant", "dtype", "wall_ms", "span_ms", "kernel_ms", "graph_ms", "launches", "regime"]


def regime(
    wall: float, kernel: float, graph: float | None, memory: float, arithmetic: float, resident: bool, cuda: bool
) -> str:
    """The word for one step, all times in milliseconds; ``memory`` and ``arithmetic`` are the least that those take.

    ``graph`` is None where no graph was measured; on a processor, where operators are called and nothing is launched,
    the first word is ``call-bound``.
    """
    if kernel < BUSY * wall and (graph is None or wall > GAIN * graph):
        return "launch-bound" if cuda else "call-bound"
    if resident and kernel < memory:
        return "cache-resident"
    if memory >= BOUND * kernel:
        return "bandwidth-bound"
    return "compute-bound" if arithmetic >= BOUND * kernel else "mixed"


def regime_table(rows: pd.DataFrame, receipts: pd.DataFrame) -> pd.DataFrame:
    """A row a profiled decode cell: the times of one step in milliseconds, its launches (on a processor: operator
    calls), the floors of memory, arithmetic and launches, and the regime that follows. Unknown numbers are NaN."""
    facts = {name: seen_once(receipts, name) for name in ("bandwidth_gbs", "gflops", "last_cache_bytes")}
    steps = _steps(rows)
    profiled = receipts[receipts["receipt"].map(lambda r: "profile" in r) & (receipts["phase"] == "decode")]
    found = [_row(cell, steps, facts) for cell in profiled.itertuples()]
    return pd.DataFrame([row for row in found if row], columns=None if any(found) else COLUMNS)


def _steps(rows: pd.DataFrame) -> pd.DataFrame:
    """Median wall and span of a decode step, by cell."""
    timed = rows[(rows["phase"] == "decode") & (rows["role"] == "sample")]
    medians = timed.groupby(STEP)[["latency_ms", "event_ms"]].median()
    return medians.div(medians.index.get_level_values("new_tokens"), axis=0)


def _row(cell, steps: pd.DataFrame, facts: dict) -> dict | None:
    key = tuple(getattr(cell, name) for name in STEP)
    if key not in steps.index:
        return None
    profile, model = cell.receipt["profile"], catalog.model(cell.model)
    wall, span = steps.loc[key]
    cuda = "launches" in profile
    kernel = profile["kernel_ms"] if cuda else profile["kernel_share"] * wall
    other = (cell.model, "cudagraph", *key[2:])
    graph = float(steps.loc[other, "latency_ms"]) if other in steps.index else None
    read = physics.bytes_read(model, cell.dtype, "decode", *key[3:]) / cell.new_tokens
    memory = physics.floor_ms(read, facts["bandwidth_gbs"]) if facts["bandwidth_gbs"] else float("nan")
    operations = cell.batch_size * physics.operations(model)
    arithmetic = operations / facts["gflops"] / 1e6 if facts["gflops"] else float("nan")
    resident = physics.resident(model, cell.dtype, facts["last_cache_bytes"])
    launches = profile["launches"] if cuda else profile["operators"]
    return {
        **dict(zip(COLUMNS[:3], key, strict=False)),
        "wall_ms": wall,
        "span_ms": span,
        "kernel_ms": kernel,
        "graph_ms": float("nan") if graph is None else graph,
        "launches": launches,
        "memory_ms": memory,
        "arithmetic_ms": arithmetic,
        "launch_ms": launches * LAUNCH_US / 1e3 if cuda else float("nan"),
        "regime": regime(wall, kernel, graph, memory, arithmetic, resident, cuda),
    }


def regimes_in_words(table: pd.DataFrame) -> str:
    """How many profiled steps are in which regime, and the share of the wall that kernels fill."""
    if table.empty:
        return "No step was profiled in this run."
    counted = table["regime"].value_counts()
    share = (table["kernel_ms"] / table["wall_ms"]).agg(["min", "max"])
    said = ", ".join(f"{count} {word}" for word, count in counted.items())
    return f"Of {len(table)} profiled steps: {said}; kernels fill {share['min']:.0%} to {share['max']:.0%} of the wall."
