"""Median, effective size, drift, percentiles and outliers of one process."""

import math

import numpy as np
import pytest
from scipy import stats

import bench_utils.statistics as st


def bounds(result):
    return result.low, result.high


def median_coverage(seed, rho, n, repeats=2500, spread=0.05):
    samples = st.autoregressive(np.random.default_rng(seed), (repeats, n), rho, spread)
    return st.coverage((bounds(st.median_interval(x)) for x in samples), 1.0).rate


@pytest.mark.parametrize("n", [30, 100, 300])
@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_median_interval_covers_as_often_as_it_says(rho, n):
    assert 0.93 <= median_coverage([n, 1], rho, n) <= 0.97


def test_median_interval_covers_skewed_latencies():
    assert 0.93 <= median_coverage(5, 0.6, 60, spread=0.8) <= 0.97


def test_naive_median_interval_of_correlated_samples_would_not_cover():
    samples = st.autoregressive(np.random.default_rng(2), (1000, 100), 0.6)
    ordered = np.sort(samples, axis=1)
    naive = st.coverage(zip(ordered[:, 39], ordered[:, 60], strict=True), 1.0)
    assert naive.high < 0.80


def test_process_effects_are_covered_only_when_processes_are_the_units():
    samples = st.process_effects(np.random.default_rng(3), (1500, 6, 40), rho=0.6).reshape(1500, -1)
    labels = np.repeat(np.arange(6), 40)
    clustered = st.coverage((bounds(st.median_over_processes(x, labels)) for x in samples), 1.0)
    pooled = st.coverage((bounds(st.median_interval(x)) for x in samples[:400]), 1.0)
    assert 0.93 <= clustered.rate <= 0.97
    assert pooled.high < 0.90


def test_slow_noise_under_fast_noise_is_noticed_by_batch_means():
    rng = np.random.default_rng(4)
    slow = np.repeat(rng.standard_normal(20), 50)
    size = st.effective_size(10 + slow + 2 * rng.standard_normal(1000))
    assert "batch means" in size.method
    assert size.n_eff < 400


def test_effective_size_of_independent_samples_is_near_their_number():
    rng = np.random.default_rng(6)
    sizes = [st.effective_size(rng.standard_normal(200)).n_eff for _ in range(200)]
    assert 0.9 * 200 < np.median(sizes) <= 200


def test_effective_size_follows_signs_not_means():
    rng = np.random.default_rng(7)
    samples = st.autoregressive(rng, (50, 2000), 0.6)
    factor = 2000 / np.median([st.effective_size(x).n_eff for x in samples])
    assert 2.7 < factor < 3.3  # 1 + 2 sum of 2 / pi asin(0.6^k) = 2.98; for the mean it would be 4


def test_one_outlier_cannot_hide_correlation():
    x = st.autoregressive(np.random.default_rng(8), (300,), 0.8)
    spiked = x.copy()
    spiked[150] = 50.0
    assert st.lag1(spiked) < 0.1
    assert st.effective_size(spiked).n_eff < 80


def test_interval_of_independent_samples_uses_the_published_ranks():
    x = np.random.default_rng(9).permutation(np.arange(1.0, 101.0))
    alternating = np.empty(100)  # neighbours anticorrelated, so n_eff = n
    alternating[::2], alternating[1::2] = np.sort(x)[:50], np.sort(x)[50:][::-1]
    result = st.median_interval(alternating)
    assert result.n_eff == 100
    assert bounds(result) == pytest.approx((50.5 - 0.98 * 10, 50.5 + 0.98 * 10), abs=1e-3)
    assert result.half_width == pytest.approx(9.8 / 50.5, rel=1e-3)


def test_interval_widens_with_correlation_and_confidence():
    rng = np.random.default_rng(10)
    x = st.independent(rng, (200,))
    sticky = np.sort(x)
    assert st.median_interval(sticky).half_width > 3 * st.median_interval(x).half_width
    assert st.median_interval(x, 0.99).half_width > st.median_interval(x, 0.95).half_width


def test_interval_of_positive_values_stays_positive_even_when_stretched():
    x = np.sort(st.independent(np.random.default_rng(11), (20,), cv=2.0))
    result = st.median_interval(x)
    assert 0 < result.low < x.min()
    assert result.high > x.max()


def test_interval_of_differences_may_be_negative():
    result = st.median_interval(np.linspace(-1, 1, 20))
    assert result.low < -1


@pytest.mark.parametrize("n", [1, 5])
def test_below_six_values_there_is_a_median_but_no_interval(n):
    result = st.median_interval(np.arange(1.0, n + 1))
    assert result.median == (n + 1) / 2
    assert all(math.isnan(v) for v in (result.low, result.high, result.half_width))
    assert f"{n} of at least 6" in result.method


def test_higher_confidence_needs_more_values():
    x = st.independent(np.random.default_rng(12), (7,))
    assert not math.isnan(st.median_interval(x, 0.95).low)
    assert math.isnan(st.median_interval(x, 0.99).low)


def test_equal_values_have_an_interval_of_no_width():
    result = st.median_interval([0.1] * 30)
    assert bounds(result) == (0.1, 0.1)
    assert result.half_width == 0
    assert math.isnan(result.lag1)


def test_interval_names_how_it_was_made():
    independent, sticky = [0, 1] * 20, list(range(40))
    assert "normal" in st.median_interval(independent).method
    assert "t with" in st.median_interval(sticky).method


@pytest.mark.parametrize("broken", [[], [1.0, math.nan], [1.0, math.inf], [[1.0, 2.0]]])
def test_impossible_samples_are_refused_by_name(broken):
    for function in (st.median_interval, st.outlier_count, st.bimodality, lambda v: st.percentile(v, 50)):
        with pytest.raises(ValueError, match="values"):
            function(broken)


def test_lag1_is_the_correlation_of_neighbours():
    assert st.lag1([1, 2, 3, 4, 5]) == pytest.approx(0.4)
    assert st.lag1([1, -1, 1, -1]) == pytest.approx(-0.75)
    assert math.isnan(st.lag1([0.1, 0.1, 0.1]))
    with pytest.raises(ValueError, match="at least 3"):
        st.lag1([1, 2])


def test_median_over_processes_ignores_how_many_samples_each_gave():
    values = [1.0] * 50 + [4.0] * 2
    result = st.median_over_processes(values, ["a"] * 50 + ["b"] * 2)
    assert result.median == pytest.approx(2.0)
    assert result.n_eff == 2
    expected = stats.t.interval(0.95, 1, np.log([1, 4]).mean(), stats.sem(np.log([1, 4])))
    assert np.log(bounds(result)) == pytest.approx(expected)


def test_one_process_has_no_interval_over_processes():
    result = st.median_over_processes([1.0, 2.0, 3.0], [0, 0, 0])
    assert result.median == pytest.approx(2.0)
    assert math.isnan(result.low)


def test_median_over_processes_refuses_wrong_labels_and_values():
    with pytest.raises(ValueError, match="one length"):
        st.median_over_processes([1.0, 2.0], [0])
    with pytest.raises(ValueError, match="positive"):
        st.median_over_processes([1.0, 0.0], [0, 1])


def test_planted_drift_is_recovered_in_any_order():
    rng = np.random.default_rng(13)
    order = rng.permutation(60)
    result = st.drift(5 * np.exp(0.002 * order + 0.005 * rng.standard_normal(60)), order)
    assert result.interval[0] < 0.002 < result.interval[1]
    assert result.total == pytest.approx(0.002 * 59, rel=0.1)
    assert result.p < 1e-6
    reference = stats.linregress(order, np.log(5 * np.exp(0.002 * order)))
    assert reference.slope == pytest.approx(0.002)


def test_no_drift_is_not_found_where_there_is_none():
    rng = np.random.default_rng(14)
    false = [st.drift(st.independent(rng, (20,)), np.arange(20)).p < 0.05 for _ in range(300)]
    assert 0.01 < np.mean(false) < 0.10


def test_drift_needs_three_positive_values_at_different_times():
    with pytest.raises(ValueError, match="at least 3"):
        st.drift([1, 2], [0, 1])
    with pytest.raises(ValueError, match="order"):
        st.drift([1, 2, 3], [5, 5, 5])
    with pytest.raises(ValueError, match="positive"):
        st.drift([1, 2, -1.0], [0, 1, 2])


@pytest.mark.parametrize(
    ("q", "at_95", "at_99"), [(50, 8, 11), (90, 46, 64), (95, 93, 130), (99, 473, 662), (99.9, 4742, 6636)]
)
def test_percentiles_need_the_published_numbers_of_samples(q, at_95, at_99):
    assert st.samples_for_percentile(q) == at_95
    assert st.samples_for_percentile(q, 0.99) == at_99


def test_low_percentiles_need_as_many_as_high_ones():
    assert st.samples_for_percentile(1) == st.samples_for_percentile(99)


@pytest.mark.parametrize(("q", "least"), [(50, 8), (90, 46), (99, 473)])
def test_percentile_is_withheld_just_below_the_limit(q, least):
    x = np.arange(float(least))
    assert st.percentile(x[:-1], q) is None
    assert st.percentile(x, q) == pytest.approx(np.percentile(x, q))


@pytest.mark.parametrize("q", [0, 100, -5, 101])
def test_impossible_percentiles_are_refused(q):
    with pytest.raises(ValueError, match="q must"):
        st.percentile([1.0, 2.0], q)


def test_outliers_are_counted_at_ten_robust_deviations():
    x = np.concatenate([np.linspace(-1, 1, 101), [14.5 * 0.5, 15.5 * 0.5]])
    assert st.outlier_count(x) == 1  # MAD about 0.5: the limit lies at 14.826 of them
    assert st.outlier_count(np.random.default_rng(15).standard_normal(1000)) == 0


def test_outliers_are_seen_where_most_values_are_equal():
    assert st.outlier_count([1.0] * 99 + [9.0]) == 1
    assert st.outlier_count([1.0] * 60 + [1.1] * 40) == 0
    assert st.outlier_count([2.0, 2.0, 2.0]) == 0
