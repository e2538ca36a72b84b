"""Checks of a whole run that must pass before its numbers count; a failed one is a row on the page."""

from __future__ import annotations

import pandas as pd

from .catalog import VARIANTS
from .plan import Preset

PASSED, FAILED, NOTED = "passed", "failed", "noted"
TIMED = ("prefill", "decode", "e2e")


def run_gates(receipts: pd.DataFrame, preset: Preset, baseline: str = "eager") -> pd.DataFrame:
    """Every gate of a run: ``gate``, ``result`` (passed, failed, noted) and the ``evidence``, counted from receipts.

    ``receipts`` is ``frames.receipts`` of the run; exhibits are measured to fail, and are left out.
    """
    cells = receipts[receipts["phase"].isin(TIMED)]
    counted = cells[~cells["exhibit"]]
    checks = [
        _complete(cells, preset),
        _engaged(counted),
        _one_dtype(counted),
        _one_digest(counted),
        _one_thread_count(counted),
        _same_tokens(counted, baseline),
        _alone(counted),
        _steady(counted),
    ]
    return pd.DataFrame(checks, columns=["gate", "result", "evidence"])


def _row(gate: str, bad: int, of: int, noun: str, else_: str = FAILED) -> tuple[str, str, str]:
    return gate, PASSED if bad == 0 else else_, f"{of - bad} of {of} {noun}"


def _complete(cells: pd.DataFrame, preset: Preset) -> tuple[str, str, str]:
    designed = len(preset.measured) * preset.rounds + len(preset.shown)
    missing = designed - len(cells)
    return _row(
        "the design is complete: every cell of every round has a row",
        missing,
        designed,
        "designed rows found",
    )


def _engaged(cells: pd.DataFrame) -> tuple[str, str, str]:
    compiled = cells[[VARIANTS[v].compiled for v in cells["variant"]]]
    calls = [(r.get("compiled_calls", 0), r.get("expected_calls", 0)) for r in compiled["receipt"]]
    made, expected = sum(c for c, _ in calls), sum(e for _, e in calls)
    bad = int((compiled["status"].isin(["not_compiled", "recompile_storm", "graph_skip"])).sum())
    gate, result, evidence = _row(
        "every timed call of a compiled variant ran compiled code", bad, len(compiled), "cells"
    )
    return gate, result, f"{evidence}; {made:,} of {expected:,} calls"


def _provenance(cells: pd.DataFrame, field: str) -> pd.Series:
    return cells["receipt"].map(lambda r: r.get("provenance", {}).get(field))


def _one_dtype(cells: pd.DataFrame) -> tuple[str, str, str]:
    known = _provenance(cells, "dtype").dropna()
    bad = int((known != cells.loc[known.index, "dtype"]).sum())
    return _row("weights read back have the dtype of the label", bad, len(known), "cells")


def _one_digest(cells: pd.DataFrame) -> tuple[str, str, str]:
    digests = _provenance(cells, "digest").groupby([cells["model"], cells["dtype"]]).nunique()
    return _row(
        "all variants of a model ran the same weights, by digest",
        int((digests > 1).sum()),
        len(digests),
        "models",
    )


def _one_thread_count(cells: pd.DataFrame) -> tuple[str, str, str]:
    threads = sorted({r["threads"] for r in cells["receipt"] if "threads" in r})
    result = PASSED if len(threads) == 1 else FAILED
    return "the same number of threads for all", result, f"{', '.join(map(str, threads))} in every receipt"


def _same_tokens(cells: pd.DataFrame, baseline: str) -> tuple[str, str, str]:
    """Compares with the baseline's greedy tokens of the same round, in full precision only."""
    exact = cells[(cells["dtype"] == "float32") & cells["receipt"].map(lambda r: "tokens" in r)]
    key = ["model", "dtype", "cell", "round"]
    tokens = exact.assign(tokens=[str(r["tokens"]) for r in exact["receipt"]])
    base = tokens[tokens["variant"] == baseline].set_index(key)["tokens"]
    others = tokens[tokens["variant"] != baseline]
    bad = sum(row.tokens != base.get(tuple(getattr(row, k) for k in key)) for row in others.itertuples())
    return _row("greedy tokens equal the baseline's", bad, len(others), "cells")


def _alone(cells: pd.DataFrame) -> tuple[str, str, str]:
    bad = int((cells["status"] == "contaminated").sum())
    shares = [s for r in cells["receipt"] if (s := r.get("others_cores")) is not None]
    gate, result, evidence = _row("no other process used the machine meanwhile", bad, len(cells), "cells")
    return (
        gate,
        result,
        evidence + (f"; others used at most {max(shares):.2f} cores" if shares else "; others unknown"),
    )


def _steady(cells: pd.DataFrame) -> tuple[str, str, str]:
    known = cells["steady"].dropna()
    return _row(
        "times were steady before the first sample",
        int((~known.astype(bool)).sum()),
        len(known),
        "cells",
        NOTED,
    )
