"""Designs, scaling laws, and simulated data."""

import csv
import math
import subprocess
import sys
from importlib.resources import files

import numpy as np
import pytest
from scipy import stats

import bench_utils.statistics as st


def reference(name):
    with (files("bench_utils") / "reference" / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def design(cells, repeats=4, seed=1):
    backend, model = (list(np.repeat(levels, repeats)) for levels in zip(*cells, strict=True))
    return {"backend": backend, "model": model}, np.random.default_rng(seed).normal(5, 1, len(backend))


FULL = [(b, m) for b in ("compile", "eager", "ollama") for m in ("large", "small")]


def test_additive_fit_recovers_planted_effects():
    factors, noise = design(FULL, repeats=50)
    response = noise * 0.01 + [
        2.0 * (b == "eager") + 3.0 * (m == "small") for b, m in zip(*factors.values(), strict=True)
    ]
    result = st.fit(response, factors)
    assert list(result.coefficients) == ["intercept", "backend[eager]", "backend[ollama]", "model[small]"]
    assert result.coefficients["backend[eager]"].estimate == pytest.approx(2.0, abs=0.01)
    assert result.coefficients["model[small]"].low < 3.0 < result.coefficients["model[small]"].high
    assert result.df_residual == 300 - 4
    assert result.r_squared > 0.99


def test_numbers_enter_as_numbers():
    x = np.arange(20.0)
    result = st.fit(3 + 2 * x + np.sin(x), {"tokens": x})
    line = stats.linregress(x, 3 + 2 * x + np.sin(x))
    assert result.coefficients["tokens"].estimate == pytest.approx(line.slope)
    assert result.coefficients["tokens"].p == pytest.approx(line.pvalue)
    assert result.r_squared == pytest.approx(line.rvalue**2)


def test_empty_cells_make_the_interaction_inestimable_and_the_refusal_names_them():
    factors, response = design([cell for cell in FULL if cell != ("ollama", "large")])
    st.fit(response, factors)
    with pytest.raises(ValueError, match=r"'backend:model' cannot be estimated.*ollama x large"):
        st.fit(response, factors, ["backend", "model", "backend:model"])
    with pytest.raises(ValueError, match="backend:model"):
        st.additive_against_interaction(response, factors)


def test_a_factor_that_repeats_another_is_refused_by_name():
    factors, response = design(FULL)
    with pytest.raises(ValueError, match="'dtype' cannot be estimated.*earlier terms"):
        st.fit(response, {**factors, "dtype": [f"{b} dtype" for b in factors["backend"]]})


@pytest.mark.parametrize(
    ("factors", "terms", "names"),
    [
        ({"a": ["x"] * 6}, None, "'a' has one level"),
        ({"a": ["x", "y"]}, None, "'a' must hold 6"),
        ({"a": ["x", "y", None] * 2}, None, "'a' holds missing"),
        ({"a": [1.0, 2.0, math.nan] * 2}, None, "'a' holds missing"),
        ({"a": ["x", "y"] * 3}, ["a", "b"], "no factor: b"),
        ({"a": list("uvwxyz")}, None, "no residual"),
    ],
)
def test_designs_that_cannot_be_fitted_are_refused(factors, terms, names):
    with pytest.raises(ValueError, match=names):
        st.fit([1.0, 2.0, 1.5, 3.0, 2.5, 2.0], factors, terms)


def test_planted_interaction_is_found_and_an_absent_one_is_not():
    factors, noise = design(FULL, repeats=20)
    both = [3.0 * (b == "eager" and m == "small") for b, m in zip(*factors.values(), strict=True)]
    found, absent = (st.additive_against_interaction(noise + add, factors).test for add in (both, 0.0))
    assert found.df_between == 2
    assert found.p < 1e-6
    assert absent.p > 0.01


def test_interaction_needs_two_factors():
    with pytest.raises(ValueError, match="at least two"):
        st.additive_against_interaction([1.0, 2.0, 3.0], {"a": ["x", "y", "x"]})


def published_scaling(backend, phase):
    models = {row["id"]: row for row in reference("models.csv")}
    rows = [
        row
        for row in reference("published_latency.csv")
        if row["report"] == "TR121v1" and row["backend"] == backend and row["phase"] == phase
        and row["section"].startswith("3.5")
    ]  # fmt: skip
    shapes = [models[row["model"]] for row in rows]
    params, layers = ([float(shape[column]) for shape in shapes] for column in ("computed_params", "n_layer"))
    return params, layers, [float(row["median_ms"] or row["mean_ms"]) for row in rows]


@pytest.mark.parametrize(
    ("backend", "phase", "slope", "r2"),
    [
        ("hf_cpu", "prefill", 0.281, 0.873),
        ("hf_cpu", "kv_decode", 0.291, 0.848),
        ("hf_gpu", "prefill", 0.0338, 0.0337),
        ("hf_gpu", "kv_decode", 0.0426, 0.0609),
    ],
)
def test_published_scaling_exponents_reproduce(backend, phase, slope, r2):
    params, _, latency = published_scaling(backend, phase)
    result = st.loglog_fit(params, latency)
    assert result.exponent == pytest.approx(slope, abs=5e-4)
    assert result.r_squared == pytest.approx(r2, abs=5e-4)
    assert result.low < result.exponent < result.high


def test_published_rank_correlations_reproduce_and_say_little():
    params, layers, latency = published_scaling("hf_gpu", "e2e_kv")
    by_size, by_depth = st.spearman(params, latency), st.spearman(layers, latency)
    assert (by_size.rho, by_size.p) == pytest.approx((0.286, 0.535), abs=1e-3)
    assert (by_depth.rho, by_depth.p) == pytest.approx((0.811, 0.0269), abs=1e-3)
    assert by_depth.low < 0 < by_depth.high  # seven models


def test_power_law_interval_covers():
    rng = np.random.default_rng(2)
    x = np.geomspace(1, 100, 8)
    fits = (st.loglog_fit(x, 3 * x**0.5 * st.independent(rng, (8,), 0.2)) for _ in range(800))
    assert 0.93 <= st.coverage(((f.low, f.high) for f in fits), 0.5).rate <= 0.97


def test_power_law_without_noise_is_exact():
    result = st.loglog_fit([1, 2, 4, 8], [3, 6, 12, 24])
    assert (result.exponent, result.factor, result.r_squared) == pytest.approx((1, 3, 1))


def test_two_predictors_are_told_apart():
    rng = np.random.default_rng(3)
    x1, x2 = rng.normal(0, 1e8, 60), rng.normal(10, 2, 60)
    y = 5 + 1e-8 * x1 + 3 * x2 + rng.normal(0, 0.1, 60)
    result = st.two_predictor_fit(x1, x2, y)
    assert result.first.estimate == pytest.approx(1e-8, rel=0.05)
    assert result.second.low < 3 < result.second.high
    scaled = stats.zscore(np.column_stack([x1, x2, y]))
    beta = np.linalg.lstsq(scaled[:, :2], scaled[:, 2], rcond=None)[0]
    assert (result.first_standardised.estimate, result.second_standardised.estimate) == pytest.approx(tuple(beta))
    assert result.adjusted_r_squared < result.r_squared < 1
    assert result.predictor_correlation == pytest.approx(np.corrcoef(x1, x2)[0, 1])


def test_predictors_that_are_one_are_refused():
    x = np.arange(6.0)
    with pytest.raises(ValueError, match="'x2' cannot be estimated"):
        st.two_predictor_fit(x, 3 * x + 1, x**2)
    with pytest.raises(ValueError, match="x2 is the same"):
        st.two_predictor_fit(x, np.ones(6), x**2)


def test_spearman_agrees_with_scipy_and_its_interval_covers():
    rng = np.random.default_rng(4)
    pairs = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], (800, 40))
    first = st.spearman(pairs[0, :, 0], pairs[0, :, 1])
    known = stats.spearmanr(pairs[0])
    assert (first.rho, first.p) == pytest.approx((known.statistic, known.pvalue))
    truth = 6 / math.pi * math.asin(0.3)
    results = (st.spearman(x[:, 0], x[:, 1]) for x in pairs)
    assert 0.93 <= st.coverage(((r.low, r.high) for r in results), truth).rate <= 0.97


def test_perfect_ranks_have_no_interval():
    result = st.spearman([1, 2, 3, 4, 5], [2, 4, 8, 16, 32])
    assert result.rho == pytest.approx(1)
    assert math.isnan(result.low)
    with pytest.raises(ValueError, match="same for all"):
        st.spearman([1, 1, 1], [1, 2, 3])


@pytest.mark.parametrize(
    ("x", "y"), [([1, 2], [1, 2]), ([1, 2, 3], [1, 2]), ([1, 2, 0], [1, 2, 3]), ([2, 2, 2], [1, 2, 3])]
)
def test_power_laws_that_cannot_be_fitted_are_refused(x, y):
    with pytest.raises(ValueError, match="x |y "):
        st.loglog_fit(x, y)


@pytest.mark.parametrize("draw", [st.independent, st.autoregressive, st.process_effects, st.two_modes])
def test_same_seed_same_data_other_seed_other_data(draw):
    first, again, other = (draw(np.random.default_rng(seed), (4, 50)) for seed in (1, 1, 2))
    assert (first == again).all()
    assert not (first == other).any()


def test_same_seed_gives_identical_results_and_leaves_global_randomness_alone():
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    results = [st.median_interval(st.autoregressive(np.random.default_rng(s), (80,))) for s in (5, 5, 6)]
    assert results[0] == results[1] != results[2]
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_simulated_neighbours_correlate_as_asked():
    x = st.autoregressive(np.random.default_rng(6), (20, 4000), 0.6, 0.05)
    assert np.mean([st.lag1(row) for row in np.log(x)]) == pytest.approx(0.6, abs=0.01)
    assert np.log(x).std() == pytest.approx(0.05, rel=0.02)
    assert np.log(x)[:, 0].std() == pytest.approx(0.05, rel=0.4)
    with pytest.raises(ValueError, match="rho"):
        st.autoregressive(np.random.default_rng(6), (3,), 1.0)


def test_simulated_processes_differ_as_asked():
    x = np.log(st.process_effects(np.random.default_rng(7), (1, 2000, 60), 0.01, 0.02))[0]
    assert x.mean(axis=1).std() == pytest.approx(math.hypot(0.01, 0.02 / math.sqrt(60)), rel=0.05)
    assert x.std(axis=1).mean() == pytest.approx(0.02, rel=0.02)


def test_coverage_counts_intervals_and_refuses_none():
    result = st.coverage([(0, 2), (2, 3), (math.nan, math.nan), (0.5, 1)], 1.0)
    assert (result.rate, result.n) == (0.5, 4)
    assert (result.low, result.high) == st.wilson(2, 4)
    with pytest.raises(ValueError, match="empty"):
        st.coverage([], 1.0)


def test_importing_statistics_stays_light():
    code = "import sys, bench_utils.statistics; print([m for m in sys.modules if '.' not in m])"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for heavy in ("torch", "pandas", "statsmodels", "matplotlib"):
        assert f"'{heavy}'" not in modules


def test_every_public_name_is_there():
    assert all(hasattr(st, name) for name in st.__all__)
