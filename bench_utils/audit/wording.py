"""What the audit finds, as sentences computed from its frames."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..formatting import count, significant
from .agreement import LAST_DIGIT
from .sources import digests
from .verdicts import DIFFERS, NOT_RECOMPUTABLE, REPRODUCES, VERDICTS

# What the heads of the page's tables say.
HEADS = {
    "corrections": {
        "report": "Report", "statement": "What was stated", "published": "Published", "recomputed": "Recomputed",
        "consequence": "What it changes",
    },
    "ranking": {
        "comparison": "Comparison", "arm": "Arm", "published_ms": "Own, ms", "models": "Models",
        "published_rank": "Rank", "common_ms": "Same, ms", "common_rank": "Rank, same",
    },
    "drift": {
        "group": "Control", "cells": "Cells", "moved": "Moved", "furthest": "Furthest", "drift_pct": "Change, %",
        "effect_size": "|d|",
    },
    "differs": {
        "claim_id": "Claim", "claim": "What", "published": "Published", "recomputed": "Recomputed",
        "how": "How, and from what", "reason": "How far off",
    },
    "open": {"claim_id": "Claim", "claim": "What", "published": "Published", "reason": "What it would need"},
}  # fmt: skip


def verdicts_in_words(audit: pd.DataFrame) -> str:
    """How many claims have each verdict, and how many of those that differ do so in the last digit only."""
    tally = audit["verdict"].value_counts()
    small = audit.loc[audit["verdict"] == DIFFERS, "reason"].str.startswith(LAST_DIGIT).sum()
    good, bad, unknown = (count(tally[verdict]) for verdict in (REPRODUCES, DIFFERS, NOT_RECOMPUTABLE))
    return (
        f"Of {count(len(audit))} published numbers {good} reproduce, {bad} do not ({count(small)} of them in the last "
        f"digit only), and {unknown} cannot be recomputed."
    )


def reports_in_words(audit: pd.DataFrame) -> str:
    """For each report, how many of its recomputable numbers do not reproduce."""
    checked = audit[audit["verdict"] != NOT_RECOMPUTABLE]
    bad = (checked["verdict"] == DIFFERS).groupby(checked["report"], sort=False).agg(["sum", "size"])
    bad = bad.sort_values("sum", ascending=False)
    said = [f"{report} {count(row['sum'])} of {count(row['size'])}" for report, row in bad.iterrows()]
    return f"Recomputable numbers that do not reproduce: {', '.join(said)}."


def reasons_in_words(audit: pd.DataFrame, most: int = 3) -> str:
    """The commonest reasons why claims cannot be recomputed."""
    reasons = audit.loc[audit["verdict"] == NOT_RECOMPUTABLE, "reason"].value_counts()
    said = [f"{reason} ({count(times)} claims)" for reason, times in reasons.head(most).items()]
    return f"The commonest reasons: {'; '.join(said)}."


def ranking_in_words(table: pd.DataFrame) -> str:
    """For each comparison, whether its winner stays on the models that all arms share."""
    return " ".join(_comparison(name, arms) for name, arms in table.groupby("comparison", sort=False))


def _comparison(name: str, arms: pd.DataFrame) -> str:
    if arms["common_ms"].isna().all():
        return f"{name}: no model is common to all arms, so there is no ranking."
    was, now = (arms.loc[arms[column].idxmin()] for column in ("published_ms", "common_ms"))
    slowest = [arms[column].max() / arms[column].min() for column in ("published_ms", "common_ms")]
    spread = f"slowest over fastest {significant(slowest[0], 2)} becomes {significant(slowest[1], 2)}"
    if was["arm"] == now["arm"]:
        return f"{name}: {was['arm']} stays first; {spread}."
    return f"{name}: the first place goes from {was['arm']} to {now['arm']}; {spread}."


def drift_in_words(drift: pd.DataFrame) -> str:
    """How many control cells moved, and which moved furthest between stacks and between runs of one stack."""
    runs = drift["varied"] == "run"
    stacks, same = (_furthest(drift[part]) for part in (~runs, runs))
    moved, cells = count(drift["moved"].sum()), count(len(drift))
    return f"{moved} of {cells} control cells moved: {stacks} at most between stacks, {same} between runs of one stack."


def _furthest(cells: pd.DataFrame) -> str:
    row = cells.loc[cells["drift_pct"].abs().idxmax()]
    return f"{row['drift_pct']:+.1f} % ({row['report']}, {row['control']}, {row['model']}, {row['phase']})"


def drift_by_group(drift: pd.DataFrame) -> pd.DataFrame:
    """Control arms by what was changed: cells, how many moved, the furthest of them, and the largest effect size."""
    furthest = drift.loc[drift.groupby("group", sort=False)["drift_pct"].apply(lambda pct: pct.abs().idxmax())]
    table = drift.groupby("group", sort=False).agg(
        cells=("moved", "size"), moved=("moved", "sum"), effect_size=("effect_size", "max")
    )
    table["furthest"] = (furthest["model"] + ", " + furthest["phase"]).to_numpy()
    table["drift_pct"] = furthest["drift_pct"].to_numpy()
    return table.reset_index()[["group", "cells", "moved", "furthest", "drift_pct", "effect_size"]]


def provenance(audit: pd.DataFrame, folder: Path | None = None) -> dict[str, str]:
    """What the page rests on: the digest of each table, and how many numbers came out how."""
    files = {table.capitalize(): f"{name}, sha256 {digest}" for table, (name, digest) in digests(folder).items()}
    tally = audit["verdict"].value_counts()
    outcomes = ", ".join(f"{count(tally[verdict])} {verdict}" for verdict in VERDICTS)
    return {"Measured": "nothing: every number is computed from published tables", "Numbers": outcomes, **files}


def in_full(audit: pd.DataFrame, verdict: str) -> pd.DataFrame:
    """The claims of one verdict as a page shows them.

    Columns claim_id, claim, published and recomputed (with the unit), how (method and inputs, shortened), reason.
    """
    mine = audit[audit["verdict"] == verdict].fillna({"method": "", "inputs": ""})
    table = mine[["claim_id", "claim", "reason"]].copy()
    table["published"] = [f"{row.published} {row.unit}".strip() for row in mine.itertuples()]
    table["recomputed"] = [_value(row.recomputed) for row in mine.itertuples()]
    table["how"] = [f"{row.method}: {_shortened(row.inputs.split())}" for row in mine.itertuples()]
    return table.reset_index(drop=True)


def control_cells(drift: pd.DataFrame) -> pd.DataFrame:
    """Control cells as a page shows them: group, cell, before_ms, after_ms, drift_pct, effect_size, moved."""
    where = drift["varied"].where(drift["varied"].str.contains(" "), "")
    cells = (drift["model"] + ", " + drift["phase"] + ", " + where).str.rstrip(", ")
    return drift.assign(cell=cells)[["group", "cell", "before_ms", "after_ms", "drift_pct", "effect_size", "moved"]]


def _value(number: float) -> str:
    if number != number:
        return ""
    return count(number) if float(number).is_integer() else significant(number, 4)


def _shortened(names: list[str]) -> str:
    return " ".join(names) if len(names) < 5 else f"{names[0]} to {names[-1]} ({len(names)})"
