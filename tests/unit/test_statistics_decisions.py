"""A/A floor, Holm, Wilson, and outcomes of contrasts."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

import bench_utils.statistics as st


def effect(low, high, n=6):
    """A paired ratio whose log interval is exactly (low, high)."""
    half, t = (high - low) / 2, stats.t.ppf(0.975, n - 1)
    x = np.random.default_rng(n).standard_normal(n)
    x = (x - x.mean()) / x.std(ddof=1) * half * math.sqrt(n) / t
    return st.paired_ratio(x + (low + high) / 2)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-0.10, -0.02, "faster"),
        (0.02, 0.10, "slower"),
        (-0.018, 0.018, "same"),
        (-0.019, -0.011, "faster"),
        (-0.012, -0.002, "same"),
        (-0.04, -0.009, "ambiguous"),
        (-0.03, 0.01, "ambiguous"),
        (0.005, 0.05, "ambiguous"),
    ],
)
def test_outcome_follows_the_interval_and_the_band(low, high, expected):
    assert st.outcome(effect(low, high), 0.01) == expected


def test_a_floor_below_half_a_percent_counts_as_half_a_percent():
    assert st.outcome(effect(-0.03, -0.004), 0.0) == "ambiguous"
    assert st.outcome(effect(-0.03, -0.006), 0.0) == "faster"


def test_a_noisy_machine_widens_both_bands():
    assert st.outcome(effect(-0.10, -0.04), 0.05) == "ambiguous"
    assert st.outcome(effect(-0.04, 0.04), 0.05) == "same"


def test_what_does_not_survive_the_family_is_ambiguous():
    assert st.outcome(effect(-0.10, -0.02), 0.01, significant=False) == "ambiguous"
    assert st.outcome(effect(-0.01, 0.01), 0.01, significant=False) == "same"


def test_invalid_rows_have_no_other_outcome():
    assert st.outcome(effect(-0.10, -0.02), 0.01, valid=False) == "invalid"
    assert st.outcome(effect(-0.10, -0.02, n=3), math.nan, valid=False) == "invalid"


def test_fewer_than_six_rounds_decide_nothing():
    assert st.outcome(effect(-0.10, -0.02, n=5), 0.01) == "ambiguous"
    assert st.outcome(effect(-0.001, 0.001, n=5), 0.01) == "ambiguous"


@pytest.mark.parametrize("floor", [-0.01, math.nan, math.inf, None])
def test_a_valid_contrast_needs_a_floor(floor):
    with pytest.raises(ValueError, match="floor"):
        st.outcome(effect(-0.10, -0.02), floor)


def test_identical_code_is_almost_never_faster_or_slower():
    rng = np.random.default_rng(1)
    floor = st.aa_floor(rng.normal(0, 0.014, (10, 8))).value
    outcomes = [st.outcome(st.paired_ratio(r), floor) for r in rng.normal(0, 0.014, (1000, 6))]
    assert np.mean([one in ("faster", "slower") for one in outcomes]) < 0.01


def test_a_tenth_slower_is_found_where_the_machine_is_quiet():
    rng = np.random.default_rng(2)
    floor = st.aa_floor(rng.normal(0, 0.014, (10, 8))).value
    outcomes = [st.outcome(st.paired_ratio(r), floor) for r in rng.normal(math.log(1.1), 0.014, (300, 6))]
    assert np.mean([one == "slower" for one in outcomes]) > 0.99


def test_floor_of_many_pairs_is_the_largest_seen():
    cells = np.random.default_rng(3).normal(0, 0.01, (59, 6))
    floor = st.aa_floor(cells)
    assert floor.value == pytest.approx(np.abs(cells.mean(axis=1)).max())
    assert "largest of 59" in floor.method


def test_floor_of_fewer_pairs_is_a_t_half_width():
    cells = np.random.default_rng(4).normal(0, 0.01, (58, 6))
    floor = st.aa_floor(cells)
    sd = math.sqrt(cells.var(axis=1, ddof=1).mean())
    assert floor.value == pytest.approx(stats.t.ppf(0.975, 5) * sd / math.sqrt(6))
    assert (floor.pairs, floor.rounds, floor.sd) == (58, 6, pytest.approx(sd))
    assert "half-width of 6" in floor.method


def test_a_steady_difference_of_identical_code_is_in_the_floor():
    floor = st.aa_floor([[0.05, 0.0501, 0.0499, 0.05, 0.0502, 0.0498], [0.001, -0.001, 0.0, 0.001, -0.001, 0.0]])
    assert floor.value == floor.largest == pytest.approx(0.05)
    assert floor.method == "largest of 2 A/A pairs"


def test_fewest_rounds_of_any_cell_set_the_floor():
    rng = np.random.default_rng(5)
    assert st.aa_floor([rng.normal(0, 0.01, 20), rng.normal(0, 0.01, 4)]).rounds == 4


def test_a_flat_list_is_one_cell():
    assert st.aa_floor([0.01, -0.01, 0.02]) == st.aa_floor([[0.01, -0.01, 0.02]])


def test_floor_bounds_what_identical_code_shows():
    rng = np.random.default_rng(6)
    floors = [st.aa_floor(rng.normal(0, 0.014, (1, 6))).value for _ in range(2000)]
    shown = np.abs(rng.normal(0, 0.014, (2000, 6)).mean(axis=1))
    assert np.mean(shown <= floors) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("cells", [[], [[0.1]], [[0.1, 0.2], []], [[0.1, math.nan]]])
def test_a_floor_without_rounds_is_refused(cells):
    with pytest.raises(ValueError, match="log_ratios"):
        st.aa_floor(cells)


@pytest.mark.parametrize("seed", range(5))
def test_holm_agrees_with_statsmodels(seed):
    p = np.random.default_rng(seed).random(12) ** 4
    rejected, adjusted, *_ = multipletests(p, method="holm")
    assert st.holm(p) == rejected.tolist()
    assert st.holm_adjusted(p) == pytest.approx(adjusted)


def test_holm_stops_at_the_first_failure():
    assert st.holm([0.04, 0.001, 0.03]) == [False, True, False]


def test_untested_members_of_the_family_still_count():
    assert st.holm([0.01, 0.02]) == [True, True]
    assert st.holm([0.01, 0.02], family=10) == [False, False]
    assert st.holm([0.01, None, math.nan, 0.02]) == [True, False, False, False]


@pytest.mark.parametrize(("p", "family"), [([], None), ([1.2], None), ([-0.1], None), ([0.1, 0.2], 1)])
def test_impossible_families_are_refused(p, family):
    with pytest.raises(ValueError, match="p |family"):
        st.holm(p, family=family)


@pytest.mark.parametrize(("k", "n"), [(0, 20), (3, 20), (20, 20), (1, 1), (111, 1080)])
def test_wilson_agrees_with_scipy(k, n):
    reference = stats.binomtest(k, n).proportion_ci(method="wilson")
    assert st.wilson(k, n) == pytest.approx((reference.low, reference.high), abs=1e-12)


@pytest.mark.parametrize(("k", "n"), [(0, 0), (3, 2), (-1, 5)])
def test_impossible_rates_are_refused(k, n):
    with pytest.raises(ValueError, match="k of n"):
        st.wilson(k, n)
