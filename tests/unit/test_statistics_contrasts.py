"""Paired ratios, probability of improvement, detectable effects, equivalence."""

import math

import numpy as np
import pytest
from scipy import stats

import bench_utils.statistics as st
from bench_utils.contrasts import contrast
from tests.faults import conftest as planting

make_run = planting.make_run


def rounds(seed, ratio=1.0, shape=(2000, 6, 40), rho=0.6):
    """Per-round log ratios of medians: each round a process of its own for baseline and variant."""
    rng = np.random.default_rng(seed)
    baseline, variant = (st.process_effects(rng, shape, rho=rho) for _ in range(2))
    return np.log(np.median(ratio * variant, axis=-1) / np.median(baseline, axis=-1))


def test_paired_ratio_is_the_t_interval_of_log_ratios():
    x = np.log([0.95, 0.97, 0.94, 0.99, 0.96, 0.95])
    result = st.paired_ratio(x)
    reference = stats.ttest_1samp(x, 0)
    assert result.p == pytest.approx(reference.pvalue)
    assert result.interval == pytest.approx(np.exp(reference.confidence_interval()))
    assert result.estimate == pytest.approx(stats.gmean(np.exp(x)))
    assert (result.log_low, result.log_high) == pytest.approx(np.log(result.interval))
    assert (result.n, result.sd) == (6, pytest.approx(x.std(ddof=1)))
    assert "paired t" in result.method


@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_paired_ratio_covers_over_process_effects(rho):
    x = rounds(1, ratio=0.97, rho=rho)
    assert 0.93 <= st.coverage((st.paired_ratio(r).interval for r in x), 0.97).rate <= 0.97


def test_identical_code_is_called_different_in_five_percent():
    assert 0.03 <= np.mean([st.paired_ratio(r).p < 0.05 for r in rounds(2)]) <= 0.07


def test_t_test_over_samples_calls_identical_code_different_far_more_often():
    rng = np.random.default_rng(3)
    a, b = (st.process_effects(rng, (300, 6, 50)).reshape(300, -1) for _ in range(2))
    assert np.mean(stats.ttest_ind(a, b, axis=1).pvalue < 0.05) > 0.30


def test_rounds_without_spread_are_a_point():
    result = st.paired_ratio([0.0] * 6)
    assert result.interval == (1.0, 1.0)
    assert result.p == 1.0
    assert st.paired_ratio([0.25] * 8).p == 0.0


def test_one_round_has_no_interval():
    with pytest.raises(ValueError, match="log_ratios holds 1 values"):
        st.paired_ratio([0.1])
    with pytest.raises(ValueError, match="missing"):
        st.paired_ratio([0.1, math.nan, 0.2])


def test_probability_of_improvement_counts_rounds():
    result = st.probability_of_improvement([-0.1, -0.2, 0.0, 0.1])
    assert result.estimate == 0.625
    assert result.interval == pytest.approx(st.wilson(5, 8), abs=0.2)
    assert "rounds" in result.method


def test_probability_of_improvement_of_samples_is_mann_whitney():
    rng = np.random.default_rng(4)
    a, b = rng.normal(1, 1, 40).round(1), rng.normal(0.5, 1, 30).round(1)
    result = st.probability_of_improvement(a, b)
    assert result.estimate == pytest.approx(stats.mannwhitneyu(a, b).statistic / (40 * 30))
    assert result.low < result.estimate < result.high


def test_probability_of_improvement_covers():
    rng = np.random.default_rng(5)
    truth = stats.norm.cdf(1 / math.sqrt(2))
    pairs = zip(rng.normal(1, 1, (1500, 30)), rng.normal(0, 1, (1500, 30)), strict=True)
    rate = st.coverage((st.probability_of_improvement(a, b).interval for a, b in pairs), truth).rate
    assert 0.93 <= rate <= 0.97


def test_separate_samples_are_not_certain():
    result = st.probability_of_improvement([5.0] * 10, [1.0] * 20)
    assert result.estimate == 1.0
    assert result.interval == pytest.approx(st.wilson(10, 10))
    assert st.probability_of_improvement([1.0, 1.0], [5.0, 5.0]).estimate == 0.0


@pytest.mark.parametrize(("n", "published"), [(1620, 0.098), (540, 0.17), (300, 0.23), (60, 0.52)])
def test_detectable_effect_reproduces_published_values(n, published):
    assert round(st.minimum_detectable_effect(n), 3 if n == 1620 else 2) == published


@pytest.mark.parametrize("n", [2, 6, 25])
def test_detectable_effect_is_detected_with_the_power_asked(n):
    d, critical = st.minimum_detectable_effect(n), stats.t.ppf(0.975, 2 * n - 2)
    shifted = stats.nct(2 * n - 2, d * math.sqrt(n / 2))
    assert shifted.sf(critical) + shifted.cdf(-critical) == pytest.approx(0.8, abs=1e-4)


def test_effect_of_a_contrast_is_found_with_the_power_asked():
    effect = st.contrast_mde(0.014, 6)
    x = np.random.default_rng(6).normal(math.log1p(effect), 0.014, (4000, 6))
    assert np.mean(stats.ttest_1samp(x, 0, axis=1).pvalue < 0.05) == pytest.approx(0.8, abs=0.025)


def test_contrast_mde_is_close_to_the_usual_shortcut():
    shortcut = (stats.t.ppf(0.975, 5) + stats.t.ppf(0.8, 5)) * 0.014 / math.sqrt(6)
    assert st.contrast_mde(0.014, 6) == pytest.approx(math.expm1(shortcut), rel=0.02)
    assert st.contrast_mde(0.014, 20) < st.contrast_mde(0.014, 6)


def test_rounds_without_any_spread_find_every_change():
    assert st.contrast_mde(0.0, 6) == 0.0
    assert st.contrast_mde(1e-12, 6) == pytest.approx(0.0, abs=1e-11)


def test_a_run_whose_rounds_all_have_one_ratio_is_contrasted(make_run):
    effects = contrast(make_run(models=["gpt2-5m"], noise=0.0, speed={"compile-static": 0.5}).rows())
    static = effects[effects["variant"] == "compile-static"]
    assert set(static["outcome"]) == {"faster"}
    assert static["mde"].to_numpy() == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("call", [
    lambda: st.minimum_detectable_effect(1),
    lambda: st.minimum_detectable_effect(10, power=0.04),
    lambda: st.contrast_mde(0.01, 1),
    lambda: st.contrast_mde(-0.01, 6),
    lambda: st.contrast_mde(math.nan, 6),
    lambda: st.contrast_mde(0.01, 6, alpha=1.5),
])  # fmt: skip
def test_impossible_power_questions_are_refused(call):
    with pytest.raises(ValueError, match="must"):
        call()


def test_tost_agrees_with_two_one_sided_welch_tests():
    rng = np.random.default_rng(7)
    a, b = rng.normal(10, 1, 40), rng.normal(10.2, 2, 60)
    lower = stats.ttest_ind(b, a - 0.9, equal_var=False, alternative="greater").pvalue
    upper = stats.ttest_ind(b, a + 0.9, equal_var=False, alternative="less").pvalue
    result = st.tost(a, b, 0.9)
    assert result.p == pytest.approx(max(lower, upper))
    assert result.se == pytest.approx(math.hypot(stats.sem(a), stats.sem(b)))
    assert result.margin == 0.9


def test_tost_of_triples_is_tost_of_samples():
    rng = np.random.default_rng(8)
    a, b = rng.normal(10, 1, 40), rng.normal(10.1, 2, 60)
    assert st.tost(tuple(st.summarise(a)), st.summarise(b), 0.5).p == pytest.approx(st.tost(a, b, 0.5).p)


def test_tost_decides_as_its_interval_does():
    narrow, wide = (
        st.tost((100, 5.0, 1.0), (100, 5.1, 1.0), 0.5),
        st.tost((100, 5.0, 1.0), (100, 5.3, 1.0), 0.5),
    )
    assert narrow.equivalent
    assert -0.5 < narrow.low < narrow.high < 0.5
    assert not wide.equivalent
    assert wide.high > 0.5


def test_tost_is_never_equivalent_when_the_standard_error_dwarfs_the_margin():
    result = st.tost((30, 100.0, 60.0), (30, 100.0, 60.0), 4.0)
    assert result.se > 3.8 * result.margin
    assert not result.equivalent


def test_tost_takes_a_published_difference():
    result = st.tost((100, 5.0, 1.0), (100, 5.1, 1.0), 0.5, difference=0.4)
    assert result.difference == 0.4
    assert result.p > st.tost((100, 5.0, 1.0), (100, 5.1, 1.0), 0.5).p


@pytest.mark.parametrize(
    ("a", "margin", "names"),
    [((10, 1.0, 1.0), 0.0, "margin"), ((1, 1.0, 1.0), 1.0, "a needs"), ((10, 1.0, 0.0), 1.0, "no spread")],
)
def test_impossible_equivalence_is_refused(a, margin, names):
    with pytest.raises(ValueError, match=names):
        st.tost(a, (10, 1.0, 0.0), margin)
