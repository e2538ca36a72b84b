"""Whether engines computed the same: their tokens beside the baseline's, their logits beside plain PyTorch's."""

from __future__ import annotations

import pandas as pd

from .records import TIMED, UNFINISHED

CELL = ["model", "phase", "prompt_tokens", "new_tokens", "batch_size"]
ARM = ["variant", "dtype"]


def compare_outputs(receipts: pd.DataFrame, baseline: str = "eager") -> pd.DataFrame:
    """A row a variant, dtype and cell that gave tokens; the worst of its rounds.

    ``tokens`` of one sequence, of which the first ``same`` are those of ``baseline`` in float32 on the same prompt
    (NaN where the baseline did not run that cell); ``difference``: the largest of a logit from plain PyTorch along
    the same tokens, in standard deviations, with the ``tolerance`` of its ``arithmetic`` (NaN where
    an engine shows no logits).
    """
    cells = receipts[receipts["phase"].isin(TIMED) & ~receipts["status"].isin(UNFINISHED)]
    cells = cells[cells["receipt"].map(lambda r: bool(r.get("tokens")))]
    base = cells[(cells["variant"] == baseline) & (cells["dtype"] == "float32")]
    expected = {key: r["tokens"] for *key, r in base[[*CELL, "round", "receipt"]].to_numpy() for key in [tuple(key)]}
    found = [
        {name: getattr(row, name) for name in (*ARM, *CELL)}
        | {"tokens": len(row.receipt["tokens"][0])}
        | {"same": _same(row.receipt["tokens"], expected.get(tuple(getattr(row, k) for k in (*CELL, "round"))))}
        | {"arithmetic": row.receipt.get("arithmetic", row.dtype)}
        | _equivalence(row.receipt)
        for row in cells[cells["variant"] != baseline].itertuples()
    ]
    columns = [*CELL, *ARM, "tokens", "same", "arithmetic", "difference", "tolerance"]
    table = pd.DataFrame(found, columns=columns)
    worst = {"tokens": "min", "same": "min", "arithmetic": "first", "difference": "max", "tolerance": "first"}
    return table.groupby([*CELL, *ARM], sort=False).agg(worst).reset_index()[columns]


def _equivalence(receipt: dict) -> dict[str, float]:
    """Difference and tolerance as recorded: NaN where no logits were shown, endless where one was no number."""
    found = receipt.get("equivalence", {})
    difference, tolerance = (found.get(key, float("nan")) for key in ("difference", "tolerance"))
    return {"difference": float("inf") if difference is None else difference, "tolerance": tolerance}


def _same(own: list[list[int]], expected: list[list[int]] | None) -> float:
    """Leading tokens that agree, in the sequence that parts first."""
    if expected is None:
        return float("nan")
    return min(
        next((i for i, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), len(mine))
        for mine, theirs in zip(own, expected, strict=True)
    )


def outputs_in_words(table: pd.DataFrame) -> str:
    """Which engines produced the baseline's tokens, and where the others parted from them."""
    known = table[table["same"].notna()]
    if known.empty:
        return "No engine ran a cell of the baseline, so no tokens can be compared."
    apart = known[known["same"] < known["tokens"]]
    alike = [v for v in dict.fromkeys(known["variant"]) if v not in set(apart["variant"]) and not v.endswith("-again")]
    said = [f"Every token of {', '.join(alike)} is the baseline's, up to {known['tokens'].max():.0f} in a row"]
    said = said if alike else []
    said += [
        f"{row.variant} in {row.dtype} ({row.arithmetic} arithmetic) on {row.model} parts from it after "
        f"{row.same:.0f} of {row.tokens:.0f} tokens"
        for row in apart.sort_values("same").drop_duplicates([*ARM, "model"]).itertuples()
    ]
    return "; ".join(said) + "."


def engines(receipts: pd.DataFrame) -> pd.DataFrame:
    """A row a variant and model asked for: ``engine`` and ``version`` as its receipts say, cells ``ok`` of ``cells``,
    and the ``reason`` of the first that is not."""
    cells = receipts[receipts["phase"].isin(TIMED)]
    found = []
    for (variant, dtype, model), group in cells.groupby(["variant", "dtype", "model"], sort=False):
        ran = [r for r in group["receipt"] if r.get("engine")]
        bad = group[group["status"] != "ok"]
        found.append(
            {"variant": variant, "dtype": dtype, "model": model}
            | {key: ran[0].get(key) if ran else None for key in ("engine", "version")}
            | {"ok": int((group["status"] == "ok").sum()), "cells": len(group)}
            | {"status": bad["status"].iloc[0] if len(bad) else "ok"}
            | {"reason": (bad["reason"].iloc[0] or "") if len(bad) else ""}
        )
    return pd.DataFrame(found)


def client_overhead(receipts: pd.DataFrame) -> pd.DataFrame:
    """What the client of a server adds by itself, in microseconds: the largest of a variant's processes."""
    found = [
        {"variant": variant} | receipt["client_overhead_us"]
        for variant, receipt in zip(receipts["variant"], receipts["receipt"], strict=True)
        if "client_overhead_us" in receipt
    ]
    return (
        pd.DataFrame(found, columns=None if found else ["variant"]).groupby("variant", sort=False).max().reset_index()
    )
