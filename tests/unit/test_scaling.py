"""Depth against width: costs that were put into latencies are found in them."""

import itertools

import numpy as np
import pandas as pd
import pytest

from bench_utils import scaling
from bench_utils.errors import BenchError
from bench_utils.frames import COLUMNS

GRID = [f"gpt2-{layers}x{width}" for layers, width in itertools.product((2, 8, 16), (64, 256, 512))]


def rows(models=GRID, layer_us=50.0, mb_us=100.0, start_us=200.0, noise=0.01, rounds=6, phase="decode", seed=0):
    """Rows of a run whose steps cost what is stated, with noise per round."""
    draw = np.random.default_rng(seed)
    found = []
    for model, round_ in itertools.product(models, range(1, rounds + 1)):
        size = scaling.sizes(model, "float32")
        step = start_us + layer_us * size["layers"] + mb_us * (size["block_mb"] + size["head_mb"])
        latency = 16 * step / 1e3 * np.exp(draw.normal(0, noise))
        found.append(
            dict.fromkeys(COLUMNS)
            | {"model": model, "variant": "eager", "dtype": "float32", "phase": phase, "round": round_}
            | {"prompt_tokens": 32, "new_tokens": 16, "batch_size": 1, "exhibit": False, "role": "sample", "order": 0}
            | {"status": "ok", "latency_ms": latency, "process": f"{model}-{round_}", "run": "r", "device": "cpu"}
        )
    return pd.DataFrame(found)


def test_costs_put_in_are_found():
    found = scaling.costs(scaling.grid(rows())).iloc[0]
    assert found["layer_us_low"] < 50 < found["layer_us_high"]
    assert found["mb_us_low"] < 100 < found["mb_us_high"]
    expected = np.sqrt(50 / (100 * 12 * 4 / 1e6))
    assert found["crossover_low"] < expected < found["crossover_high"]
    assert found["crossover"] == pytest.approx(expected, rel=0.1)


def test_a_layer_that_costs_nothing_by_itself_has_no_crossover_above_the_narrowest():
    found = scaling.costs(scaling.grid(rows(layer_us=0.0, start_us=500.0))).iloc[0]
    assert found["layer_us_low"] < 0 < found["layer_us_high"]
    assert not found["crossover_low"] > 64


def test_where_only_layers_cost_parameters_explain_little():
    found = scaling.costs(scaling.grid(rows(layer_us=500.0, mb_us=0.5, start_us=20.0))).iloc[0]
    assert found["r2_layers"] > 0.99 > 0.9 > found["r2_mb"]
    assert found["crossover"] > 768


def test_residuals_are_those_of_the_fit():
    off = scaling.residuals(scaling.grid(rows(noise=0.0)))["off"]
    assert off.abs().max() < 1e-9


def test_too_few_models_are_refused():
    with pytest.raises(BenchError, match="3 models cannot judge"):
        scaling.costs(scaling.grid(rows(models=GRID[:3])))


def test_one_model_over_another_is_paired_by_round():
    found = scaling.model_ratio(
        rows(["gpt2-5m", "gpt2-25m"], layer_us=1000.0, mb_us=1.0), "gpt2-5m", "gpt2-25m", "eager", "decode"
    )
    size = {m: scaling.sizes(m, "float32") for m in ("gpt2-5m", "gpt2-25m")}
    step = {m: 200 + 1000 * s["layers"] + s["block_mb"] + s["head_mb"] for m, s in size.items()}
    assert found.low < step["gpt2-5m"] / step["gpt2-25m"] < found.high
    assert scaling.model_ratio(rows(), "gpt2-5m", "gpt2-25m", "eager", "decode") is None


def test_a_round_that_lacks_a_model_is_no_round_of_the_fit():
    whole = rows(models=GRID[:5])
    gaps = (whole["round"] == 4) & whole["model"].isin(GRID[:2])
    found = scaling.costs(scaling.grid(whole.assign(status=whole["status"].mask(gaps, "contaminated")))).iloc[0]
    assert found["rounds"] == 5 and found["crossover_low"] < found["crossover"] < found["crossover_high"]


def test_a_round_of_two_machines_is_no_round_of_the_fit():
    moved = rows().assign(machine="a")
    moved.loc[(moved["round"] == 6) & (moved["model"] == GRID[0]), "machine"] = "b"
    assert scaling.costs(scaling.grid(moved)).iloc[0]["rounds"] == 5
