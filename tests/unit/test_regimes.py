"""What a step waits for: the words, from numbers planted at both sides of each threshold."""

import pandas as pd
import pytest

from bench_utils import catalog, physics, regimes
from tests.faults import conftest as planting

make_run = planting.make_run


def word(**given):
    known = {"wall": 1.0, "kernel": 0.9, "graph": None, "memory": 0.1, "arithmetic": 0.01, "resident": False}
    return regimes.regime(**known | {"cuda": True} | given)


@pytest.mark.parametrize(("given", "expected"), [
    ({"kernel": 0.49}, "launch-bound"),
    ({"kernel": 0.51}, "mixed"),
    ({"kernel": 0.49, "cuda": False}, "call-bound"),
    ({"kernel": 0.49, "graph": 0.6}, "launch-bound"),
    ({"kernel": 0.49, "graph": 0.7}, "mixed"),
    ({"memory": 0.46}, "bandwidth-bound"),
    ({"memory": 0.44}, "mixed"),
    ({"memory": 0.95, "resident": True}, "cache-resident"),
    ({"memory": 0.95, "resident": False}, "bandwidth-bound"),
    ({"arithmetic": 0.46}, "compute-bound"),
    ({"memory": float("nan"), "arithmetic": float("nan")}, "mixed"),
])  # fmt: skip
def test_a_step_is_named_after_what_binds_it(given, expected):
    assert word(**given) == expected


@pytest.fixture
def run(make_run):
    profile = {"operators": 50.0, "launches": 100.0, "kernel_ms": 0.2, "kernel_share": 0.1}

    def plant(made):
        if made.phase == "decode" and made.variant == "eager":
            made.receipt["profile"] = profile

    return make_run(plant, device="nvidia-test")


def test_a_profiled_step_stands_beside_its_floors(run):
    table = regimes.regime_table(run.rows(), run.receipts())
    row = table[table["model"] == "gpt2-25m"].iloc[0]
    cells = run.rows().query("phase == 'decode' and variant == 'eager' and model == 'gpt2-25m'")
    assert row["wall_ms"] == pytest.approx(cells["latency_ms"].median() / cells["new_tokens"].iloc[0])
    assert row["launches"] == 100.0
    assert row["launch_ms"] == pytest.approx(0.23)
    assert row["kernel_ms"] == 0.2
    weights = 4 * (catalog.model("gpt2-25m").block_parameters + 50257 * 384)
    assert row["memory_ms"] == pytest.approx(physics.floor_ms(weights, 100.0), rel=0.05)
    assert row["graph_ms"] != row["graph_ms"]
    assert "profiled steps" in regimes.regimes_in_words(table)


def test_cells_of_several_batch_sizes_are_steps_of_their_own(make_run):
    def plant(made):
        made.receipt |= {"gflops": 100.0}
        if made.phase == "decode" and made.variant == "eager":
            made.receipt["profile"] = {"launches": 100.0, "kernel_ms": 0.2}

    run = make_run(plant, models=["gpt2-5m"], variants=["eager", "cudagraph"])
    rows, receipts = run.rows(), run.receipts()
    batch = rows.assign(batch_size=8, latency_ms=10 * rows["latency_ms"])
    batch = batch[batch["index"] < 2]  # of one group the median would be that of the smaller batch
    both = pd.concat([receipts, receipts.assign(batch_size=8)], ignore_index=True)
    table = regimes.regime_table(pd.concat([rows, batch], ignore_index=True), both)
    one, eight = (table.iloc[[place]].squeeze() for place in (0, len(table) // 2))
    assert len(table) == 2 * 6
    for column in ("wall_ms", "graph_ms"):
        assert eight[column] == pytest.approx(10 * one[column], rel=0.01)
    assert eight["arithmetic_ms"] == pytest.approx(8 * one["arithmetic_ms"])
    model = catalog.model("gpt2-5m")
    read = physics.bytes_read(model, "float32", "decode", 16, 16, 8) / 16
    assert eight["memory_ms"] == pytest.approx(physics.floor_ms(read, 100.0))
    assert one["memory_ms"] < eight["memory_ms"]


def test_without_a_profile_there_is_no_row(make_run):
    made = make_run()
    table = regimes.regime_table(made.rows(), made.receipts())
    assert table.empty
    assert regimes.regimes_in_words(table) == "No step was profiled in this run."


def test_rates_of_this_machine_are_above_zero():
    assert physics.measured_gflops("cpu", "float32", size=256, repeats=3) > 0
    assert physics.operations(catalog.model("gpt2")) == pytest.approx(2 * 123.7e6, rel=0.01)
