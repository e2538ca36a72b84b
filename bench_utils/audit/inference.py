"""Recomputations by a statistical method, from summaries alone. Each docstring is the method that the page prints.

Those named in `LOG10` return the log10 of a p value.
"""

from __future__ import annotations

import functools
import math
import re

from ..statistics import (
    PowerLawFit,
    anova_from_groups,
    compare_summaries,
    holm,
    interaction_from_cells,
    loglog_fit,
    minimum_detectable_effect,
    pooled_std,
    spearman,
    summarise,
    tost,
    total_std,
)
from ..statistics.published import Anova, SummaryComparison, f_test
from ..statistics.summaries import Summary
from ..statistics.tails import log10_p_of_t
from .case import Case
from .printed import ALPHA

_MARGIN = re.compile(r"margin ([\d.]+) (ms|pp)")


def _student(case: Case) -> SummaryComparison:
    return compare_summaries(case.summary(case.a[0]), case.summary(case.b[0]), equal_var=True)


def cohens_d(case: Case) -> float:
    """(mean b - mean a) / pooled standard deviation"""
    return _student(case).cohens_d


def student_t(case: Case) -> float:
    """Student's t of b against a, pooled variance"""
    return _student(case).t


def student_p(case: Case) -> float:
    """Student's t test of b against a, pooled variance"""
    return _student(case).log10_p


def _t_from_d(case: Case) -> tuple[float, list[int]]:
    n_a, n_b = case.counts(case.a + case.b, "n")
    return case.claim(case.others[0]) * math.sqrt(n_a * n_b / (n_a + n_b)), [n_a, n_b]


def welch_p(case: Case) -> float:
    """Welch's t test of b against a"""
    return compare_summaries(case.summary(case.a[0]), case.summary(case.b[0])).log10_p


def student_p_from_d(case: Case) -> float:
    """Student's t test from the printed effect size and counts"""
    t, counts = _t_from_d(case)
    return log10_p_of_t(t, sum(counts) - 2)


def welch_p_from_d(case: Case) -> float:
    """Welch's t test from the printed effect size and equal counts, at any degrees of freedom it can have"""
    t, counts = _t_from_d(case)
    return log10_p_of_t(t, case.between(("Welch", "df"), min(counts) - 1, sum(counts) - 2))


def smallest_p(case: Case) -> float:
    """Student's t tests of b against a, pair by pair: the smallest p"""
    pairs = zip(case.summaries(case.a), case.summaries(case.b), strict=True)
    return min(compare_summaries(a, b, equal_var=True).log10_p for a, b in pairs)


def tost_p(case: Case) -> float:
    """two one-sided Welch t tests, the larger p"""
    a, b = case.summary(case.a[0]), case.summary(case.b[0])
    return math.log10(tost(a, b, margin_ms(case, a)).p)


def margin_ms(case: Case, a: Summary) -> float:
    """The margin of equivalence that a claim names, in milliseconds or in percentage points of a's mean."""
    size, unit = _MARGIN.search(case.text["claim"]).groups()
    return float(size) if unit == "ms" else float(size) / 100 * a.mean


def anova_f(case: Case) -> float:
    """one-way analysis of variance from the printed groups"""
    return anova_from_groups(case.summaries(case.a)).F


def cost_f(case: Case) -> float:
    """one-way analysis of variance of machine cost over backends, a value a scenario"""
    costs: dict[str, list[float]] = {}
    for row in case.a:
        costs.setdefault(case.row(row)["backend"], []).append(1 / case.cell(row, "throughput_tok_s"))
    return anova_from_groups([summarise(values) for values in costs.values()]).F


def _cells(case: Case) -> dict[tuple[str, str], Summary]:
    return {(case.row(row)["backend"], case.row(row)["model"]): case.summary(row) for row in case.a}


def _marginal(case: Case) -> tuple[Anova, Anova]:
    """The factor named in the options against the spread within cells, and all cells as one factor."""
    cells, place = _cells(case), ("backend", "model").index(case.options["factor"])
    levels: dict[str, list[Summary]] = {}
    for key, cell in cells.items():
        levels.setdefault(key[place], []).append(cell)
    every = anova_from_groups(list(cells.values()))
    between = anova_from_groups([_merged(group) for group in levels.values()])
    return f_test(between.ss_between, between.df_between, every.ss_within, every.df_within, "marginal"), every


def _merged(group: list[Summary]) -> Summary:
    n = sum(cell.n for cell in group)
    return Summary(n, sum(cell.n * cell.mean for cell in group) / n, total_std(group))


def marginal_f(case: Case) -> float:
    """analysis of variance of the factor's marginal means, residual within cells"""
    return _marginal(case)[0].F


def marginal_eta(case: Case) -> float:
    """sum of squares of the factor's marginal means / total sum of squares"""
    factor, every = _marginal(case)
    return factor.ss_between / (every.ss_between + every.ss_within)


def interaction_f(case: Case) -> float:
    """interaction fitted to the cells that exist, weighted least squares"""
    return interaction_from_cells(_cells(case)).F


def interaction_eta(case: Case) -> float:
    """sum of squares of the interaction fitted to the cells that exist / total sum of squares"""
    every = anova_from_groups(list(_cells(case).values()))
    return interaction_from_cells(_cells(case)).ss_between / (every.ss_between + every.ss_within)


def residual_ss(case: Case) -> float:
    """sum of squares within cells"""
    return anova_from_groups(case.summaries(case.a)).ss_within


def total_ss(case: Case) -> float:
    """sum of squares within and between cells"""
    every = anova_from_groups(case.summaries(case.a))
    return every.ss_between + every.ss_within


def grand_mean(case: Case) -> float:
    """mean of the cells, weighted by their counts"""
    return _merged(case.summaries(case.a)).mean


def within_std(case: Case) -> float:
    """pooled standard deviation within the arms"""
    return pooled_std(case.summaries(case.a))


_detectable = functools.cache(minimum_detectable_effect)


def mde_d(case: Case) -> float:
    """smallest effect found with power 0.8 at alpha 0.05, noncentral t"""
    return _detectable(min(case.counts(case.a, "n")))


def mde_ms(case: Case) -> float:
    """smallest detectable effect times the pooled standard deviation within the arms"""
    return mde_d(case) * within_std(case)


def surviving_holm(case: Case) -> float:
    """printed p values that survive Holm's correction"""
    return sum(holm([case.claim(other) for other in case.others], ALPHA))


def surviving_bonferroni(case: Case) -> float:
    """printed p values below alpha / number of tests"""
    return sum(case.claim(other) <= ALPHA / len(case.others) for other in case.others)


def mean_without_largest(case: Case) -> float:
    """mean after removing the largest values, as far as the printed maxima bound them"""
    n, mean = case.counts(case.a, "n")[0], case.value(case.a[0])
    maxima, removed = [case.cell(row, "max_ms") for row in case.b], int(case.options["removed"])
    least = sum(sorted(maxima, reverse=True)[:removed])
    total = case.between(("largest", "sum"), least, removed * max(maxima))
    return (n * mean - total) / (n - removed)


def _power_law(case: Case) -> PowerLawFit:
    y = case.values(case.a)
    if case.b:
        y = [a / b for a, b in zip(y, case.values(case.b), strict=True)]
    return loglog_fit(case.models(case.a, "computed_params"), y)


def exponent(case: Case) -> float:
    """least squares of log latency (or ratio a / b) on log parameters: slope"""
    return _power_law(case).exponent


def r_squared(case: Case) -> float:
    """least squares of log latency on log parameters: R squared"""
    return _power_law(case).r_squared


def crossover_m(case: Case) -> float:
    """parameters at which the fitted ratio a / b is one"""
    fitted = _power_law(case)
    return fitted.factor ** (-1 / fitted.exponent) / 1e6


def rank_correlation(case: Case) -> float:
    """Spearman's rho of a model property and latency"""
    return spearman(case.models(case.a, case.options["property"]), case.values(case.a)).rho


LOG10 = frozenset({student_p, welch_p, student_p_from_d, welch_p_from_d, smallest_p, tost_p})
