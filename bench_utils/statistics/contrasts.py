"""Two variants: paired ratio over rounds, probability of improvement, detectable effects, equivalence."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike

from bench_utils.statistics.summaries import Array, as_sample, check_share, summary_of


@dataclass(frozen=True)
class PairedRatio:
    """Latency of the variant over the baseline's, from one log ratio a round: below 1 is faster.

    `estimate`, `low` and `high` are ratios; `log_estimate`, `log_low`, `log_high` and `sd` are on the log
    scale.
    """

    estimate: float
    low: float
    high: float
    p: float
    n: int
    sd: float
    log_estimate: float
    log_low: float
    log_high: float
    confidence: float
    method: str

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of the ratio."""
        return self.low, self.high


@dataclass(frozen=True)
class Probability:
    """A probability with its interval and what it was counted over."""

    estimate: float
    low: float
    high: float
    n: int
    method: str

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of the probability."""
        return self.low, self.high


@dataclass(frozen=True)
class Tost:
    """Equivalence of b with a within `margin`: decided by `p`, the larger of the two one-sided p values.

    `difference` is mean b - mean a with standard error `se`; `low`, `high` bound it at 1 - 2 alpha.
    """

    p: float
    equivalent: bool
    se: float
    margin: float
    difference: float
    df: float
    low: float
    high: float
    alpha: float
    method: str


def paired_ratio(log_ratios: ArrayLike, confidence: float = 0.95) -> PairedRatio:
    """Ratio of latencies from one log(median of variant / median of baseline) a round.

    exp of the mean log ratio and of its t interval; p is two-sided against a ratio of 1. Measured coverage
    at nominal 95 %, six or ten rounds of 50 samples, between processes 1 %, within 2 %, neighbours
    correlated 0 or 0.6: 94.7-95.2 %, and identical code is called different in 4.8-5.3 %. Without any
    spread the interval is the point and p is 0, or 1 at a ratio of exactly 1. Raises ValueError with fewer
    than two rounds or a missing ratio.
    """
    x = as_sample(log_ratios, "log_ratios", 2)
    check_share(confidence, "confidence")
    mean, sd, df = float(x.mean()), float(x.std(ddof=1)), x.size - 1
    half = float(scipy.special.stdtrit(df, (1 + confidence) / 2)) * sd / math.sqrt(x.size)
    p = _two_sided_p(mean, sd / math.sqrt(x.size), df)
    logs = (mean, mean - half, mean + half)
    return PairedRatio(
        *map(math.exp, logs), p, x.size, sd, *logs, confidence, "paired t on log ratio of medians per round"
    )


def _two_sided_p(mean: float, se: float, df: float) -> float:
    if se == 0:
        return float(mean == 0)
    return 2 * float(scipy.special.stdtr(df, -abs(mean) / se))


def probability_of_improvement(a: ArrayLike, b: ArrayLike | None = None, confidence: float = 0.95) -> Probability:
    """Probability that the variant is faster than the baseline.

    With one argument, log ratios: the share of rounds below zero, ties half, with the Wilson interval. With
    two, baseline latencies a and variant latencies b: P(b < a) + P(b = a) / 2, the Mann-Whitney statistic
    over its largest value (the probability of improvement of Agarwal et al. 2021), with DeLong's variance
    on the logit scale, or Wilson's interval of the smaller sample where the samples do not overlap. The
    two-sample interval takes the samples as independent: within one process they are not. Raises ValueError
    when empty.
    """
    if b is not None:
        return _improvement_of_samples(as_sample(a, "a", 2), as_sample(b, "b", 2), confidence)
    x = as_sample(a, "a")
    faster = float((x < 0).sum() + 0.5 * (x == 0).sum())
    low, high = wilson_bounds(faster, x.size, confidence)
    return Probability(faster / x.size, low, high, x.size, "share of rounds, Wilson interval")


def _improvement_of_samples(a: Array, b: Array, confidence: float) -> Probability:
    over_b, over_a = _share_below(a, b), 1 - _share_below(b, a)
    estimate, least = float(over_b.mean()), min(a.size, b.size)
    variance = float(over_b.var(ddof=1) / a.size + over_a.var(ddof=1) / b.size)
    if variance == 0:
        low, high = wilson_bounds(estimate * least, least, confidence)
        return Probability(estimate, low, high, least, "Mann-Whitney, Wilson interval of the smaller sample")
    z = float(scipy.special.ndtri((1 + confidence) / 2))
    half = z * math.sqrt(variance) / (estimate * (1 - estimate))
    low, high = scipy.special.expit(scipy.special.logit(estimate) + np.array([-half, half]))
    return Probability(estimate, float(low), float(high), least, "Mann-Whitney, DeLong interval on the logit scale")


def _share_below(points: Array, values: Array) -> Array:
    """For each point the share of `values` below it, ties half."""
    ordered = np.sort(values)
    left, right = (np.searchsorted(ordered, points, side=side) for side in ("left", "right"))
    return (left + right) / 2 / values.size


def wilson_bounds(k: float, n: int, confidence: float) -> tuple[float, float]:
    """Score interval of Wilson (1927) for k of n; k may hold halves from ties."""
    check_share(confidence, "confidence")
    z = float(scipy.special.ndtri((1 + confidence) / 2))
    centre, scale = (k + z * z / 2) / (n + z * z), z / (n + z * z)
    half = scale * math.sqrt(k * (n - k) / n + z * z / 4)
    return max(0.0, centre - half), min(1.0, centre + half)


def minimum_detectable_effect(n: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """Smallest Cohen's d that a two-sided t test of two arms of n each finds with the given power.

    Solved for the noncentral t (statsmodels `TTestIndPower`): 0.098 at 1620 an arm, 0.52 at 60, 1.80 at 6.
    Raises ValueError below two an arm.
    """
    _check_power(n, alpha, power)
    from statsmodels.stats.power import TTestIndPower

    return float(TTestIndPower().solve_power(nobs1=n, alpha=alpha, power=power))


def contrast_mde(sd: float, n: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """Smallest relative change of latency (0.02 is 2 %) that n paired rounds find with the given power.

    exp(d sd) - 1 with `sd` the standard deviation of the log ratios over rounds (sqrt(2) times the one
    between processes) and d of the one-sample t test, noncentral t (statsmodels `TTestPower`). The usual
    shortcut (t_.975 + t_.80) sd / sqrt(n) is within 2 % of it from six rounds on. Without any spread it is 0,
    as the interval of `paired_ratio` is then a point. Raises ValueError below two rounds or for a negative sd.
    """
    _check_power(n, alpha, power)
    if not (math.isfinite(sd) and sd >= 0):
        raise ValueError(f"sd must be zero or more, not {sd}")
    return math.expm1(_detectable(n, alpha, power) * sd)


@functools.cache
def _detectable(n: int, alpha: float, power: float) -> float:
    """Effect in standard deviations; solving takes milliseconds, and contrasts of a run share their n."""
    from statsmodels.stats.power import TTestPower

    return float(TTestPower().solve_power(nobs=n, alpha=alpha, power=power))


def _check_power(n: int, alpha: float, power: float) -> None:
    if n < 2:
        raise ValueError(f"n must be at least 2 to have a spread, not {n}")
    check_share(alpha, "alpha")
    check_share(power, "power")
    if power <= alpha:
        raise ValueError(f"power {power} must exceed alpha {alpha}")


def tost(a: object, b: object, margin: float, difference: float | None = None, alpha: float = 0.05) -> Tost:
    """Two one-sided Welch t tests of |mean b - mean a| < margin (Schuirmann 1987).

    a and b are samples, or `(n, mean, std)` tuples of three. `margin` has the units of the means.
    `difference` replaces mean b - mean a where a more exact one was published. Raises ValueError unless the
    margin is positive and there is some spread.
    """
    first, second = summary_of(a, "a"), summary_of(b, "b")
    check_share(alpha, "alpha")
    if not (math.isfinite(margin) and margin > 0):
        raise ValueError(f"margin must be positive, not {margin}")
    delta = second.mean - first.mean if difference is None else float(difference)
    if not math.isfinite(delta):
        raise ValueError(f"difference must be finite, not {difference}")
    se, df = welch(first.std**2 / first.n, first.n, second.std**2 / second.n, second.n)
    p = float(scipy.special.stdtr(df, (abs(delta) - margin) / se))
    half = float(scipy.special.stdtrit(df, 1 - alpha)) * se
    return Tost(
        p,
        p < alpha,
        se,
        float(margin),
        delta,
        df,
        delta - half,
        delta + half,
        alpha,
        "two one-sided Welch t tests",
    )


def welch(first: float, n_first: int, second: float, n_second: int) -> tuple[float, float]:
    """Standard error and Welch-Satterthwaite degrees of freedom from the two squared standard errors."""
    total = first + second
    if total == 0:
        raise ValueError("a and b both have no spread: their means cannot be tested")
    return math.sqrt(total), total**2 / (first**2 / (n_first - 1) + second**2 / (n_second - 1))
