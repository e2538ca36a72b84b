"""Claims as data: each verdict computed from rows, with the value, interval and reason that decided it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import pandas as pd

from . import frames, scaling
from .contrasts import attempts, bad_rounds, contrast
from .gates import DISTURBED, roofline, stopping
from .plan import ClaimPlan
from .records import UNFINISHED

SUPPORTED, REFUTED, INCONCLUSIVE, NOT_TESTABLE = "supported", "refuted", "inconclusive", "not testable here"
# Read from rows themselves; the others on speed are of contrasts, which have refused already what does not count.
OF_LATENCIES = ("latency", "time_per_token", "bandwidth_share", "crossover", "model_ratio")
ON_SPEED = ("outcome", "ratio", *OF_LATENCIES)
SIZES = ["prompt_tokens", "new_tokens", "batch_size"]
LEAST_ROUNDS = 6  # fewer pairs cannot reach p < 0.05 in a sign test (2 / 2**6 = 0.031)


@dataclass(frozen=True)
class Verdict:
    """What became of a claim."""

    id: str
    text: str
    verdict: str
    reason: str
    value: float | None = None
    interval: tuple[float, float] | None = None
    n: int | None = None
    unit: str | None = None
    source: str | None = None


def judge(
    claims: list[ClaimPlan],
    rows: pd.DataFrame,
    baseline: str = "eager",
    control: str = "eager-again",
    gates: pd.DataFrame | None = None,
    receipts: pd.DataFrame | None = None,
) -> list[Verdict]:
    """A verdict for every claim of a plan, from the rows of one run; a failed gate stops claims on speed.

    ``receipts`` hold the bandwidth of the device, for claims on the share of it that is reached.
    """
    effects = contrast(rows, baseline, control)
    cuda = not rows["device"].str.startswith("cpu").all()
    found = []
    for claim in claims:
        stopped = [] if gates is None else stopping(gates, (claim.variant, baseline, control))
        if claim.needs == "cuda" and not cuda:
            found.append(_verdict(claim, NOT_TESTABLE, "it needs a CUDA device"))
        elif stopped and claim.metric in ON_SPEED:
            found.append(_verdict(claim, INCONCLUSIVE, f"a gate failed: {'; '.join(stopped)}"))
        else:
            found.append(_of_all_models(claim, rows, _judge(claim, rows, effects, receipts)))
    return found


def _of_all_models(claim: ClaimPlan, rows: pd.DataFrame, found: Verdict) -> Verdict:
    """One model may refute a claim; to support it takes every model that it names."""
    missing = [model for model in claim.models if model not in set(_of(claim, rows)["model"])]
    if found.verdict != SUPPORTED or not missing:
        return found
    reason = f"{', '.join(missing)} was not measured in this run; the others: {found.reason}"
    return replace(found, verdict=NOT_TESTABLE, reason=reason)


def _judge(claim: ClaimPlan, rows: pd.DataFrame, effects: pd.DataFrame, receipts: pd.DataFrame | None) -> Verdict:
    if claim.metric in OF_LATENCIES and isinstance(rows := _counting(claim, rows), Verdict):
        return rows
    match claim.metric:
        case "outcome":
            return _by_outcome(claim, _of(claim, effects))
        case "ratio":
            return _by_ratio(claim, _of(claim, effects))
        case "compiled_share":
            return _by_share(claim, _of(claim, rows))
        case "latency" | "time_per_token":
            return _by_latency(claim, rows)
        case "bandwidth_share":
            return _by_bandwidth(claim, rows, receipts)
        case "status":
            return _by_status(claim, _of(claim, rows))
        case "crossover":
            return _by_crossover(claim, rows)
        case "model_ratio":
            return _by_model_ratio(claim, rows)


def _of(claim: ClaimPlan, frame: pd.DataFrame) -> pd.DataFrame:
    mine = (frame["variant"] == claim.variant) & (frame["phase"] == claim.phase)
    return frame[mine & (frame["model"].isin(claim.models) if claim.models else True)]


def _counting(claim: ClaimPlan, rows: pd.DataFrame) -> pd.DataFrame | Verdict:
    """Rows of the claim's cells that a latency can be read from, exhibits apart; a verdict where they decide none."""
    mine = _of(claim, rows)
    mine = mine[~mine["exhibit"].astype(bool) & (mine["round"] > 0)]
    if mine.empty:
        return _verdict(claim, NOT_TESTABLE, f"{claim.variant} was not measured in this run")
    tried = attempts(mine)
    if (tried["status"] == "unavailable").all():
        return _verdict(claim, NOT_TESTABLE, tried["reason"].iloc[0])
    bad = bad_rounds(tried)
    return _verdict(claim, INCONCLUSIVE, bad) if bad else mine


def _verdict(claim: ClaimPlan, verdict: str, reason: str, **facts) -> Verdict:
    return Verdict(claim.id, claim.text, verdict, reason, source=claim.source, **facts)


def _by_outcome(claim: ClaimPlan, effects: pd.DataFrame) -> Verdict:
    """Every model must show the expected outcome; one that decidedly shows another refutes."""
    if effects.empty:
        return _verdict(claim, NOT_TESTABLE, f"{claim.variant} was not measured in this run")
    valid = effects[effects["outcome"] != "invalid"]
    if len(valid) and valid["rounds"].max() < LEAST_ROUNDS:
        return _verdict(claim, INCONCLUSIVE, f"{valid['rounds'].max()} rounds: no verdict below {LEAST_ROUNDS}")
    against = effects[~effects["outcome"].isin([claim.expect, "ambiguous", "invalid"])]
    undecided = effects[effects["outcome"].isin(["ambiguous", "invalid"])]
    said = "; ".join(f"{e.model}: {e.outcome}{f' ({e.reason})' if e.reason else ''}" for e in effects.itertuples())
    verdict = REFUTED if len(against) else INCONCLUSIVE if len(undecided) else SUPPORTED
    deciding = against if len(against) else undecided if len(undecided) else effects
    return _verdict(claim, verdict, said, **_evidence(deciding))


def _by_ratio(claim: ClaimPlan, effects: pd.DataFrame) -> Verdict:
    """Every contrast must count; the interval that encloses theirs decides, wider by what identical code differs."""
    if effects.empty:
        return _verdict(claim, NOT_TESTABLE, f"{claim.variant} was not measured in this run")
    facts, floor = _evidence(effects), effects["floor"].max()
    if (invalid := effects[effects["outcome"] == "invalid"]).size:
        said = "; ".join(f"{e.model}: {e.reason}" for e in invalid.itertuples())
        return _verdict(claim, INCONCLUSIVE, f"rows that do not count: {said}", **facts)
    if math.isnan(floor):
        return _verdict(claim, INCONCLUSIVE, "no A/A control says how far identical code differs", **facts)
    low, high = effects["low"].min() * math.exp(-floor), effects["high"].max() * math.exp(floor)
    reason = f"{low:.3g} to {high:.3g} with the {math.expm1(floor):.1%} by which identical code differs"
    return _bounded(claim, (low, high), reason, facts)


def _evidence(effects: pd.DataFrame) -> dict:
    """Of several contrasts, the one nearest to no effect: the weakest that still decided; nothing without a number."""
    known = effects[effects["ratio"].notna()]
    if known.empty:
        return {"n": int(effects["rounds"].max())}
    nearest = known.loc[(known["ratio"] - 1).abs().idxmin()]
    return {
        "value": float(nearest["ratio"]),
        "interval": (float(nearest["low"]), float(nearest["high"])),
        "n": int(nearest["rounds"]),
        "unit": f"latency ratio to {nearest['baseline']}, {nearest['model']}",
    }


def _by_share(claim: ClaimPlan, rows: pd.DataFrame) -> Verdict:
    """Compiled calls per expected call, counted over every timed sample: a count, so without an interval."""
    rows = rows[(rows["round"] > 0) | rows["exhibit"].astype(bool)]
    samples = rows[(rows["role"] == "sample") & (rows["expected_calls"] > 0) & rows["compiled_calls"].notna()]
    if samples.empty:
        return _verdict(claim, NOT_TESTABLE, f"{claim.variant} was not measured in this run")
    shares = samples["compiled_calls"] / samples["expected_calls"]
    worst = samples.loc[shares.idxmin()]
    above, below = _bounds(claim)
    holds = shares.min() >= above and shares.max() < below
    ran = f"{worst['compiled_calls']:.0f} of {worst['expected_calls']:.0f}"
    reason = f"at worst {ran} calls of a timed sample ran compiled code"
    facts = {"value": float(shares.min()), "n": len(samples), "unit": "compiled calls per expected call"}
    failed = rows[rows["status"].isin(UNFINISHED)].drop_duplicates(["process", "model", *SIZES])
    if holds and len(failed):
        said = f"{len(failed)} cells gave no count: {', '.join(sorted(set(failed['status'])))}"
        return _verdict(claim, INCONCLUSIVE, f"{said}; of the others {reason}", **facts)
    return _verdict(claim, SUPPORTED if holds else REFUTED, reason, **facts)


def _by_latency(claim: ClaimPlan, rows: pd.DataFrame) -> Verdict:
    """The median over the rounds, of a call or of each of its tokens; of several cells the one that decides."""
    cells = frames.medians(rows)
    per = cells["new_tokens"] if claim.metric == "time_per_token" else 1
    unit = "ms a token" if claim.metric == "time_per_token" else "ms"
    cells = cells.assign(latency_ms=cells["latency_ms"] / per)
    return _deciding(
        _by_median(claim, cell, frames.over_rounds(cell), unit, f"{_claimed(claim)} {unit} was claimed")
        for _, cell in cells.groupby(frames.KEY, sort=False)
    )


def _by_median(claim: ClaimPlan, cell: pd.DataFrame, ci, unit: str, reason: str) -> Verdict:
    facts = {"value": ci.median, "interval": (ci.low, ci.high), "n": cell["round"].nunique(), "unit": unit}
    return _bounded(claim, (ci.low, ci.high), reason, facts)


def _deciding(verdicts: Iterable[Verdict]) -> Verdict:
    """Of the verdicts on several cells the first that refutes, else one that leaves it open, else the first."""
    return min(verdicts, key=lambda found: (REFUTED, INCONCLUSIVE, SUPPORTED).index(found.verdict))


def _by_bandwidth(claim: ClaimPlan, rows: pd.DataFrame, receipts: pd.DataFrame | None) -> Verdict:
    """The share that a call reaches of the bandwidth measured in this run, were only its weights and cache read."""
    bounds = pd.DataFrame() if receipts is None else roofline(rows, receipts)
    if bounds.empty:
        return _verdict(claim, NOT_TESTABLE, "no bandwidth was measured in this run")
    if bounds["resident"].any():
        return _verdict(claim, NOT_TESTABLE, f"the last cache may hold the weights of {bounds['model'].iloc[0]}")
    rounds = frames.medians(rows)["round"].nunique()
    return _deciding(_by_floor(claim, bound, rounds) for bound in bounds.itertuples())


def _by_floor(claim: ClaimPlan, bound, rounds: int) -> Verdict:
    floor = bound.floor_ms
    facts = {"value": floor / bound.median_ms, "interval": (floor / bound.high_ms, floor / bound.low_ms), "n": rounds}
    facts["unit"] = f"of {bound.bandwidth_gbs:.0f} GB/s"
    reason = f"reading takes at least {floor:.3g} ms of {bound.median_ms:.3g} ms"
    return _bounded(claim, facts["interval"], reason, facts)


def _by_status(claim: ClaimPlan, rows: pd.DataFrame) -> Verdict:
    """Every cell must have ended with that status."""
    cells = rows.drop_duplicates(["process", "phase", *SIZES])
    if cells.empty:
        return _verdict(claim, NOT_TESTABLE, f"{claim.variant} was not measured in this run")
    if claim.expect_status != "unavailable" and (cells["status"] == "unavailable").all():
        return _verdict(claim, NOT_TESTABLE, cells["reason"].iloc[0])
    ran = DISTURBED if claim.expect_status == "ok" else ()  # disturbed while timed: it ran all the same
    as_claimed = int(cells["status"].isin((claim.expect_status, *ran)).sum())
    said = "; ".join(dict.fromkeys(cells["status"].str.cat(cells["reason"], sep=": ").fillna(cells["status"])))
    facts = {"value": as_claimed / len(cells), "n": len(cells), "unit": f"of cells with status {claim.expect_status}"}
    return _verdict(claim, SUPPORTED if as_claimed == len(cells) else REFUTED, said, **facts)


def _by_crossover(claim: ClaimPlan, rows: pd.DataFrame) -> Verdict:
    """The width at which a layer's weights cost as much as the layer, fitted over every model of the run."""
    mine = scaling.grid(rows)
    if mine["model"].nunique() < scaling.LEAST_MODELS:
        return _verdict(claim, NOT_TESTABLE, f"{mine['model'].nunique()} models were measured with {claim.variant}")
    found = scaling.costs(mine).iloc[0]
    facts = {"value": found["crossover"], "n": int(found["rounds"]), "unit": "crossover width"}
    if found["crossover"] != found["crossover"]:
        return _verdict(claim, INCONCLUSIVE, "a fitted cost is not above zero in some round: there is no crossover")
    reason = f"a layer costs {found['layer_us']:.3g} us, a megabyte of weights {found['mb_us']:.3g} us a step"
    return _bounded(claim, (found["crossover_low"], found["crossover_high"]), reason, facts)


def _by_model_ratio(claim: ClaimPlan, rows: pd.DataFrame) -> Verdict:
    """The latency of one model over another's, paired by round."""
    first, second = claim.models
    found = scaling.model_ratio(rows, first, second, claim.variant, claim.phase)
    if found is None:
        return _verdict(claim, NOT_TESTABLE, f"{first} and {second} were not both measured with {claim.variant}")
    facts = {"value": found.estimate, "n": found.n, "unit": f"latency of {first} / that of {second}"}
    return _bounded(claim, found.interval, f"interval {found.low:.3g} to {found.high:.3g}", facts)


def _bounds(claim: ClaimPlan) -> tuple[float, float]:
    """What the claim says that a value lies between."""
    return -math.inf if claim.above is None else claim.above, math.inf if claim.below is None else claim.below


def _claimed(claim: ClaimPlan) -> str:
    bounds = [(word, bound) for word, bound in (("above", claim.above), ("below", claim.below)) if bound is not None]
    return " and ".join(f"{word} {bound:g}" for word, bound in bounds)


def _bounded(claim: ClaimPlan, interval: tuple[float, float], reason: str, facts: dict) -> Verdict:
    """Supported when the whole interval lies within the claim's bounds, refuted when it lies outside of them."""
    facts = {"interval": tuple(map(float, interval))} | facts | {"value": float(facts["value"])}
    if facts["n"] < LEAST_ROUNDS:
        return _verdict(claim, INCONCLUSIVE, f"{facts['n']} rounds: no verdict below {LEAST_ROUNDS}", **facts)
    (low, high), (above, below) = interval, _bounds(claim)
    holds, fails = above < low and high < below, high < above or low > below
    return _verdict(claim, SUPPORTED if holds else REFUTED if fails else INCONCLUSIVE, reason, **facts)
