"""Statistics recomputed from printed summaries: tests, effect sizes, analysis of variance."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from bench_utils.statistics.contrasts import welch
from bench_utils.statistics.summaries import Summary, as_summary, check_share
from bench_utils.statistics.tails import log10_p_of_f, log10_p_of_t

Triple = tuple[int, float, float]

# Cohen (1988): |d| from which an effect is called small, medium, large.
EFFECT_BANDS = ((0.8, "large"), (0.5, "medium"), (0.2, "small"), (0.0, "negligible"))


@dataclass(frozen=True)
class SummaryComparison:
    """b against a: negative `t`, `cohens_d` and `delta_pct` mean that b has the smaller mean (faster).

    `p` is two-sided and underflows to 0 below 1e-308, `log10_p` does not. `delta_pct` is NaN where mean a
    is 0.
    """

    t: float
    df: float
    cohens_d: float
    log10_p: float
    p: float
    delta_pct: float
    difference: float
    se: float
    method: str


@dataclass(frozen=True)
class Anova:
    """An F test with its sums of squares; `eta_squared` is the effect's share of effect plus residual."""

    F: float
    df_between: int
    df_within: int
    p: float
    log10_p: float
    ss_between: float
    ss_within: float
    eta_squared: float
    method: str


def compare_summaries(a: Triple, b: Triple, equal_var: bool = False) -> SummaryComparison:
    """Two-sided t test of b against a from `(n, mean, std)` triples: Welch, or Student with `equal_var`.

    Cohen's d = (mean b - mean a) / pooled std in either case. Raises ValueError for an impossible triple (n
    below 2, negative or missing std) or when neither arm has any spread.
    """
    first, second = as_summary(a, "a"), as_summary(b, "b")
    pooled = pooled_std([first, second])
    if equal_var:
        variances = (pooled**2 / first.n, pooled**2 / second.n)
        se, df = welch(variances[0], first.n, variances[1], second.n)[0], float(first.n + second.n - 2)
    else:
        se, df = welch(first.std**2 / first.n, first.n, second.std**2 / second.n, second.n)
    difference = second.mean - first.mean
    log10_p = log10_p_of_t(difference / se, df)
    delta_pct = 100 * difference / first.mean if first.mean else math.nan
    method = "Student t, pooled variance" if equal_var else "Welch t"
    return SummaryComparison(
        difference / se, df, difference / pooled, log10_p, 10**log10_p, delta_pct, difference, se, method
    )


def effect_band(cohens_d: float) -> str:
    """Cohen's word for the size of d, either sign: negligible, small (0.2), medium (0.5), large (0.8)."""
    if math.isnan(cohens_d):
        raise ValueError("cohens_d is missing")
    return next(word for least, word in EFFECT_BANDS if abs(cohens_d) >= least)


def summary_from_interval(
    n: int, mean: float, low: float, high: float, distribution: str = "normal", confidence: float = 0.95
) -> Summary:
    """The `(n, mean, std)` triple behind a published symmetric interval of a mean.

    std = half-width sqrt(n) / z, with z of the normal or of t with n - 1 degrees of freedom. Raises
    ValueError when the mean lies outside the interval, n is below 2, or the distribution is neither
    "normal" nor "t".
    """
    if distribution not in ("normal", "t"):
        raise ValueError(f'distribution must be "normal" or "t", not {distribution!r}')
    upper = (1 + check_share(confidence, "confidence")) / 2
    checked = as_summary((n, mean, (high - low) / 2), "n, mean and the interval")
    if not low <= mean <= high:
        raise ValueError(f"mean {mean} lies outside its interval {low} to {high}")
    normal = distribution == "normal"
    z = scipy.special.ndtri(upper) if normal else scipy.special.stdtrit(checked.n - 1, upper)
    return checked._replace(std=checked.std * math.sqrt(checked.n) / float(z))


def _groups(groups: Sequence[Triple], name: str = "groups", least: int = 1) -> list[Summary]:
    checked = [as_summary(group, f"{name}[{i}]") for i, group in enumerate(groups)]
    if len(checked) < least:
        raise ValueError(f"{name} holds {len(checked)} summaries; at least {least} are needed")
    return checked


def _ss_within(groups: Sequence[Summary]) -> tuple[float, int]:
    return sum((g.n - 1) * g.std**2 for g in groups), sum(g.n - 1 for g in groups)


def _ss_between(groups: Sequence[Summary]) -> float:
    grand = sum(g.n * g.mean for g in groups) / sum(g.n for g in groups)
    return sum(g.n * (g.mean - grand) ** 2 for g in groups)


def pooled_std(groups: Sequence[Triple]) -> float:
    """Standard deviation within groups, sqrt(sum (n - 1) std^2 / sum (n - 1)); ValueError when empty."""
    within, df = _ss_within(_groups(groups))
    return math.sqrt(within / df)


def total_std(groups: Sequence[Triple]) -> float:
    """Standard deviation of all values together, differences between groups included; never the pooled one.

    Raises ValueError when empty.
    """
    checked = _groups(groups)
    within, df = _ss_within(checked)
    return math.sqrt((within + _ss_between(checked)) / (df + len(checked) - 1))


def anova_from_groups(groups: Sequence[Triple]) -> Anova:
    """One-way analysis of variance from `(n, mean, std)` triples.

    Raises ValueError with fewer than two groups or without any spread within them.
    """
    checked = _groups(groups, least=2)
    within, df_within = _ss_within(checked)
    return f_test(_ss_between(checked), len(checked) - 1, within, df_within, "one-way ANOVA from summaries")


def f_test(ss_between: float, df_between: int, ss_within: float, df_within: int, method: str) -> Anova:
    """F of a between sum of squares against a within one. Raises ValueError without spread within."""
    if ss_within <= 0:
        raise ValueError("the groups have no spread within them: F cannot be formed")
    f = (ss_between / df_between) / (ss_within / df_within)
    log10_p, eta = log10_p_of_f(f, df_between, df_within), ss_between / (ss_between + ss_within)
    return Anova(f, df_between, df_within, 10**log10_p, log10_p, ss_between, ss_within, eta, method)


def interaction_from_cells(cells: Mapping[tuple[Hashable, Hashable], Triple]) -> Anova:
    """Interaction of two factors from `(n, mean, std)` of the cells that exist, keyed by the two levels.

    Residual sum of squares of the additive model, fitted to the cell means with weights n, on cells -
    rank(additive) degrees of freedom: with all cells (a - 1)(b - 1), one fewer for each empty cell. Raises
    ValueError where a factor has one level, where the filled cells fall into parts that share no level
    (main effects not comparable), and where no degree of freedom is left for the interaction.
    """
    checked = _groups(list(cells.values()), "cells")
    design, levels = _additive_design(list(cells))
    weights = np.sqrt([cell.n for cell in checked])
    means = np.array([cell.mean for cell in checked])
    rank = int(np.linalg.matrix_rank(design))
    if rank < levels - 1:
        raise ValueError("the filled cells fall into parts that share no level: main effects cannot be separated")
    if len(checked) <= rank:
        raise ValueError(f"no interaction can be estimated: {len(checked)} cells hold {rank} main effects")
    coefficients = np.linalg.lstsq(design * weights[:, None], means * weights, rcond=None)[0]
    residual = float(weights**2 @ (means - design @ coefficients) ** 2)
    within, df_within = _ss_within(checked)
    method = f"interaction from {len(checked)} cell means, weighted least squares"
    return f_test(residual, len(checked) - rank, within, df_within, method)


def _additive_design(keys: Sequence[tuple[Hashable, Hashable]]) -> tuple[np.ndarray, int]:
    """One column for each level of each factor, and the number of levels of both together."""
    columns = []
    for factor in (0, 1):
        levels = sorted({key[factor] for key in keys}, key=repr)
        if len(levels) < 2:
            raise ValueError(f"cells: factor {factor + 1} has one level, so there is nothing to interact")
        columns += [[float(key[factor] == level) for key in keys] for level in levels]
    return np.array(columns).T, len(columns)
