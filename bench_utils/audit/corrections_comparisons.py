"""Corrections of comparisons: arms that were not alike, effects that are noise, wholes shorter than their parts."""

from __future__ import annotations

import pandas as pd

from ..statistics import SummaryComparison, compare_summaries
from .case import Case
from .control import invariant_arm_drift
from .evidence import Correction, audited, ids, printed, said, sources
from .physics import additivity, decode_spread, power_implied, survivors
from .ranking import like_for_like

EQUIVALENCE = ids("TR147", *range(54, 60))


def student(claim_id: str) -> SummaryComparison:
    """Student's test of the two rows that a claim compares."""
    case = Case(sources(), claim_id)
    return compare_summaries(case.summary(case.a[0]), case.summary(case.b[0]), equal_var=True)


def ranks(comparison: str) -> pd.DataFrame:
    """The arms of one like-for-like comparison, indexed by arm."""
    table = like_for_like()
    return table[table["comparison"] == comparison].set_index("arm")


def mean_win() -> Correction:
    test = student("TR117-006")
    return Correction(
        "TR117",
        "The compile label wins on the mean",
        f"{printed('TR117-006')} mean latency",
        said("p = {p}, d = {d}", p=test.p, d=test.cohens_d),
        said(
            "There is no winner: a difference of this size is noise, the medians rank the two the other way round "
            "({median}), and so does the mean without the first sample of each file ({first}).",
            median=f"+{printed('TR117-007')}",
            first=f"+{printed('TR120-005')}",
        ),
        "TR117-004 TR117-006 TR117-007 TR120-005",
    )


def backend_winner() -> Correction:
    table = ranks("Backends, prefill")
    compiled, ollama = table.loc["transformers-gpu-compile"], table.loc["ollama"]
    return Correction(
        "TR126",
        "Compiled transformers lead the backends on prefill",
        said("{a} ms, Ollama {b} ms", a=compiled["published_ms"], b=ollama["published_ms"]),
        said("{a} ms, Ollama {b} ms", a=compiled["common_ms"], b=ollama["common_ms"]),
        said(
            "The winner changes on the models that every backend ran ({models}): each published mean holds a model "
            "that the other backend did not run.",
            models=compiled["common"],
        ),
        "TR126-080 TR126-081",
    )


def decode_ratio() -> Correction:
    table = ranks("Backends, decode")["common_ms"]
    return Correction(
        "TR126",
        "Ollama decodes faster than eager",
        printed("TR126-088"),
        said("{ratio} x on the common models", ratio=table["transformers-gpu"] / table["ollama"]),
        "Neither is a speed-up: Ollama stops at its end token while eager must decode every token, and no table says "
        "how many tokens Ollama decoded.",
        "TR126-088",
    )


def surviving() -> Correction:
    table = survivors()
    one = table.loc[table["per_token_pct"].idxmax()]
    return Correction(
        "TR147",
        "Decode with CUDA graphs against eager",
        said("{delta:.1f} % by the printed means", delta=one["pooled_pct"]),
        said("{a:.0f} to {b:.0f} % a token", a=table["per_token_pct"].max(), b=table["per_token_pct"].min()),
        said(
            "The compiled mean holds the {n} rows of one token that survived, the eager mean all lengths up to {most} "
            "tokens: {crash:.0f} % of the compiled rows crashed.",
            n=one["survivors"],
            most=one["most_tokens"],
            crash=100 * one["crash_rate"],
        ),
        " ".join(table["claim_id"]),
    )


def equivalence() -> Correction:
    claims = audited().loc[EQUIVALENCE]
    stated = sum(sources().claims[claim]["status_in_report"].endswith("yes") for claim in EQUIVALENCE)
    return Correction(
        "TR147",
        "Default compilation leaves decode equivalent within the margin",
        said("{yes} of {of} cells", yes=stated, of=len(EQUIVALENCE)),
        said("no cell, smallest p = {p}", p=claims["recomputed"].min()),
        said(
            "Equivalence is shown nowhere: lengths from one token upwards in one mean make the standard error of the "
            "difference {times} times the margin.",
            times=decode_spread()["se_over_margin"].min(),
        ),
        " ".join(EQUIVALENCE),
    )


def pooled_lengths() -> Correction:
    spread = decode_spread().iloc[0]
    return Correction(
        "TR147",
        "Effect sizes of decode over pooled lengths",
        f"d = {printed('TR147-113')}",
        said("spread {std} ms, lengths alone {lengths} ms", std=spread["std_ms"], lengths=spread["lengths_ms"]),
        "The spread is that of the decode lengths and not of repetitions, so d is near zero whatever compiling does.",
        "TR147-113 TR147-117 TR147-121 TR147-125 TR147-129 TR147-133",
    )


def control_drift() -> Correction:
    drift = invariant_arm_drift()
    worst = drift[drift["report"] == "TR147"].nlargest(1, "effect_size").iloc[0]
    return Correction(
        "TR147",
        "Eager, the control of the Triton ablation",
        said("{before:.1f} ms with the oldest version", before=worst["before_ms"]),
        said("{after:.1f} ms, {pct:+.1f} %, |d| = {d}", after=worst["after_ms"], pct=worst["drift_pct"],
             d=worst["effect_size"]),
        said(
            "The control moved ({varied}) although eager runs none of Triton's compiled code, so differences of that "
            "size between versions cannot be ascribed to Triton.",
            varied=worst["varied"],
        ),
        str(worst["source"]),
    )  # fmt: skip


def additive() -> Correction:
    table = additivity()
    broken = table[~table["additive"]]
    worst = broken.nlargest(1, "decode_ms").iloc[0]
    return Correction(
        "TR126",
        "End-to-end contains the decode it is made of",
        said("decode {a:,.1f} ms, end-to-end {b:,.1f} ms", a=worst["decode_ms"], b=worst["e2e_ms"]),
        said("longer than the whole in {n} of {of} pairs", n=len(broken), of=len(table)),
        "A part cannot outlast the whole: the phases were timed in stretches between which the machine drifted.",
        "",
    )


def price() -> Correction:
    per_hour = Case(sources(), "TR119-001").stated()[0]
    ratio = per_hour / Case(sources(), "TR117-016").claim("TR117-016")
    return Correction(
        "TR117",
        "Price of an hour, for every backend",
        printed("TR117-016"),
        said("{price} USD/h in TR119", price=f"{per_hour:g}"),
        said("Costs a token are {times} times lower than at the price that the next report takes.", times=round(ratio)),
        "TR117-016 TR119-001",
    )


def power() -> Correction:
    table = power_implied()
    return Correction(
        "TR119",
        "Energy a million tokens on the GPU",
        printed(table["claim_id"].iloc[0]),
        said("{low} to {high} W while busy", low=table["watts"].min(), high=table["watts"].max()),
        said(
            "Hardly more than an idle card draws, and this one is rated {rated}: samples taken a few times a second "
            "miss calls of milliseconds.",
            rated=printed("TR126-144"),
        ),
        " ".join(table["claim_id"]),
    )
