"""What one process measured: median, correlation of neighbours, drift, percentiles, outliers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike

from bench_utils.statistics.summaries import Array, as_matched, as_positive, as_sample, check_share

BATCHES = 10  # batch means: fewer batches make a wild variance, more make batches too short to be independent
BATCH_LENGTH = 10  # shortest batch, so batch means are used from 100 samples on
BATCH_ALPHA = 0.05  # batch means take over when they reject the lag-1 design effect at this level
MAX_LAG1 = 0.98  # beyond it 200 samples hold no more than a handful of independent ones
OUTLIER_MADS = 14.826  # ten robust standard deviations, counted in plain MADs (hyperfine)
EXCEEDANCES = 1  # values allowed beyond a percentile (MLPerf LoadGen, early stopping)


@dataclass(frozen=True)
class EffectiveSize:
    """How many independent samples a sample is worth for its median.

    `df` are the degrees of freedom of that guess, infinite where no correlation was seen.
    """

    n_eff: float
    df: float
    method: str


@dataclass(frozen=True)
class MedianInterval:
    """A median with its interval.

    `half_width` is relative to the median, `n_eff` counts independent samples, `lag1` is the plain one.

    `low`, `high` and `half_width` are NaN where the sample is too small for the confidence asked.
    """

    median: float
    low: float
    high: float
    n: int
    n_eff: float
    lag1: float
    half_width: float
    method: str


@dataclass(frozen=True)
class Drift:
    """Change of log latency per unit of order (`slope`, `interval`) and over the whole range (`total`)."""

    slope: float
    interval: tuple[float, float]
    p: float
    total: float
    n: int
    method: str


def lag1(values: ArrayLike) -> float:
    """Correlation of each value with the next; NaN when all are equal. ValueError below three values."""
    return _lag1(as_sample(values, "values", 3))


def _lag1(x: Array) -> float:
    if np.ptp(x) == 0:
        return math.nan
    centred = x - x.mean()
    return float(centred[1:] @ centred[:-1]) / float(centred @ centred)


def effective_size(values: ArrayLike) -> EffectiveSize:
    """Number of independent samples with the same information about the median, between 2 and n.

    The lag-1 correlation of normal scores (outliers cannot hide it), corrected for its bias, (r n + 1) / (n
    - 4) (Marriott and Pope 1954) and cut at zero, gives an AR(1) of the Gaussian copula. The median only
    sees signs, whose correlation at lag k is 2 / pi asin(r^k), so n_eff = n / (1 + 2 sum of those); n (1 -
    r) / (1 + r), meant for the mean, is a quarter too small at r = 0.6. From 100 samples on, ten batch means
    of the signs take over where they contradict it (slow noise under fast noise). Needs six values
    (ValueError).
    """
    x = as_sample(values, "values", 6)
    design = _sign_design_effect(_corrected_lag1(x))
    if x.size >= BATCHES * BATCH_LENGTH:
        batched = _batch_design_effect(x)
        limit = scipy.special.chdtri(BATCHES - 1, BATCH_ALPHA) / (BATCHES - 1)
        if batched > design * limit:
            return EffectiveSize(max(x.size / batched, 2.0), BATCHES - 1, f"{BATCHES} batch means of signs")
    n_eff = max(x.size / design, 2.0)
    df = n_eff - 1 if n_eff < x.size else math.inf
    return EffectiveSize(n_eff, df, "lag-1 of normal scores, bias-corrected")


def _corrected_lag1(x: Array) -> float:
    scores = scipy.special.ndtri((scipy.stats.rankdata(x) - 0.5) / x.size)
    r = _lag1(scores)
    return 0.0 if math.isnan(r) else min(max((x.size * r + 1) / (x.size - 4), 0.0), MAX_LAG1)


def _sign_design_effect(r: float) -> float:
    return 1 + 4 / math.pi * float(np.arcsin(r ** np.arange(1, 500)).sum())


def _batch_design_effect(x: Array) -> float:
    signs = np.sign(x - np.median(x))
    length = x.size // BATCHES
    means = signs[: BATCHES * length].reshape(BATCHES, length).mean(axis=1)
    power = float(signs @ signs) / x.size
    return length * float(means.var(ddof=1)) / power if power > 0 else 1.0


def median_interval(values: ArrayLike, confidence: float = 0.95) -> MedianInterval:
    """Median of the samples of one process, in the order taken, with its order-statistics interval.

    Ranks (n + 1) / 2 -+ 0.98 sqrt(n) sqrt(n / n_eff), interpolated between order statistics; where
    neighbours correlate 0.98 = 1.96 / 2 becomes half the t quantile with the degrees of freedom of
    `effective_size`. (Rounding the ranks outward covers 98.4 % at n = 30, and 1.96 throughout 92.8 % at n =
    30 with lag-1 correlation 0.6.) Where the ranks leave the sample, the interval is stretched beyond the
    extremes in the same proportion (on a log scale for positive values, so that no latency goes below
    zero). Measured coverage at nominal 95 %, log standard deviation 5 % and 50 %, n from 20 to 300:
    independent 95.6-97.0 %, neighbours correlated 0.3 95.0-96.2 %, 0.6 94.5-95.2 %, 0.9 89-94 %; n from 6
    to 15: 97.7-98.6 %, 96.0-96.7 %, 91.9-94.6 % and 83-88 %. It covers the median of this process; other
    processes have other medians: `median_over_processes`. NaN bounds below six values at 95 % (1 - 2 / 2^n
    must reach the confidence). Raises ValueError when empty.
    """
    x = as_sample(values, "values")
    check_share(confidence, "confidence")
    median, n = float(np.median(x)), x.size
    fewest = max(6, math.ceil(1 - math.log2(1 - confidence)))
    if n < fewest:
        reason = f"no interval: {n} of at least {fewest} samples"
        return MedianInterval(median, math.nan, math.nan, n, math.nan, math.nan, math.nan, reason)
    size = effective_size(x)
    offset = float(scipy.special.stdtrit(size.df, (1 + confidence) / 2)) / 2 * n / math.sqrt(size.n_eff)
    low, high = _reach(x, median, offset)
    return MedianInterval(
        median,
        low,
        high,
        n,
        size.n_eff,
        _lag1(x),
        _relative_half(low, high, median),
        f"order statistics, {_quantile_name(size.df)}, n_eff by {size.method}",
    )


def _reach(x: Array, median: float, offset: float) -> tuple[float, float]:
    """Values at the ranks `offset` away from the middle, extrapolated in proportion beyond the extremes."""
    ordered, middle = np.sort(x), (x.size - 1) / 2
    used = min(offset, middle)
    low, high = np.interp([middle - used, middle + used], np.arange(x.size), ordered)
    stretch = offset / used
    if stretch == 1:
        return float(low), float(high)
    if ordered[0] > 0:
        return float(median * (low / median) ** stretch), float(median * (high / median) ** stretch)
    return float(median + (low - median) * stretch), float(median + (high - median) * stretch)


def _quantile_name(df: float) -> str:
    return "normal" if math.isinf(df) else f"t with {df:.1f} df"


def _relative_half(low: float, high: float, median: float) -> float:
    return (high - low) / 2 / abs(median) if median else math.nan


def median_over_processes(values: ArrayLike, processes: Sequence[object], confidence: float = 0.95) -> MedianInterval:
    """Typical median over processes, from samples and the label of the process that took each.

    Geometric mean of the per-process medians with the t interval of their logarithms: processes differ
    (memory layout, autotuning), so they are the units, and `n_eff` is their number. Measured coverage at
    nominal 95 %, 6 or 10 processes of 50 samples, between 1 %, within 2 %, lag-1 0 or 0.6: 95.0-95.2 %;
    `median_interval` over all samples of 6 processes: 81-82 %. NaN bounds with one process. Raises
    ValueError when empty, not positive, or lengths differ.
    """
    x = as_positive(values, "values")
    check_share(confidence, "confidence")
    labels = [repr(label) for label in processes]
    if len(labels) != x.size:
        raise ValueError(f"values and processes must be of one length, not {x.size} and {len(labels)}")
    groups = np.unique(labels, return_inverse=True)[1]
    logs = np.array([math.log(np.median(x[groups == k])) for k in range(groups.max() + 1)])
    centre, k = float(logs.mean()), logs.size
    method = f"t on log medians of {k} processes"
    if k < 2:
        return MedianInterval(math.exp(centre), *(math.nan,) * 2, x.size, 1.0, *(math.nan,) * 2, method)
    half = float(scipy.special.stdtrit(k - 1, (1 + confidence) / 2) * logs.std(ddof=1) / math.sqrt(k))
    low, high, middle = math.exp(centre - half), math.exp(centre + half), math.exp(centre)
    return MedianInterval(middle, low, high, x.size, float(k), math.nan, _relative_half(low, high, middle), method)


def drift(values: ArrayLike, order: ArrayLike, confidence: float = 0.95) -> Drift:
    """Straight line of log latency against the order in which it was measured.

    Ordinary least squares with a t interval; correlated neighbours make p too small, so compare `total`
    with the A/A floor rather than p with 0.05. Raises ValueError below three values, when a value is not
    positive, or when all orders are equal.
    """
    as_positive(values, "values", 3)
    y, x = as_matched(values, order, ("values", "order"), 3)
    if np.ptp(x) == 0:
        raise ValueError("order is the same for all values: no drift can be seen")
    line = scipy.stats.linregress(x, np.log(y))
    half = float(scipy.special.stdtrit(x.size - 2, (1 + confidence) / 2)) * float(line.stderr)
    slope = float(line.slope)
    return Drift(
        slope,
        (slope - half, slope + half),
        float(line.pvalue),
        slope * float(np.ptp(x)),
        x.size,
        "least squares of log latency on order",
    )


def samples_for_percentile(q: float, confidence: float = 0.95) -> int:
    """Fewest samples that support percentile `q` (in percent) with one value allowed beyond it.

    Smallest n with P(Binomial(n, tail) <= 1) <= 1 - confidence, the LoadGen rule
    (`loadgen/early_stopping.cc`): 46 for p90, 93 for p95, 473 for p99, 8 for p50. Raises ValueError unless
    0 < q < 100.
    """
    if not 0 < q < 100:
        raise ValueError(f"q must lie strictly between 0 and 100 percent, not {q}")
    check_share(confidence, "confidence")
    tail = min(q, 100 - q) / 100
    low, high = EXCEEDANCES, math.ceil(20 / tail * max(1, -math.log10(1 - confidence)))
    while high - low > 1:
        middle = (low + high) // 2
        enough = scipy.special.bdtr(EXCEEDANCES, middle, tail) <= 1 - confidence
        low, high = (low, middle) if enough else (middle, high)
    return high


def percentile(values: ArrayLike, q: float, confidence: float = 0.95) -> float | None:
    """Percentile `q` (in percent, linear interpolation), or None where n does not support it.

    Raises ValueError when empty or unless 0 < q < 100.
    """
    x = as_sample(values, "values")
    return float(np.percentile(x, q)) if x.size >= samples_for_percentile(q, confidence) else None


def outlier_count(values: ArrayLike) -> int:
    """Count values more than ten robust standard deviations from the median; nothing is ever removed.

    |x - median| > 14.826 MAD (hyperfine). Where more than half the values are equal the MAD is zero and the
    mean absolute deviation, times 1.2533 / 1.4826, takes its place (Iglewicz and Hoaglin 1993). Raises
    ValueError when empty.
    """
    x = as_sample(values, "values")
    distance = np.abs(x - np.median(x))
    scale = np.median(distance) or 1.2533 / 1.4826 * distance.mean()
    return int((distance > OUTLIER_MADS * scale).sum())
