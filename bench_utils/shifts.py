"""Contrasts of several runs: which of them all runs have, and which differ beyond noise."""

from __future__ import annotations

import itertools
import math

import pandas as pd
import scipy

from . import statistics
from .contrasts import CELL
from .statistics.contrasts import welch

# What makes contrasts of two runs the same contrast; anything else is another workload and is not compared.
CONTRAST = [*CELL, "variant"]
ARM = ["ratio", "low", "high", "rounds", "floor", "outcome", "reason"]
CONFIDENCE = 0.95
METHOD = (
    "What is compared is the latency ratio to the baseline that each run took within its own rounds. A contrast "
    "differs when the ratio of two such ratios does: on the log scale, from both intervals (Welch), its "
    f"{CONFIDENCE:.0%} interval lies wholly beyond the larger A/A floor of the two runs, at least "
    f"{statistics.MIN_BAND:.1%}, and Holm's correction over everything compared keeps it significant. It is the same "
    f"when that interval lies within {statistics.SAME_BAND:.0%}, or within the floor where that is a little more. "
    "Otherwise it is ambiguous: these runs cannot tell."
)
_PHASES = ("prefill", "decode", "e2e")  # as a request goes through them


def shared(effects: dict[str, pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Contrasts that all runs have, a row a contrast and ``run``, with their ``request`` in words; and those that some
    run lacks, a row a contrast with ``measured_on`` and ``missing_on``.

    ``effects`` are the runs' tables from ``contrast``, by name.
    """
    table = pd.concat([one.assign(run=name) for name, one in effects.items()], ignore_index=True)
    table["request"] = [request(row) for row in table.itertuples()]
    first = ["phase", "model", "variant"]
    order = [*first, *(key for key in CONTRAST if key not in first)]
    table = table.sort_values(order, key=lambda c: c.map(_PHASES.index) if c.name == "phase" else c, kind="stable")
    everywhere = table.groupby(CONTRAST)["run"].transform("nunique") == len(effects)
    lacking = table[~everywhere].groupby([*CONTRAST, "request"], sort=False)["run"].agg(list).reset_index()
    lacking["measured_on"] = [", ".join(has) for has in lacking["run"]]
    lacking["missing_on"] = [", ".join(name for name in effects if name not in has) for has in lacking["run"]]
    return table[everywhere].reset_index(drop=True), lacking.drop(columns="run")


def request(row) -> str:
    """Sizes and dtype of a contrast, in words: "128 + 16 tokens, float32"."""
    tokens = f"{row.prompt_tokens} + {row.new_tokens}" if row.new_tokens else f"{row.prompt_tokens}"
    batch = f", batch {row.batch_size}" if row.batch_size > 1 else ""
    return f"{tokens} tokens{batch}, {row.dtype}"


def differences(common: pd.DataFrame) -> pd.DataFrame:
    """Shared contrasts in pairs of runs ``a`` and ``b``: ``shift``, how many times the ratio of ``a`` that of ``b`` is.

    Beside both ratios its 95 % interval ``low``..``high``, ``p``, the larger A/A ``floor`` (log scale), the
    ``outcome`` by METHOD (``differs``, ``same``, ``ambiguous``, or ``invalid`` where one of the two contrasts is), and
    whether it ``differs``, as a truth value.
    """
    arms = {name: rows[[*CONTRAST, "request", *ARM]] for name, rows in common.groupby("run", sort=False)}
    pairs = [
        one.merge(other, on=[*CONTRAST, "request"], suffixes=("_a", "_b")).assign(a=a, b=b)
        for (a, one), (b, other) in itertools.combinations(arms.items(), 2)
    ]
    if not pairs:
        return pd.DataFrame(columns=[*CONTRAST, "request", "a", "b", "outcome", "differs"])
    table = pd.concat(pairs, ignore_index=True)
    found = [shift(pair) for pair in table.itertuples()]
    for column, field in (("shift", "estimate"), ("low", "low"), ("high", "high"), ("p", "p")):
        table[column] = [getattr(effect, field) if effect else math.nan for effect in found]
    table["floor"] = table[["floor_a", "floor_b"]].max(axis=1, skipna=False)
    kept = statistics.holm(table["p"].to_list())
    table["outcome"] = [_outcome(*row) for row in zip(table.itertuples(), found, kept, strict=True)]
    return table.assign(differs=table["outcome"] == "differs")


def _outcome(pair, effect: statistics.PairedRatio | None, significant: bool) -> str:
    valid = "invalid" not in (pair.outcome_a, pair.outcome_b)
    if valid and (effect is None or math.isnan(pair.floor)):
        return "ambiguous"
    found = statistics.outcome(effect, pair.floor, valid=valid, significant=significant)
    return "differs" if found in ("faster", "slower") else found


def shift(pair) -> statistics.PairedRatio | None:
    """How many times the ratio of run a that of run b is; None where one of them has no interval.

    Runs are independent: the variances of their log ratios add, with the degrees of freedom of Welch and Satterthwaite.
    """
    if not (pair.low_a < pair.high_a and pair.low_b < pair.high_b):
        return None
    first, second = _variance(pair.low_a, pair.high_a, pair.rounds_a), _variance(pair.low_b, pair.high_b, pair.rounds_b)
    error, df = welch(first, pair.rounds_a, second, pair.rounds_b)
    log, half, n = math.log(pair.ratio_b / pair.ratio_a), _quantile(df) * error, min(pair.rounds_a, pair.rounds_b)
    p, logs = 2 * float(scipy.special.stdtr(df, -abs(log) / error)), (log, log - half, log + half)
    return statistics.PairedRatio(
        *map(math.exp, logs), p, n, error * math.sqrt(n), *logs, CONFIDENCE, "ratio of two paired ratios, Welch"
    )


def _variance(low: float, high: float, rounds: int) -> float:
    """Squared standard error of a log ratio, back from its paired t interval."""
    return (math.log(high / low) / 2 / _quantile(rounds - 1)) ** 2


def _quantile(df: float) -> float:
    return float(scipy.special.stdtrit(df, (1 + CONFIDENCE) / 2))
