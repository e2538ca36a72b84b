"""Arms that a change of stack should leave alone, and how far they moved: what moves them moves every other arm."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from .. import published
from ..statistics import compare_summaries, summary_from_interval

LIMIT_D = 0.5  # TR147 calls its reproducibility index invalid from this |d| of the control arm on
LIMIT_PCT = 5.0  # and its portability verdict calls a mean the same within this many percent
COLUMNS = (
    "group", "report", "control", "varied", "model", "phase", "before_ms", "after_ms", "drift_pct", "effect_size",
    "source", "moved",
)  # fmt: skip


@dataclass(frozen=True)
class Watch:
    """A control arm in two sets of a report's sections that should agree, matched by `key`."""

    group: str
    report: str
    backend: str
    varied: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    key: tuple[str, ...] = ("model", "dtype", "phase")


WATCHES = (
    Watch("TR126: Ollama, other torch", "TR126", "ollama", "torch", ("9.1", "9.2", "10.2", "10.4"), ("10.6",)),
    Watch("TR126: eager, other torch", "TR126", "transformers-gpu", "torch", ("9.1", "9.2", "10.2", "10.4"), ("10.6",)),
    Watch("TR126: eager, padded run", "TR126", "transformers-gpu", "run", ("6.1", "6.2"), ("5.4",)),
    Watch("TR126: eager, baseline run", "TR126", "transformers-gpu", "run", ("6.1", "6.2"), ("5.5",)),
    Watch("TR126: eager, phase 3 run", "TR126", "transformers-gpu", "run", ("6.1", "6.2"), ("9.2",)),
    Watch("TR120: eager, padded run", "TR120", "transformers-gpu", "run", ("5.1 (", "5.3 ("), ("5.1.1", "5.3.1")),
    Watch("TR120: eager, dynamic run", "TR120", "transformers-gpu", "run", ("5.1 (",), ("5.1.2",)),
)
_TRITON = "TR147: eager, other Triton"


def invariant_arm_drift() -> pd.DataFrame:
    """One row a control cell and pair of stacks or runs: its means, their drift in percent, and the effect size.

    ``effect_size`` is |d|, from the printed summaries or else as the report prints it (``source``), NaN where
    neither exists. ``moved`` says that it exceeds the limits above. Milliseconds.
    """
    cells = published.latency()
    cells = cells[cells["mean_ms"].notna() & (cells["n"] > 0) & cells["scenario"].str.contains("all |pooled")]
    pairs = [_pairs(watch, cells[cells["report"] == watch.report]) for watch in WATCHES]
    table = pd.concat([*pairs, _triton(cells)], ignore_index=True)
    return table.assign(moved=_moved(table))[list(COLUMNS)]


def _moved(table: pd.DataFrame) -> pd.Series:
    by_mean = table["drift_pct"].abs() >= LIMIT_PCT
    return by_mean | (table["effect_size"] >= LIMIT_D)


def _pairs(watch: Watch, cells: pd.DataFrame) -> pd.DataFrame:
    arm = cells[cells["backend"] == watch.backend]
    before, after = (arm[arm["section"].str.startswith(part)] for part in (watch.before, watch.after))
    pairs = before.merge(after, on=[*watch.key], suffixes=("", "_after"))
    facts = {"group": watch.group, "control": watch.backend, "varied": watch.varied}
    return pd.DataFrame([_drift(pair) | facts for pair in pairs.to_dict("records")])


def _triton(cells: pd.DataFrame) -> pd.DataFrame:
    """The eager arm of TR147's Triton ablation against the oldest version."""
    arm = cells[cells["section"].str.startswith("SS8") & (cells["compile_mode"] == "eager")]
    first = arm["triton"].min()
    before, after = arm[arm["triton"] == first], arm[arm["triton"] != first]
    pairs = before.merge(after, on=["model", "dtype", "phase", "cache"], suffixes=("", "_after"))
    return pd.DataFrame([_drift(pair) | _printed_effect(pair) for pair in pairs.to_dict("records")])


def _drift(pair: dict) -> dict[str, object]:
    before, after = pair["mean_ms"], pair["mean_ms_after"]
    known = {key: pair[key] for key in ("report", "model", "phase")}
    known |= {"before_ms": before, "after_ms": after, "drift_pct": 100 * (after - before) / before}
    spreads = _std(pair, ""), _std(pair, "_after")
    if any(math.isnan(spread) for spread in spreads):
        return known | {"effect_size": math.nan, "source": "no spread printed"}
    a, b = ((int(pair["n" + s]), pair["mean_ms" + s], std) for s, std in zip(("", "_after"), spreads, strict=True))
    return known | {"effect_size": abs(compare_summaries(a, b).cohens_d), "source": "printed summaries"}


def _std(pair: dict, side: str) -> float:
    n, mean, std, low, high = (pair[name + side] for name in ("n", "mean_ms", "std_ms", "ci_low_ms", "ci_high_ms"))
    if not math.isnan(std) or math.isnan(low):
        return std
    return summary_from_interval(int(n), mean, low, high, "t").std


def _printed_effect(pair: dict) -> dict[str, object]:
    """The effect size that the report prints for two Triton versions of one eager cell, if it prints one."""
    cache = pair["cache"].removesuffix("Cache")
    wanted = f"{pair['triton_after']} vs {pair['triton']}, {pair['phase']} {cache} eager"
    claims = published.claims()
    found = claims[(claims["metric"] == "cohens_d") & claims["claim"].str.endswith(wanted)]
    facts = {"group": _TRITON, "control": "transformers-gpu", "varied": f"Triton {pair['triton_after']}, {cache} cache"}
    if found.empty:
        return facts
    return facts | {"effect_size": abs(float(found["value"].iloc[0])), "source": found["claim_id"].iloc[0]}
