"""Runs of one machine in several stacks: whether the arm that nothing was done to stayed, and what shifted beside it.

Rounds of the stacks of a group follow each other, so the baseline of one is paired with the baseline of the other,
round by round. Where it moved by more than the machine's A/A floor, a changed ratio may be its doing: it is void.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from . import comparison, contrasts, frames, shifts, statistics
from .comparison import Run
from .contrasts import CELL
from .errors import BenchError
from .records import TIMED

CONTROL = ["a", "b", *CELL, "rounds", "ratio", "low", "high", "floor", "drifted"]
VOID = "void"


def groups(root: Path, report: str) -> dict[str, dict[str, Run]]:
    """Of each device, the newest group of complete runs of a report: its runs by stack, in the order of their names."""
    found: dict[tuple[str, str], dict[str, Run]] = {}
    for folder, manifest in comparison.complete(root, report):
        if manifest.group:
            found.setdefault((manifest.device, manifest.group), {})[manifest.stack] = (folder, manifest)
    whole = {key: dict(sorted(runs.items())) for key, runs in sorted(found.items()) if len(runs) > 1}
    return {device: runs for (device, _), runs in whole.items()}


def control(rows: Mapping[str, pd.DataFrame], baseline: str, floors: Mapping[str, float | None]) -> pd.DataFrame:
    """The baseline of every pair of stacks, CONTROL: a row a pair and cell.

    ``ratio`` is stack ``b`` over ``a`` with its 95 % interval over ``rounds``; ``floor`` the larger A/A floor of both
    (log scale, never below SAME_BAND); ``drifted`` when the ratio itself, or with too few rounds anything, lies beyond.
    """
    arms = {name: _baseline(table, baseline) for name, table in rows.items()}
    found = []
    for a, b in itertools.combinations(arms, 2):
        pairs = arms[a].merge(arms[b], on=[*CELL, "round"], suffixes=("_a", "_b"))
        if pairs.empty:
            raise BenchError(f"stacks {a} and {b} share no cell of {baseline}; measure the same plan in both")
        floor = max(statistics.SAME_BAND, *(floors[name] or 0.0 for name in (a, b)))
        for key, cells in pairs.groupby(CELL, sort=False):
            found.append(dict(zip(CELL, key, strict=True)) | {"a": a, "b": b, "floor": floor} | _moved(cells, floor))
    return pd.DataFrame(found, columns=CONTROL)


def _baseline(rows: pd.DataFrame, baseline: str) -> pd.DataFrame:
    cells = frames.medians(rows)
    cells = cells[(cells["variant"] == baseline) & cells["phase"].isin(TIMED) & ~cells["exhibit"].astype(bool)]
    return cells[[*CELL, "round", "latency_ms"]]


def _moved(cells: pd.DataFrame, floor: float) -> dict:
    logs = np.log(cells["latency_ms_b"] / cells["latency_ms_a"]).to_numpy()
    moved = {"rounds": len(logs), "ratio": float(np.exp(logs.mean())), "drifted": bool(abs(logs.mean()) > floor)}
    if len(logs) < 2:
        return moved | {"low": math.nan, "high": math.nan, "drifted": True}
    effect = statistics.paired_ratio(logs)
    return moved | {"low": effect.low, "high": effect.high}


def between(root: Path, found: Mapping[str, Run], baseline: str, aa: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The control of every pair of stacks, and every contrast that they share as ``shifts.differences`` gives it.

    ``found``: runs by stack; ``aa``: the variant that is the baseline under another label. The ``outcome`` of what was
    contrasted with a control that drifted in the same cell is VOID.
    """
    rows = {name: frames.load(folder) for name, (folder, _) in found.items()}
    moved = control(rows, baseline, {name: contrasts.aa_floor(table, baseline, aa) for name, table in rows.items()})
    common, _ = shifts.shared({name: comparison.effects(root, folder) for name, (folder, _) in found.items()})
    table = shifts.differences(common).merge(moved[["a", "b", *CELL, "drifted"]], on=["a", "b", *CELL], how="left")
    void = table["drifted"].fillna(True).astype(bool)
    table.loc[void, ["outcome", "differs"]] = [VOID, False]
    return moved, table
