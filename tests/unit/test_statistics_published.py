"""Published statistics recomputed from published summaries."""

import csv
import math
from importlib.resources import files

import numpy as np
import pytest
from scipy import stats

import bench_utils.statistics as st
from bench_utils.statistics import tails

with (files("bench_utils") / "reference/published_latency.csv").open(encoding="utf-8", newline="") as stream:
    ROWS = {row["row_id"]: row for row in csv.DictReader(stream)}


def triple(row_id):
    row = ROWS[row_id]
    return int(row["n"]), float(row["mean_ms"]), float(row["std_ms"])


GPU_COMPILE, GPU, CPU_COMPILE, CPU, OLLAMA = (triple(f"L{i:04}") for i in range(1, 6))


def test_gpu_compile_label_is_not_faster_on_the_mean():
    result = st.compare_summaries(GPU, GPU_COMPILE)
    assert result.p == pytest.approx(0.33, abs=0.005)
    assert result.delta_pct == pytest.approx(-3.69, abs=0.01)
    assert result.method == "Welch t"


@pytest.mark.parametrize(
    ("a", "b", "d", "published"),
    [(GPU, GPU_COMPILE, 0.08, 0.14), (CPU, GPU, 0.94, 1.48), (OLLAMA, GPU_COMPILE, 0.85, 1.60)],
)
def test_published_effect_sizes_do_not_reproduce(a, b, d, published):
    result = st.compare_summaries(a, b)
    assert abs(result.cohens_d) == pytest.approx(d, abs=0.005)
    assert result.cohens_d < 0  # b has the smaller mean
    assert abs(abs(result.cohens_d) - published) > 0.05


def test_cpu_compile_p_is_student_or_welch_but_not_as_published():
    assert st.compare_summaries(CPU, CPU_COMPILE, equal_var=True).p == pytest.approx(0.228, abs=0.001)
    assert st.compare_summaries(CPU, CPU_COMPILE).p == pytest.approx(0.226, abs=0.001)


def test_published_anova_over_five_backends_is_recomputed():
    result = st.anova_from_groups([GPU_COMPILE, GPU, CPU_COMPILE, CPU, OLLAMA])
    assert pytest.approx(157.8, abs=0.05) == result.F
    assert (result.df_between, result.df_within) == (4, 2466)


def test_published_prefill_effect_reproduces_as_student():
    result = st.compare_summaries(triple("L0128"), triple("L0126"), equal_var=True)
    assert result.t == pytest.approx(-19.9, abs=0.05)
    assert result.df == 1078
    assert result.cohens_d == pytest.approx(-1.21, abs=0.005)
    assert result.log10_p == pytest.approx(math.log10(2.65e-75), abs=0.05)
    assert result.delta_pct == pytest.approx(-53.3, abs=0.05)


@pytest.mark.parametrize(("margin", "published", "equivalent"), [(1.0, 0.00096, True), (0.5, 0.118, False)])
def test_published_equivalence_reproduces(margin, published, equivalent):
    result = st.tost(triple("L0135"), triple("L0134"), margin)
    assert result.p == pytest.approx(published, rel=0.1)
    assert result.equivalent is equivalent
    assert result.se == pytest.approx(0.2546, abs=1e-4)


def test_published_interaction_has_five_degrees_of_freedom():
    cells = {}
    for i in range(129, 141):
        row = ROWS[f"L{i:04}"]
        cells[row["backend"], row["model"]] = triple(f"L{i:04}")
    result = st.interaction_from_cells(cells)
    assert (result.df_between, result.df_within) == (5, 1608)
    assert pytest.approx(505.8, abs=0.1) == result.F


def test_published_pooled_standard_deviation_was_the_total_one():
    arms = [triple(row_id) for row_id in ("L0126", "L0127", "L0128")]
    assert st.total_std(arms) == pytest.approx(7.83, abs=0.01)
    assert st.pooled_std(arms) == pytest.approx(6.60, abs=0.01)


@pytest.mark.parametrize("equal_var", [True, False])
def test_comparison_agrees_with_scipy(equal_var):
    rng = np.random.default_rng(1)
    a, b = rng.normal(10, 1, 30), rng.normal(9.5, 2, 50)
    reference = stats.ttest_ind(b, a, equal_var=equal_var)
    result = st.compare_summaries(st.summarise(a), st.summarise(b), equal_var)
    assert (result.t, result.df, result.p) == pytest.approx((reference.statistic, reference.df, reference.pvalue))
    assert result.log10_p == pytest.approx(math.log10(reference.pvalue))


def test_arms_without_any_spread_cannot_be_compared():
    with pytest.raises(ValueError, match="no spread"):
        st.compare_summaries((5, 1.0, 0.0), (5, 2.0, 0.0))
    assert st.compare_summaries((5, 1.0, 0.0), (5, 2.0, 1.0)).df == pytest.approx(4)


# Log10 of the two-sided p, computed once with 40-digit arithmetic (incomplete beta function).
FAR_TAILS = [
    (2, 10, -1.134374741945427),
    (40, 1000, -208.9796862870065),
    (100, 1000, -522.2738580806306),
    (60, 3000, -515.3391777465044),
    (45, 1e6, -441.02959084398765),
    (60, 1e9, -783.604991276082),
]


@pytest.mark.parametrize(("t", "df", "expected"), FAR_TAILS)
def test_log_p_does_not_underflow(t, df, expected):
    assert tails.log10_p_of_t(t, df) == pytest.approx(expected, rel=1e-9)
    assert tails.log10_p_of_t(-t, df) == tails.log10_p_of_t(t, df)
    assert tails.log10_p_of_f(t * t, 1, df) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("t", "df"), [(3.0, 20.0), (12.5, 7.3), (30.0, 400.0)])
def test_both_ways_to_the_tail_agree(t, df):
    fallback = tails._log_betainc(df / 2, 0.5, df, t * t) / math.log(10)
    assert fallback == pytest.approx(tails.log10_p_of_t(t, df), rel=1e-11)
    f_fallback = tails._log_betainc(df / 2, 1.5, df, 3 * t * t)
    assert f_fallback == pytest.approx(float(stats.f.logsf(t * t, 3, df)), rel=1e-9)


def test_no_effect_at_all_has_p_one():
    result = st.compare_summaries((10, 5.0, 1.0), (10, 5.0, 1.0))
    assert (result.t, result.p, result.log10_p, result.cohens_d) == (0, 1, 0, 0)


def test_comparison_of_huge_effects_keeps_its_exponent():
    result = st.compare_summaries((500, 100.0, 1.0), (500, 110.0, 1.0))
    assert result.p == 0.0
    assert -1000 < result.log10_p < -308


@pytest.mark.parametrize(
    ("d", "word"),
    [
        (0.0, "negligible"),
        (-0.19, "negligible"),
        (0.2, "small"),
        (-0.5, "medium"),
        (0.79, "medium"),
        (-3, "large"),
    ],
)
def test_effects_have_cohens_words(d, word):
    assert st.effect_band(d) == word


@pytest.mark.parametrize("distribution", ["normal", "t"])
def test_summary_from_interval_inverts_the_interval(distribution):
    z = stats.norm.ppf(0.975) if distribution == "normal" else stats.t.ppf(0.975, 11)
    half = z * 3.0 / math.sqrt(12)
    assert st.summary_from_interval(12, 50.0, 50.0 - half, 50.0 + half, distribution) == pytest.approx((12, 50.0, 3.0))


def test_published_interval_gives_back_the_published_standard_deviation():
    summary = st.summary_from_interval(1620, 11.87, 11.42, 12.32)
    assert summary.std == pytest.approx(9.19, rel=0.01)  # the interval is printed to two decimals


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ((10, 5.0, 6.0, 7.0), "outside"),
        ((1, 5.0, 4.0, 6.0), "whole n"),
        ((10, 5.0, 6.0, 4.0), "standard deviation"),
        ((10, 5.0, 4.0, 6.0, "bootstrap"), "distribution"),
    ],
)
def test_impossible_intervals_are_refused(arguments, names):
    with pytest.raises(ValueError, match=names):
        st.summary_from_interval(*arguments)


def test_anova_and_standard_deviations_agree_with_the_values_behind_the_summaries():
    rng = np.random.default_rng(2)
    groups = [rng.normal(mean, 1, n) for mean, n in ((5, 12), (5.5, 30), (6, 8))]
    summaries = [st.summarise(group) for group in groups]
    result, reference = st.anova_from_groups(summaries), stats.f_oneway(*groups)
    assert (result.F, result.p) == pytest.approx((reference.statistic, reference.pvalue))
    assert st.total_std(summaries) == pytest.approx(np.concatenate(groups).std(ddof=1))
    assert st.pooled_std(summaries) == pytest.approx(math.sqrt(result.ss_within / result.df_within))
    assert result.eta_squared == pytest.approx(result.ss_between / (49 * np.concatenate(groups).var(ddof=1)))


def test_interaction_from_cells_agrees_with_the_fitted_model():
    rng = np.random.default_rng(3)
    means = {("a", "x"): 1, ("a", "y"): 2, ("b", "x"): 4, ("b", "y"): 4.5, ("c", "x"): 2, ("c", "y"): 4}
    values = {cell: rng.normal(mean, 0.5, 5 + i) for i, (cell, mean) in enumerate(means.items())}
    result = st.interaction_from_cells({cell: st.summarise(x) for cell, x in values.items()})
    rows = [(first, second, v) for (first, second), x in values.items() for v in x]
    first, second, response = zip(*rows, strict=True)
    reference = st.additive_against_interaction(response, {"first": first, "second": second}).test
    assert (result.F, result.df_between, result.df_within) == pytest.approx(
        (reference.F, reference.df_between, reference.df_within)
    )


def test_additive_cells_have_no_interaction():
    cells = {(i, j): (10, 3.0 * i + j, 1.0) for i in range(3) for j in range(4)}
    assert pytest.approx(0, abs=1e-20) == st.interaction_from_cells(cells).F


@pytest.mark.parametrize(
    ("filled", "names"),
    [
        ([("a", "x"), ("a", "y")], "factor 1 has one level"),
        ([("a", "x"), ("b", "y")], "share no level"),
        ([("a", "x"), ("a", "y"), ("b", "x")], "no interaction"),
        ([], "at least 1|one level"),
    ],
)
def test_interaction_that_cells_cannot_show_is_refused(filled, names):
    with pytest.raises(ValueError, match=names):
        st.interaction_from_cells(dict.fromkeys(filled, (10, 1.0, 1.0)))


@pytest.mark.parametrize("broken", [(1, 2.0, 1.0), (2.5, 2.0, 1.0), (5, None, 1.0), (5, 2.0, -1.0), (5, 2.0), 3])
def test_impossible_triples_are_refused_by_name(broken):
    with pytest.raises(ValueError, match="b "):
        st.compare_summaries((5, 1.0, 1.0), broken)
    with pytest.raises(ValueError, match=r"groups\[1\]"):
        st.pooled_std([(5, 1.0, 1.0), broken])


@pytest.mark.parametrize("function", [st.pooled_std, st.total_std, st.anova_from_groups])
def test_no_groups_are_refused(function):
    with pytest.raises(ValueError, match="groups holds 0"):
        function([])
