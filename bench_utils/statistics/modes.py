"""One mode or two: Hartigan's dip and the gap rule."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bench_utils.statistics.summaries import Array, as_sample

LEAST = 20  # samples: below it the smaller mode would be a single value
LEAST_SHARE = 0.10  # of the samples on each side of the split
MIN_GAP = 5.0  # largest gap over median gap
# The largest of n exponential gaps exceeds (ln n - ln GAP_CHANCE) / ln 2 median gaps with this chance.
GAP_CHANCE = 0.01
# 95th percentile of sqrt(n) * dip of n uniform values, which are the worst case of one mode: own simulation,
# 20,000 samples up to n = 50, 800 at n = 2000.
DIP_SIZES = (6, 8, 10, 15, 20, 30, 50, 100, 200, 500, 1000, 2000)
DIP_LIMITS = (0.404, 0.437, 0.441, 0.459, 0.470, 0.482, 0.497, 0.511, 0.521, 0.526, 0.527, 0.531)


@dataclass(frozen=True)
class Bimodality:
    """Whether there are two modes and why; `modes` are medians, `shares` their parts of the samples.

    `bimodal` is None where the sample is too small to say. One mode has one share of 1.
    """

    bimodal: bool | None
    reason: str
    modes: tuple[float, ...]
    shares: tuple[float, ...]
    dip: float
    method: str


def bimodality(values: ArrayLike) -> Bimodality:
    """Flag two modes: Hartigan's dip test at 0.05, or a largest gap too wide for chance.

    The gap must leave a tenth of the values on each side and exceed max(5, (ln n + 4.6) / ln 2) times the
    median gap of either side. (Five median gaps of all, the plain rule, flag 27 % of exponential samples of
    30 and 77 % of uniform ones of 100.) Measured false alarms of both rules together: at most 4 % at n = 20
    and 2 % from 30 to 300 for normal, log-normal and exponential samples, 5-7 % for uniform ones, at most
    4 % with neighbours correlated 0.9; two modes ten standard deviations apart, the smaller with 30 %, are
    found in 75 % at n = 20, 90 % at 30, 100 % at 100. Where the dip alone flags, the split is where the
    variance between the sides is largest. Ties of a coarse clock are first spread over its step. Raises
    ValueError when empty.
    """
    x = np.sort(as_sample(values, "values"))
    method = "Hartigan dip at 0.05 or largest gap"
    if x.size < LEAST:
        reason = f"{x.size} samples: at least {LEAST} are needed to tell"
        return Bimodality(None, reason, (float(np.median(x)),), (1.0,), math.nan, method)
    spread = _spread_ties(x)
    dip, limit = dip_statistic(spread), dip_critical(x.size)
    split = _gap_split(spread)
    if split is not None:
        return _two_modes(x, split, f"largest gap at {_between(x, split):.4g}", dip, method)
    if dip > limit:
        return _two_modes(x, _variance_split(spread), f"dip {dip:.3f} above {limit:.3f}", dip, method)
    reason = f"no large gap, dip {dip:.3f} within {limit:.3f}"
    return Bimodality(False, reason, (float(np.median(x)),), (1.0,), dip, method)


def _spread_ties(x: Array) -> Array:
    """Sorted values with ties spread over the step of the clock, its smallest gap; two levels stay levels."""
    levels, counts = np.unique(x, return_counts=True)
    if not 2 < levels.size < x.size:
        return x
    within = np.concatenate([(np.arange(count) + 0.5) / count for count in counts]) - 0.5
    return x + within * np.diff(levels).min()


def _two_modes(x: Array, split: int, reason: str, dip: float, method: str) -> Bimodality:
    modes = (float(np.median(x[:split])), float(np.median(x[split:])))
    return Bimodality(True, reason, modes, (split / x.size, 1 - split / x.size), dip, method)


def _between(x: Array, split: int) -> float:
    return float(x[split - 1] + x[split]) / 2


def _gap_split(x: Array) -> int | None:
    """Number of values below the largest gap, when that gap is wide enough and not in a tail."""
    gaps = np.diff(x)
    if not gaps.any():
        return None
    split = int(gaps.argmax()) + 1
    factor = max(MIN_GAP, (math.log(x.size) - math.log(GAP_CHANCE)) / math.log(2))
    if not LEAST_SHARE <= split / x.size <= 1 - LEAST_SHARE:
        return None
    usual = max(_median_gap(gaps[: split - 1]), _median_gap(gaps[split:]))
    return split if gaps[split - 1] > factor * usual else None


def _median_gap(gaps: Array) -> float:
    return float(np.median(gaps[gaps > 0])) if gaps.any() else 0.0


def _variance_split(x: Array) -> int:
    """Split with the largest variance between the two sides (Otsu 1979), a tenth of the values on each."""
    n = x.size
    below = np.arange(math.ceil(LEAST_SHARE * n), math.floor((1 - LEAST_SHARE) * n) + 1)
    sums = np.cumsum(x - x.mean())[below - 1]
    return int(below[np.argmax(sums**2 / (below * (n - below)))])


def dip_critical(n: int) -> float:
    """Dip that one-mode samples of size n exceed in at most 5 % of cases, interpolated in the table above."""
    return float(np.interp(math.log(n), np.log(DIP_SIZES), DIP_LIMITS)) / math.sqrt(n)


def dip_statistic(values: ArrayLike) -> float:
    """Largest distance between the empirical distribution and the nearest one with a single mode.

    Hartigan and Hartigan (1985): shrink the modal interval to where the convex minorant and the concave
    majorant are farthest apart, until what lies outside it is no nearer. Raises ValueError when empty.
    """
    x, counts = np.unique(as_sample(values, "values"), return_counts=True)
    above = np.cumsum(counts) / counts.sum()
    below = above - counts / counts.sum()
    twice, inside = 1 / counts.sum(), slice(0, x.size)
    while inside.stop - inside.start > 1:
        apart, outside, start, stop = _modal_interval(x[inside], below[inside], above[inside])
        if apart <= twice:
            break
        twice = max(twice, outside)
        if stop - start == inside.stop - inside.start:
            break
        inside = slice(inside.start + start, inside.start + stop)
    return float(twice) / 2


def _modal_interval(x: Array, below: Array, above: Array) -> tuple[float, float, int, int]:
    """Widest distance of minorant and majorant, misfit outside the new modal interval, its ends."""
    low_knots, high_knots = _convex_knots(x, below), _convex_knots(x, -above)
    minorant = np.interp(x, x[low_knots], below[low_knots])
    majorant = np.interp(x, x[high_knots], above[high_knots])
    knots = np.union1d(low_knots, high_knots)
    widest = int(knots[np.argmax((majorant - minorant)[knots])])
    start = int(low_knots[low_knots <= widest].max())
    last = int(high_knots[high_knots >= widest].min())
    before, after = (above - minorant)[:start], (majorant - below)[last + 1 :]
    outside = max(before.max(initial=0.0), after.max(initial=0.0))
    return float((majorant - minorant)[widest]), float(outside), start, last + 1


def _convex_knots(x: Array, y: Array) -> np.ndarray:
    """Indices of the points on the lower convex hull (Andrew's monotone chain)."""
    xs, ys = x.tolist(), y.tolist()
    knots: list[int] = []
    for i in range(len(xs)):
        while len(knots) > 1:
            a, b = knots[-2], knots[-1]
            if (ys[b] - ys[a]) * (xs[i] - xs[b]) < (ys[i] - ys[b]) * (xs[b] - xs[a]):
                break
            knots.pop()
        knots.append(i)
    return np.array(knots)
