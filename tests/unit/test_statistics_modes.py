"""One mode or two."""

import numpy as np
import pytest
from scipy.optimize import linprog

import bench_utils.statistics as st


def dip_by_definition(values):
    """Least distance to a distribution that is convex up to one of the values and concave from there on."""
    x, counts = np.unique(values, return_counts=True)
    above = np.cumsum(counts) / counts.sum()
    return min(_distance_with_mode(x, above - counts / counts.sum(), above, k) for k in range(x.size))


def _distance_with_mode(x, below, above, mode):
    n, jump, distance = (
        x.size,
        x.size,
        x.size + 1,
    )  # unknowns: value at each x, value after the mode, distance
    rows, limits = [], []

    def require(terms, limit):
        row = np.zeros(n + 2)
        for index, factor in terms:
            row[index] += factor
        rows.append(row)
        limits.append(limit)

    for i in range(n):
        after = jump if i == mode else i
        require([(i, 1), (distance, -1)], below[i])
        require([(i, -1), (distance, -1)], -(below if i == mode else above)[i])
        require([(after, -1), (distance, -1)], -above[i])
        require([(after, 1), (distance, -1)], (above if i == mode else below)[i])
    require([(mode, 1), (jump, -1)], 0)
    left = [(i, x[i]) for i in range(mode + 1)]
    right = [(jump, x[mode])] + [(i, x[i]) for i in range(mode + 1, n)]
    for points, sign in ((left, 1), (right, -1)):
        for (i, _), (j, _) in zip(points, points[1:], strict=False):
            require([(i, 1), (j, -1)], 0)
        for (i, a), (j, b), (k, c) in zip(points, points[1:], points[2:], strict=False):
            first, second = sign / (b - a), sign / (c - b)
            require([(j, first + second), (i, -first), (k, -second)], 0)
    cost = np.zeros(n + 2)
    cost[distance] = 1
    return linprog(cost, A_ub=np.array(rows), b_ub=limits, bounds=[(0, 1)] * (n + 2)).fun


@pytest.mark.parametrize("seed", range(4))
def test_dip_is_the_distance_to_the_nearest_single_mode(seed):
    rng = np.random.default_rng(seed)
    samples = [
        rng.standard_normal(11),
        rng.random(14),
        rng.exponential(size=13),
        np.concatenate([rng.standard_normal(6), 6 + rng.standard_normal(8)]),
        rng.integers(0, 6, 15).astype(float),
    ]
    for x in samples:
        assert st.dip_statistic(x) == pytest.approx(max(dip_by_definition(x), 0.5 / x.size), abs=1e-7)


def test_dip_of_two_equal_points_of_mass_is_a_quarter():
    assert st.dip_statistic([0.0] * 50 + [1.0] * 50) == pytest.approx(0.25)


def test_dip_does_not_change_with_scale_or_direction():
    x = np.random.default_rng(1).gamma(2, size=80)
    assert st.dip_statistic(7 - 3 * x) == pytest.approx(st.dip_statistic(x))


def test_uniform_samples_exceed_the_critical_dip_in_five_percent():
    rng = np.random.default_rng(2)
    exceeded = np.mean([st.dip_statistic(rng.random(60)) > st.dip_critical(60) for _ in range(800)])
    assert 0.03 < exceeded < 0.075


@pytest.mark.parametrize("draw", ["standard_normal", "standard_exponential"])
@pytest.mark.parametrize("n", [30, 150])
def test_one_mode_is_rarely_called_two(draw, n):
    samples = getattr(np.random.default_rng(3), draw)((300, n))
    assert np.mean([st.bimodality(x).bimodal for x in samples]) < 0.05


def test_planted_modes_are_found_with_their_places_and_shares():
    x = st.two_modes(np.random.default_rng(4), (200,), share=0.3, apart=0.2, cv=0.02)
    result = st.bimodality(x)
    assert result.bimodal
    assert result.modes == pytest.approx((1.0, np.exp(0.2)), rel=0.01)
    assert result.shares == pytest.approx((np.mean(x < 1.1), np.mean(x >= 1.1)))
    assert "gap" in result.reason


def test_modes_that_touch_are_found_by_the_dip():
    x = st.two_modes(np.random.default_rng(5), (600,), share=0.45, apart=0.10, cv=0.022)
    result = st.bimodality(x)
    assert result.bimodal
    assert "dip" in result.reason
    assert result.modes == pytest.approx((1.0, np.exp(0.10)), rel=0.02)


def test_a_few_slow_samples_are_outliers_not_a_mode():
    x = np.concatenate([st.independent(np.random.default_rng(6), (95,), 0.01), np.full(5, 3.0)])
    result = st.bimodality(x)
    assert result.bimodal is False
    assert result.shares == (1.0,)


@pytest.mark.parametrize("steps", [0.7, 1, 2, 5])
def test_a_coarse_clock_does_not_make_modes(steps):
    rng = np.random.default_rng(7)
    samples = np.round(rng.normal(100, steps, (200, 100))) / 10
    assert np.mean([st.bimodality(x).bimodal for x in samples]) < 0.05


def test_modes_are_found_through_a_coarse_clock():
    rng = np.random.default_rng(8)
    x = np.round(np.concatenate([rng.normal(100, 1, 70), rng.normal(112, 1, 30)])) / 10
    assert st.bimodality(x).modes == pytest.approx((10.0, 11.2), abs=0.1)
    assert st.bimodality([1.0] * 30 + [2.0] * 10).shares == (0.75, 0.25)


def test_small_samples_are_not_judged():
    result = st.bimodality([1.0] * 10 + [2.0] * 9)
    assert result.bimodal is None
    assert "at least 20" in result.reason


def test_equal_samples_have_one_mode():
    assert st.bimodality([1.5] * 40).bimodal is False
