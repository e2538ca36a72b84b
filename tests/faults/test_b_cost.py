"""Planted failures of prices, of energy, and of what varies with the arm."""

import datetime
import os

import pandas as pd
import pytest
from pydantic import ValidationError

from bench_utils import confounds, cost, energy, frames, prices
from bench_utils.errors import BenchError
from tests import metered
from tests.faults.catalogue import LET_PASS, guards

world, rapl, board = metered.world, metered.rapl, metered.board
STATED = {"usd_per_hour": 1.006, "source": "price list of the provider", "date": "1970-01-01", "machine": "g5.xlarge"}


class Assumed(prices.Price):
    """A price made of assumptions."""

    usd_per_hour: float = 0.035
    source: str = ""
    date: datetime.date = datetime.date(1970, 1, 1)


def assumed(stated=None, device=None):
    return Assumed(machine="g5.xlarge")


# ---------------------------------------------------------------- prices


@guards("B15", without={"bench_utils.prices.Price": Assumed})
def test_a_price_without_source_or_date_is_refused():
    for name in ("source", "date", "usd_per_hour"):
        with pytest.raises(ValidationError, match=name):
            prices.Price(**{key: value for key, value in STATED.items() if key != name})
    with pytest.raises(ValidationError, match="source"):
        prices.Price(**STATED | {"source": " "})


@guards("B15", without={"bench_utils.prices.price_of": assumed})
def test_without_a_stated_price_nothing_costs_anything(make_run):
    rows = make_run().rows()
    table = cost.cost_table(rows, cost.price_of({}, rows["device"].iloc[0]))
    assert table["usd_per_million"].isna().all()
    assert set(table["reason"]) == {"no price in the plan"}


@guards("B15", without={"bench_utils.contrasts.refuse_mixture": lambda rows, across=(): None})
def test_one_price_is_never_put_on_two_machines(make_run):
    rows = make_run().rows()
    both = pd.concat([rows, rows.assign(machine="machine-b", run="another")])
    with pytest.raises(BenchError, match="these rows differ in machine"):
        cost.cost_table(both, prices.Price(**STATED))


@guards("B15", without={"bench_utils.prices.Price": LET_PASS})
def test_a_variant_cannot_have_a_price_of_its_own():
    with pytest.raises(ValidationError, match="ollama"):
        prices.Price(**STATED | {"ollama": 0.035})


@guards("B15", without={"bench_utils.prices.Price.refuse_future": lambda self, started: None})
def test_a_price_made_up_after_the_run_is_refused(make_run):
    with pytest.raises(BenchError, match="its date 1970-01-02 lies after the run, which began on 1970-01-01"):
        cost.cost_table(make_run().rows(), prices.Price(**STATED | {"date": "1970-01-02"}))


@guards("B15", without={"bench_utils.prices.assumptions": lambda price: {}})
def test_what_a_cost_assumes_is_there_to_be_shown():
    said = cost.assumptions(prices.Price(**STATED))
    assert said.keys() >= {"Price", "Machine priced", "Source of the price", "Date of the price", "Utilisation"}


# ---------------------------------------------------------------- energy


@guards("B16", without={"bench_utils.energy.SECONDS": 0.0})
def test_a_quarter_of_a_second_is_no_window_for_energy(rapl, world):
    with pytest.raises(BenchError, match="an energy window of 0.25 s is shorter than its counter can tell"):
        energy.measure(rapl, world.calls(0.01, tokens=1), seconds=0.25)


@guards("B16", without={"bench_utils.energy.CALLS": 1})
def test_fewer_than_twenty_calls_have_no_energy(rapl, world):
    assert isinstance(energy.measure(rapl, world.calls(7.0, tokens=1)), energy.Unknown)


@guards("B16", without={"bench_utils.energy.Energy.net_j": property(lambda self: self.gross_j)})
def test_idle_power_is_recorded_and_subtracted_by_name_alone(rapl, world):
    found = energy.measure(rapl, world.calls(0.1, tokens=1))
    assert found.gross_j == pytest.approx(100.0 * found.seconds)
    assert found.idle_w == pytest.approx(20.0)
    assert found.net_j == pytest.approx(80.0 * found.seconds)


@guards("B16", without={"bench_utils.energy.Nvml._others": lambda self, helpers: None})
def test_a_board_that_others_use_has_no_number(board, world):
    board.processes = [os.getpid(), 1]
    assert isinstance(energy.measure(energy.Nvml(0), world.calls(0.1, tokens=1)), energy.Unknown)


@guards("B16", without={"bench_utils.cost._refuse_several_meters": lambda meters: None})
def test_the_meters_of_processor_and_gpu_never_share_a_table(make_run):
    def plant(made):
        meter = "RAPL package-0" if made.variant == "eager" else "NVML total energy counter"
        made.receipt["energy"] = {"meter": meter, "gross_j_per_token": 1.9, "net_j_per_token": 1.0, "idle_w": 14.0}

    with pytest.raises(BenchError, match="energy of several meters in one table"):
        cost.energy_table(make_run(plant).receipts())


# ---------------------------------------------------------------- what varies with the arm


def quantised(made):
    """The second arm on another engine, whose weights are not what its label was copied from."""
    made.receipt |= {"engine": "transformers", "threads": 2}
    if made.variant == "compile-static":
        made.receipt |= {"engine": "ollama", "provenance": made.receipt["provenance"] | {"dtype": "q4_0"}}


@guards("B38", without={"bench_utils.confounds._differences": lambda cells, base: {}})
def test_quantised_against_full_precision_is_not_the_engine_alone(make_run):
    receipts = make_run(quantised).receipts()
    assert "weights dtype" in confounds.confounded(receipts, "eager", "compile-static")
    said = confounds.confounds_in_words(receipts, "eager", "compile-static")
    assert "weights dtype (q4_0 against float32)" in said


@guards("B38", without={"bench_utils.confounds.FACTORS": {"weights dtype": ("column", "dtype")}})
def test_the_dtype_of_an_arm_is_read_back_and_not_its_label(make_run):
    table = confounds.confound_table(make_run(quantised).receipts()).set_index("variant")
    assert table.loc["compile-static", "dtype"] == "float32"
    assert table.loc["compile-static", "weights dtype"] == "q4_0"


def without_machines(*folders):
    return pd.concat([frames.receipts(folder) for folder in folders], ignore_index=True)


@guards("B43", without={"bench_utils.confounds.receipts_of": without_machines})
def test_arms_of_two_hosts_differ_in_machine_and_driver(make_run):
    container = make_run(variants=["eager"])
    host = make_run(variants=["compile-static"], machine="machine-b", identity={"driver": "580.2"})
    receipts = confounds.receipts_of(container.folder, host.folder)
    assert {"machine", "driver"} <= set(confounds.confounded(receipts, "eager", "compile-static"))
