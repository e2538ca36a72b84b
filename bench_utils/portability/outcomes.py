"""The outcome of every compiled contrast on every platform, published or measured, in one table."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd

from .. import frames, published
from ..audit.control import LIMIT_PCT
from ..catalog import VARIANTS
from ..contrasts import CELL
from ..formatting import count
from ..gates import run_gates, stopping
from ..plan import Preset
from ..statistics import wilson
from .platforms import MEASURED, PUBLISHED, MeasuredOn, factors_of
from .printed import CONTRAST

FASTER, SLOWER, SAME, AMBIGUOUS = "faster", "slower", "same", "ambiguous"
SUSPECTED, CRASHED, SURVIVORS, INVALID = "suspected fallback", "crashed", "survivors only", "invalid"
OUTCOMES = (FASTER, SLOWER, SAME, AMBIGUOUS, SUSPECTED, CRASHED, SURVIVORS, INVALID)
NOISE = math.log1p(LIMIT_PCT / 100)  # log ratio; TR147 calls a mean within it similar
TWO_ARMS = math.sqrt(2)  # a ratio moves with both of its arms
OUTCOME = [*CONTRAST, "outcome", "reason", "share_low", "share_high"]
# Flags of the reference under which a row is not what its label says, and those that suspect an arm that ran eager.
_INVALID = ("compile_time_suspected_in_region", "state_contamination_suspected", "label_only_compile")
_SUSPECT = ("eager_fallback_suspected", "compile_equals_eager")
_UNPROVEN = "nothing shows that the compiled arm was compiled"


def outcomes(printed: pd.DataFrame, cells: pd.DataFrame, measured: Iterable[MeasuredOn] = ()) -> pd.DataFrame:
    """Every contrast with its outcome, a row a contrast and platform, OUTCOME.

    ``printed`` comes from ``printed_contrasts`` and ``cells`` from ``published_cells``. A published arm within noise
    of eager is a suspected fallback: an aggregate proves no compiled call. ``share_low`` and ``share_high`` are the
    Wilson interval of the share of attempts that crashed, where the attempts are known.
    """
    tables = [_judged(printed.assign(floor=_noise(printed, cells)))]
    tables += [found for run in measured if len(found := _measured(run))]
    return pd.concat(tables, ignore_index=True) if len(tables) > 1 else tables[0]


def _noise(printed: pd.DataFrame, cells: pd.DataFrame) -> list[float]:
    """Noise of each contrast on the log scale: NOISE, or more where the eager arm itself moved between the stacks of
    its table: by as much both arms of a ratio may."""
    eager = cells[(cells["compile_mode"] == "eager") & (cells["ms"] > 0)]
    key = ["section", "gpu", "model", "dtype", "cache", "phase", "new_tokens"]
    spread = np.log(eager.groupby(key)["ms"].agg(lambda ms: ms.max() / ms.min()))
    own = spread.groupby(["section", "model", "phase"]).max()
    sections = dict(zip(cells["row_id"], cells["section"], strict=True))
    sections |= published.claims().set_index("claim_id")["source_section"].to_dict()
    where = [sections[source] for source in printed["source"]]
    found = zip(where, printed["model"], printed["phase"], strict=True)
    return [max(NOISE, TWO_ARMS * float(own.get(one, 0.0))) for one in found]


def _judged(printed: pd.DataFrame) -> pd.DataFrame:
    found = [_outcome(row) for row in printed.itertuples()]
    table = printed.assign(outcome=[one[0] for one in found], reason=[one[1] for one in found])
    bounds = [_share_interval(row) for row in printed.itertuples()]
    table["share_low"], table["share_high"] = (list(side) for side in zip(*bounds, strict=True)) if bounds else ([], [])
    return table.reindex(columns=OUTCOME)


def _share_interval(row) -> tuple[float, float]:
    known = row.tried >= 1 and not math.isnan(row.failed)
    return wilson(round(row.failed), int(row.tried)) if known else (math.nan, math.nan)


def _outcome(row) -> tuple[str, str]:
    """The outcome of a published contrast, and why it is no plain one."""
    flags = row.flags.split(";")
    bad = [flag for flag in _INVALID if flag in flags]
    crashes = _crashes(row)
    if bad:
        return INVALID, "; ".join(filter(None, [crashes, *(flag.replace("_", " ") for flag in bad)]))
    if row.share >= 0.5:
        return CRASHED, crashes
    if row.share > 0 or "survivor_only" in flags:
        return SURVIVORS, crashes or "only survivors are printed"
    if math.isnan(row.ratio) and math.isnan(row.effect_size):
        return INVALID, "no latency of both arms is printed"
    if any(flag in flags for flag in _SUSPECT) or within_noise(row):
        drift = "; the eager arm moved as well" if "eager_control_drift" in flags else ""
        return SUSPECTED, f"{_how_near(row)}, and {_UNPROVEN}{drift}"
    faster = row.ratio < 1 if row.ratio == row.ratio else row.effect_size < 0
    return (FASTER if faster else SLOWER), "" if row.high == row.high else row.interval


def _crashes(row) -> str:
    if not row.share > 0:
        return ""
    if math.isnan(row.tried):
        return "every attempt, their number not stated" if row.share == 1 else f"{row.share:.0%} of attempts"
    rest = " and the rest are survivors" if row.share < 1 else ""
    return f"{count(row.failed)} of {count(row.tried)} attempts{rest}"


def within_noise(row) -> bool:
    """Whether a contrast cannot be told from eager: its interval, or else its ratio, reaches into the noise; where
    no ratio is printed its effect size is negligible."""
    if math.isnan(row.ratio):
        return abs(row.effect_size) < 0.2
    low, high = (row.low, row.high) if row.low == row.low else (row.ratio, row.ratio)
    return math.log(low) <= row.floor and math.log(high) >= -row.floor


def _how_near(row) -> str:
    if math.isnan(row.ratio):
        return "within noise of eager by its effect size"
    return f"{100 * (row.ratio - 1):+.1f} % of eager"


# ---------------------------------------------------------------- measured


def _measured(run: MeasuredOn) -> pd.DataFrame:
    effects = run.effects
    effects = effects[[name in VARIANTS and VARIANTS[name].compiled for name in effects["variant"]]]
    stopped = stopping(_gates(run))
    rows = [_described(run, effect, stopped) for effect in effects.itertuples()]
    return pd.DataFrame(rows, columns=OUTCOME)


def _gates(run: MeasuredOn) -> pd.DataFrame:
    return run_gates(run.rows, frames.receipts(run.folder), Preset.model_validate(run.manifest.plan))


def _described(run: MeasuredOn, effect, stopped: list[str]) -> dict:
    variant = VARIANTS[effect.variant]
    calls = run.calls.get(tuple(getattr(effect, name) for name in [*CELL, "variant"]), (0.0, 0.0))
    found, reason = _of_measured(effect, calls, stopped)
    failed, tried = _attempts(run, effect)
    return factors_of(run) | {
        "platform": run.name, "kind": MEASURED, "chapter": f"{run.manifest.report} {run.manifest.run}",
        "source": effect.variant, "model": effect.model, "dtype": effect.dtype, "phase": effect.phase,
        "prompts": f"{effect.prompt_tokens} tokens", "new_tokens": str(effect.new_tokens), "timer": "wall+sync",
        "config": "padded" if variant.padded else {None: "auto"}.get(variant.dynamic, f"dynamic={variant.dynamic}"),
        "cache": variant.cache, "mode": variant.mode or "default", "eager_ms": effect.baseline_ms,
        "compiled_ms": effect.variant_ms, "ratio": effect.ratio, "low": effect.low, "high": effect.high,
        "n": effect.rounds, "p": effect.p, "effect_size": math.nan, "interval": "paired over rounds",
        "share": failed / tried if tried else math.nan, "failed": failed, "tried": tried, "floor": effect.floor,
        "evidence": f"{count(calls[0])} of {count(calls[1])} calls ran compiled code" if calls[1] else "",
        "flags": "", "outcome": found, "reason": reason,
        **dict(zip(("share_low", "share_high"), wilson(failed, tried) if tried else (math.nan,) * 2, strict=True)),
    }  # fmt: skip


def _attempts(run: MeasuredOn, effect) -> tuple[int, int]:
    """Rounds in which the contrast's variant gave no number, of those that tried it: samples that a cell left before it
    died are none."""
    mine = run.rows["variant"] == effect.variant
    for name in CELL:
        mine &= run.rows[name] == getattr(effect, name)
    tried = run.rows[mine]
    return len(set(tried["round"]) - set(frames.medians(tried)["round"])), tried["round"].nunique()


def _of_measured(effect, calls: tuple[float, float], stopped: list[str]) -> tuple[str, str]:
    """The contrast's own outcome, with crashes, survivors, and arms near eager without a compiled call told apart."""
    if effect.reason.startswith("no round has a number"):
        return CRASHED, effect.reason
    if effect.reason.startswith("survivors only"):
        return SURVIVORS, effect.reason
    if stopped:
        return INVALID, f"a gate failed: {'; '.join(stopped)}"
    if effect.outcome in (SAME, AMBIGUOUS) and not calls[0] >= calls[1] > 0:
        return SUSPECTED, _UNPROVEN
    return effect.outcome, effect.reason


def tally(table: pd.DataFrame) -> pd.DataFrame:
    """Contrasts by platform and outcome: one row a platform, one column an outcome that occurs."""
    counted = pd.crosstab(table["platform"], table["outcome"])
    order = list(dict.fromkeys(table["platform"]))
    present = [word for word in OUTCOMES if word in counted]
    return counted.loc[order, present].rename_axis(columns=None)


def triton_comparison(table: pd.DataFrame) -> pd.DataFrame:
    """Published contrasts of experiments that ran several Triton versions on one GPU with one engine."""
    mine = table[(table["kind"] == PUBLISHED) & (table["code"] == "transformers") & (table["triton"] != "")]
    key = ["chapter", "gpu", "torch"]
    return mine[mine.groupby(key)["triton"].transform("nunique") > 1]
