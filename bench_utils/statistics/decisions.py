"""From comparisons to outcomes: A/A floor, multiplicity, failure rates, outcomes of contrasts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy
from numpy.typing import ArrayLike

from bench_utils.statistics.contrasts import PairedRatio, wilson_bounds
from bench_utils.statistics.summaries import Array, as_sample, check_share

Outcome = Literal["faster", "slower", "same", "ambiguous", "invalid"]

MIN_ROUNDS = 6  # 2 / 2^6 = 0.031: with fewer pairs not even a sign test reaches 0.05
MIN_BAND = 0.005  # log ratio: nothing below half a percent is called a difference
SAME_BAND = 0.02  # log ratio: an interval within two percent is called the same
WIDEST_SAME = 0.05  # log ratio: on a machine whose floor is above this nothing is called the same
AA_PAIRS = 59  # 0.95^59 < 0.05: from here on the largest is a 95 % bound of the 95th percentile


@dataclass(frozen=True)
class AAFloor:
    """Log ratio that identical code shows on this machine: differences below `value` mean nothing.

    `pairs` counts the A/A cells, `rounds` the fewest rounds of one, `sd` is the spread of the log ratios
    over rounds and `largest` the largest mean log ratio seen.
    """

    value: float
    pairs: int
    rounds: int
    sd: float
    largest: float
    method: str


def aa_floor(log_ratios: Sequence[ArrayLike] | ArrayLike, confidence: float = 0.95) -> AAFloor:
    """A/A floor from the log ratios of identical code: one array of per-round log ratios for each A/A cell.

    The largest |mean log ratio| that was seen; below 59 cells, which may not have shown it, at least
    t sd / sqrt(rounds), sd pooled over the cells (sqrt(2) times the spread between processes). t has rounds - 1
    degrees of freedom however many cells there are, because the cells of a round share its processes. A flat
    array is one cell. Raises ValueError when empty, or below 59 cells when a cell has fewer than two rounds.
    """
    check_share(confidence, "confidence")
    cells = _as_cells(log_ratios)
    rounds, largest = min(cell.size for cell in cells), max(abs(float(cell.mean())) for cell in cells)
    df = sum(cell.size - 1 for cell in cells)
    within = sum(float(((cell - cell.mean()) ** 2).sum()) for cell in cells)
    sd = math.sqrt(within / df) if df else math.nan
    if len(cells) >= AA_PAIRS:
        return AAFloor(largest, len(cells), rounds, sd, largest, f"largest of {len(cells)} A/A pairs")
    if rounds < 2:
        raise ValueError(f"log_ratios: {len(cells)} A/A cells, fewer than {AA_PAIRS}, need two rounds or more each")
    half = float(scipy.special.stdtrit(rounds - 1, (1 + confidence) / 2)) * sd / math.sqrt(rounds)
    if largest > half:
        return AAFloor(largest, len(cells), rounds, sd, largest, f"largest of {len(cells)} A/A pairs")
    return AAFloor(half, len(cells), rounds, sd, largest, f"t half-width of {rounds} A/A rounds")


def _as_cells(log_ratios: Sequence[ArrayLike] | ArrayLike) -> list[Array]:
    cells = list(log_ratios)  # type: ignore[arg-type]
    if not cells:
        raise ValueError("log_ratios holds no A/A cell")
    if all(np.ndim(cell) == 0 for cell in cells):
        cells = [cells]
    return [as_sample(cell, "log_ratios") for cell in cells]


def outcome(effect: PairedRatio, floor: float, *, valid: bool = True, significant: bool = True) -> Outcome:
    """Outcome of a contrast, from its interval against the machine's A/A floor (a log ratio).

    Band = max(floor, 0.005). `faster` or `slower`: the interval lies wholly beyond the band, on its side,
    and the contrast is `significant` after correction over its family. `same`: wholly within max(band,
    0.02), unless that band is wider than 0.05: a machine too noisy to see a difference has not shown its
    absence. `ambiguous`: otherwise, and always below six rounds. `invalid`: `valid` is false, whatever the
    numbers. Raises ValueError when a valid contrast comes with a floor that is negative or missing.
    """
    if not valid:
        return "invalid"
    if floor is None or not (math.isfinite(floor) and floor >= 0):
        raise ValueError(f"floor must be a log ratio of zero or more, not {floor}")
    if effect.n < MIN_ROUNDS:
        return "ambiguous"
    band = max(floor, MIN_BAND)
    if effect.log_high < -band or effect.log_low > band:
        direction: Outcome = "faster" if effect.log_high < -band else "slower"
        return direction if significant else "ambiguous"
    same = max(band, SAME_BAND)
    within = -same < effect.log_low and effect.log_high < same
    return "same" if within and same <= WIDEST_SAME else "ambiguous"


def holm_adjusted(p: Sequence[float | None], family: int | None = None) -> list[float]:
    """Holm's adjusted p values (1979), in the order given.

    `family` is the declared number of comparisons when not all of them could be tested. A missing p (None
    or NaN) counts in the family and comes back as NaN. Raises ValueError when empty, when a p lies outside
    0 to 1, or when the family is smaller than the list.
    """
    values = np.array([math.nan if one is None else one for one in p], dtype=float)
    size = values.size if family is None else family
    if values.size == 0:
        raise ValueError("p holds no comparison")
    if (values < 0).any() or (values > 1).any():
        raise ValueError("p must lie between 0 and 1")
    if size < values.size:
        raise ValueError(f"family of {size} is smaller than the {values.size} comparisons in p")
    order = np.argsort(values)  # missing ones last
    steps = values[order] * (size - np.arange(values.size))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted.tolist()


def holm(p: Sequence[float | None], alpha: float = 0.05, family: int | None = None) -> list[bool]:
    """Which comparisons are significant after Holm's correction at level alpha; a missing p never is.

    Arguments and errors as `holm_adjusted`.
    """
    check_share(alpha, "alpha")
    return [bool(one <= alpha) for one in holm_adjusted(p, family)]


def wilson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of Wilson (1927) for a rate of k in n. ValueError unless 0 <= k <= n and n > 0."""
    if n < 1 or not 0 <= k <= n:
        raise ValueError(f"k of n must be 0 <= k <= n with n of at least 1, not {k} of {n}")
    return wilson_bounds(k, n, confidence)
