"""Intervals of a compiled / eager ratio, from whatever spread a table prints; none where it prints none."""

from __future__ import annotations

import math
from typing import NamedTuple

import scipy

from ..audit.printed import parse
from ..statistics import Summary, compare_summaries, summary_from_interval
from ..statistics.contrasts import welch

CONFIDENCE = 0.95
NO_INTERVAL = "aggregate: no interval"
FROM_SPREAD = "from printed spreads"
FROM_EFFECT = "from the printed effect size"


class Estimate(NamedTuple):
    """A ratio's 95 % interval with the ``n`` of its t quantile, p, the effect size (negative: compiled is faster), and
    what it was made from."""

    low: float = math.nan
    high: float = math.nan
    n: float = math.nan
    p: float = math.nan
    effect_size: float = math.nan
    how: str = NO_INTERVAL


def summary(row: dict, side: str = "") -> Summary | None:
    """Count, mean and standard deviation of a row, from its interval where the latter is not printed."""
    n, mean, std, low, high = (row[name + side] for name in ("n", "mean_ms", "std_ms", "ci_low_ms", "ci_high_ms"))
    if not n >= 2 or math.isnan(mean):
        return None
    if math.isnan(std) and not math.isnan(low):
        std = summary_from_interval(int(n), (low + high) / 2, low, high).std
    return None if math.isnan(std) else Summary(int(n), mean, std)


def from_summaries(eager: Summary | None, compiled: Summary | None) -> Estimate:
    """By the delta method on the log scale, the arms independent; an empty estimate where one has no spread."""
    if eager is None or compiled is None:
        return Estimate()
    test = compare_summaries(eager, compiled)
    errors = [arm.std / arm.mean / math.sqrt(arm.n) for arm in (eager, compiled)]
    found = _around(compiled.mean / eager.mean, errors, min(eager.n, compiled.n))
    return found._replace(p=test.p, effect_size=test.cohens_d, how=FROM_SPREAD)


def from_effect(ratio: float, printed: str, n: float) -> Estimate:
    """From an effect size printed as eager minus compiled: the spread that it implies, taken as equal in both arms.

    The effect size is read at the end of its rounding that leaves the widest interval.
    """
    effect = parse(printed)
    least = max(abs(effect.value) - effect.half, effect.half / 10)
    if math.isnan(ratio) or not n >= 2:
        return Estimate(effect_size=-effect.value)
    spread = abs(1 - ratio) / least / math.sqrt(n)  # in eager means
    found = _around(ratio, [spread, spread / ratio], int(n))
    t = abs(effect.value) * math.sqrt(n / 2)
    p = 2 * float(scipy.special.stdtr(2 * n - 2, -t))
    return found._replace(p=p, effect_size=-effect.value, how=FROM_EFFECT)


def _around(ratio: float, errors: list[float], n: int) -> Estimate:
    """The quantile is that of the smaller arm, so that a ratio of two such ratios can take the error back out."""
    error = welch(errors[0] ** 2, n, errors[1] ** 2, n)[0]
    half = float(scipy.special.stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * error
    return Estimate(ratio * math.exp(-half), ratio * math.exp(half), n)
