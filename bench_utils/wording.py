"""Findings as sentences: each computed from a frame, so that no page says what its rows do not."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from . import frames
from .formatting import count, duration, significant, with_interval
from .records import DISQUALIFIED, UNFINISHED


def in_words(effects: pd.DataFrame, model: str, variant: str, phase: str) -> str:
    """An effect: "1.31 (1.28 to 1.35) times faster", or why none can be stated."""
    mine = effects[(effects["model"] == model) & (effects["variant"] == variant) & (effects["phase"] == phase)]
    if mine.empty:
        return "unknown (not measured)"
    row = mine.iloc[0]
    if row["outcome"] in ("faster", "slower"):
        ratio, low, high = row["ratio"], row["low"], row["high"]
        if row["outcome"] == "faster":
            ratio, low, high = 1 / ratio, 1 / high, 1 / low
        return f"{with_interval(ratio, low, high)} times {row['outcome']}"
    words = {"same": "no different", "ambiguous": "not clearly different", "invalid": "not comparable"}[row["outcome"]]
    return f"{words}, latency ratio {with_interval(row['ratio'], row['low'], row['high'])}"


def share_in_words(shares: pd.DataFrame, variant: str) -> str:
    """How much of a variant ran compiled: "8 of 16 decode steps labelled compile-dynamic-false ran compiled code"."""
    mine = shares[shares["variant"] == variant]
    if mine.empty:
        return f"{variant} was not measured"
    row = mine.iloc[0]
    return f"{row['compiled']:.0f} of {row['expected']:.0f} decode steps labelled {variant} ran compiled code"


def shares_in_words(shares: pd.DataFrame) -> str:
    """One sentence over all compiled variants."""
    if shares.empty:
        return "No compiled decode was measured in this run."
    short = shares[shares["compiled"] < shares["expected"]]
    full = sorted(set(shares["variant"]) - set(short["variant"]))
    said = [
        f"{r.variant} on {r.model} ran {r.compiled:.0f} of {r.expected:.0f} decode steps compiled"
        for r in short.itertuples()
    ]
    if full:
        said.append(f"{', '.join(full)} ran every step compiled")
    return _sentence(said)


def fastest_in_words(cells: pd.DataFrame) -> str:
    """The lowest median of each model, phase, dtype and size: of cells that gave a number that counts in every round;
    exhibits, measured once, are in no ranking."""
    cells = cells[~cells["exhibit"].astype(bool) & ~cells["status"].map(_has_bad).astype(bool)]
    request = [key for key in frames.KEY if key != "variant"]
    groups = cells.groupby(request, sort=False)
    whole = cells[cells["rounds"] == groups["rounds"].transform("max")]
    if whole.empty:
        return "No cell counts in every round, so none is the lowest."
    best = whole.loc[whole.groupby(request, sort=False)["median_ms"].idxmin()]
    told = [key for key in ("dtype", "prompt_tokens", "batch_size") if best[key].nunique() > 1]
    text = _sentence(
        f"{r.phase} of {r.model}{_sizes(r, told)} is lowest with {r.variant}, {significant(r.median_ms)} ms"
        for r in best.itertuples()
    )
    return text[:1].upper() + text[1:]


def _has_bad(statuses: str) -> bool:
    """Whether a tally of statuses, as in "ok 5, timeout 1", holds one that does not count."""
    return any(one.partition(" ")[0] in DISQUALIFIED | UNFINISHED for one in statuses.split(", "))


def _sizes(row, told: list[str]) -> str:
    """What tells the requests apart: " (float16, 128 prompt tokens)"."""
    units = {"dtype": "", "prompt_tokens": " prompt tokens", "batch_size": " a batch"}
    said = [f"{getattr(row, key)}{units[key]}" for key in told]
    return f" ({', '.join(said)})" if said else ""


def outcomes_in_words(effects: pd.DataFrame) -> str:
    """How many contrasts came out how, the control apart."""
    mine = effects[~effects["variant"].str.endswith("-again")]
    if mine.empty:
        return "There is nothing to contrast."
    tally = mine["outcome"].value_counts()
    said = ", ".join(f"{n} {outcome}" for outcome, n in tally.items())
    return f"Of {len(mine)} contrasts with {mine['baseline'].iloc[0]}: {said}."


def control_in_words(control: pd.DataFrame) -> str:
    """What the A/A control shows."""
    if control.empty:
        return "This preset has no A/A control, so no contrast gets an outcome."
    known = control[control["ratio"].notna()]
    if known.empty:
        return "The A/A control gave no number, so no contrast gets an outcome."
    row = known.loc[(known["ratio"] - 1).abs().idxmax()]
    tally = control["outcome"].value_counts().to_dict()
    said = ", ".join(f"{n} {outcome}" for outcome, n in tally.items())
    return (
        f"{row['baseline'].capitalize()} under two labels differs most in {row['phase']} of {row['model']}, "
        f"latency ratio {with_interval(row['ratio'], row['low'], row['high'])}; its {len(control)} contrasts came out "
        f"{said}. "
        f"Differences below {significant(100 * row['floor'], 2)} % are therefore not told apart here."
    )


def costs_in_words(costs: pd.DataFrame) -> str:
    """What compiling costs and after how many tokens it pays."""
    if costs.empty:
        return "No compiled variant was measured from a cold cache."
    said = []
    for r in costs.itertuples():
        cost = f"{r.variant} on {r.model} compiles in {duration(r.cold_s)} cold and {duration(r.warm_s)} warm"
        if r.tokens_cold == r.tokens_cold:
            cost += f" and has paid after {count(r.tokens_cold)} and {count(r.tokens_warm)} tokens"
        else:
            cost += " and never pays in decode"
        said.append(cost)
    return _sentence(said)


def decided_in_words(costs: pd.DataFrame, variant: str, phase: str) -> str:
    """What decides the latency of a step: "below a width of 190 (170 to 210) depth decides, above it parameters"."""
    mine = costs[(costs["variant"] == variant) & (costs["phase"] == phase)]
    if mine.empty:
        return f"{phase} with {variant} was not measured"
    row = mine.iloc[0]
    layer = with_interval(row["layer_us"], row["layer_us_low"], row["layer_us_high"])
    mb = with_interval(row["mb_us"], row["mb_us_low"], row["mb_us_high"])
    said = f"a step of {variant} {phase} costs {layer} us a layer and {mb} us a megabyte of weights"
    if row["crossover"] != row["crossover"]:
        return f"{said}; one of the two is not above zero, so no width parts them"
    width = with_interval(row["crossover"], row["crossover_low"], row["crossover_high"])
    return f"{said}: below a width of {width} depth decides, above it parameters"


def _sentence(parts: Iterable[str]) -> str:
    """Parts as one sentence; a variant's name at its beginning stays as it is written."""
    return "; ".join(parts) + "."
