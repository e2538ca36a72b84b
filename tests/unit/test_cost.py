"""Costs follow from a stated price and from rows; without price or joules there is a reason and no number."""

import datetime
import math

import pandas as pd
import pytest
from pydantic import TypeAdapter, ValidationError

from bench_utils import cost, prices
from bench_utils.errors import BenchError
from tests.faults import conftest as planting

make_run = planting.make_run
BEGAN = datetime.datetime(2026, 3, 2, 23, 0, tzinfo=datetime.UTC)
PRICE = {"usd_per_hour": 3.6, "source": "price list of the provider", "date": "2026-03-01", "machine": "a rented host"}
NUMBERS = ["tokens_per_s", "tokens_low", "tokens_high", "usd_per_million", "usd_low", "usd_high"]


def dated(rows):
    """Rows of a run that began in March."""
    return rows.assign(started_at=rows["started_at"] + BEGAN.timestamp())


def row(table, variant="eager", model="gpt2-5m"):
    found = table[(table["variant"] == variant) & (table["model"] == model)]
    assert len(found) == 1
    return found.iloc[0]


def test_sixteen_tokens_in_80_ms_cost_5_dollars_a_million_at_3_60_an_hour(make_run):
    found = row(cost.cost_table(dated(make_run(noise=0.0).rows()), cost.Price(**PRICE)))
    assert found["tokens_per_s"] == pytest.approx(200.0)
    assert found["usd_per_million"] == pytest.approx(5.0)
    assert (found["rounds"], found["reason"]) == (6, "")


def test_the_interval_of_a_cost_is_that_of_the_rounds(make_run):
    found = row(cost.cost_table(dated(make_run(noise=0.02).rows()), cost.Price(**PRICE)))
    assert found["usd_low"] < found["usd_per_million"] < found["usd_high"]
    assert found["tokens_low"] < found["tokens_per_s"] < found["tokens_high"]
    assert found["usd_high"] == pytest.approx(3.6 / 3600 / found["tokens_low"] * 1e6)


def test_tokens_of_all_sequences_of_a_batch_count(make_run):
    def four_sequences(made):
        made.facts["tokens_out"] *= 4

    found = row(cost.cost_table(dated(make_run(four_sequences, noise=0.0).rows()), cost.Price(**PRICE)))
    assert found["usd_per_million"] == pytest.approx(1.25)


def test_only_decode_enters_and_no_exhibit(make_run):
    rows = dated(make_run().rows())
    assert set(cost.cost_table(rows, None)["phase"]) == {"decode"}
    with pytest.raises(BenchError, match="no decode was measured"):
        cost.cost_table(rows[rows["phase"] == "prefill"], None)
    with pytest.raises(BenchError, match="no decode was measured"):
        cost.cost_table(rows.assign(exhibit=True), None)


def test_without_a_price_the_table_says_so_and_names_no_cost(make_run):
    found = row(cost.cost_table(make_run(noise=0.0).rows(), None))
    assert found["reason"] == "no price in the plan"
    assert found["tokens_per_s"] == pytest.approx(200.0)
    assert all(math.isnan(found[name]) for name in ("usd_per_million", "usd_low", "usd_high"))
    assert cost.assumptions(None) == {"Price": "no price in the plan"}


def test_a_cell_that_did_not_do_what_its_label_says_has_neither_speed_nor_cost(make_run):
    def plant(made):
        if made.variant == "compile-static" and made.round == 2:
            made.facts["status"] = "not_compiled"

    found = row(cost.cost_table(dated(make_run(plant).rows()), cost.Price(**PRICE)), "compile-static")
    assert found["reason"] == "not_compiled in 1 of 6 rounds"
    assert found[NUMBERS].isna().all()


def test_a_cell_that_failed_in_every_round_is_in_the_table_without_a_number(make_run):
    def plant(made):
        if made.variant == "compile-static":
            made.fail("segfault")

    found = row(cost.cost_table(dated(make_run(plant).rows()), cost.Price(**PRICE)), "compile-static")
    assert found["reason"] == "segfault in 6 of 6 rounds"
    assert found[NUMBERS].isna().all()


def test_rows_of_two_machines_have_no_common_price(make_run):
    rows = make_run().rows()
    both = pd.concat([rows, rows.assign(machine="machine-b", run="another")])
    with pytest.raises(BenchError, match="these rows differ in machine"):
        cost.cost_table(dated(both), cost.Price(**PRICE))


def test_a_price_of_the_day_holds_and_one_of_the_day_after_the_run_does_not(make_run):
    rows = dated(make_run().rows())
    assert row(cost.cost_table(rows, cost.Price(**PRICE | {"date": "2026-03-02"})))["reason"] == ""
    with pytest.raises(BenchError, match="its date 2026-03-03 lies after the run, which began on 2026-03-02"):
        cost.cost_table(rows, cost.Price(**PRICE | {"date": "2026-03-03"}))


@pytest.mark.parametrize("field", ["usd_per_hour", "source", "date", "machine"])
def test_no_field_of_a_price_has_a_default(field):
    with pytest.raises(ValidationError, match=field):
        cost.Price(**{name: value for name, value in PRICE.items() if name != field})


@pytest.mark.parametrize(
    ("field", "value"),
    [("usd_per_hour", 0), ("usd_per_hour", -1.0), ("usd_per_hour", math.inf), ("usd_per_hour", math.nan),
     ("source", ""), ("source", "  "), ("machine", " "), ("date", "soon"), ("eager", 1.0)],
)  # fmt: skip
def test_a_price_that_says_nothing_is_refused(field, value):
    with pytest.raises(ValidationError, match=field):
        cost.Price(**PRICE | {field: value})


def test_a_device_s_own_price_comes_before_that_of_its_kind():
    own, cpu, cuda = (cost.Price(**PRICE | {"machine": name}) for name in ("own", "cpu", "cuda"))
    stated = {"nvidia-h200": own, "cpu": cpu, "cuda": cuda}
    assert prices.price_of(stated, "nvidia-h200").machine == "own"
    assert prices.price_of(stated, "tesla-t4").machine == "cuda"
    assert prices.price_of(stated, "cpu-xeon-2.5ghz-2c").machine == "cpu"
    assert prices.price_of({"nvidia-h200": own}, "cpu-xeon-2.5ghz-2c") is None


@pytest.mark.parametrize("name", ["gpu", "NVIDIA H200", "h200", ""])
def test_a_price_for_what_is_no_device_is_refused(name):
    with pytest.raises(BenchError, match="not a device; give cpu or cuda, or a slug such as nvidia-h200"):
        TypeAdapter(prices.Prices).validate_python({"cpu": PRICE, name: PRICE})


def test_assumptions_name_price_machine_source_date_tokens_and_utilisation():
    said = cost.assumptions(cost.Price(**PRICE))
    assert said["Price"] == "3.6 USD an hour"
    assert said["Machine priced"] == "a rented host"
    assert said["Source of the price"] == "price list of the provider"
    assert said["Date of the price"] == "2026-03-01"
    assert said["Tokens counted"].startswith("those that decode produced")
    assert said["Utilisation"].startswith("100 %")


# ---------------------------------------------------------------- energy

JOULES = {"meter": "RAPL package-0", "gross_j_per_token": 0.5, "net_j_per_token": 0.4, "idle_w": 20.0}


def metered(*, meter=lambda made: "RAPL package-0", reason=lambda made: None):
    def plant(made):
        if made.phase != "e2e":
            return
        if why := reason(made):
            made.receipt["energy"] = {"meter": meter(made), "reason": why}
        else:
            made.receipt["energy"] = JOULES | {"meter": meter(made), "gross_j_per_token": 0.5 + 0.001 * made.round}

    return plant


def test_energy_names_its_meter_and_gives_gross_idle_and_net(make_run):
    found = row(cost.energy_table(make_run(metered()).receipts()))
    assert (found["meter"], found["rounds"], found["reason"]) == ("RAPL package-0", 6, "")
    assert found["gross_low"] < found["gross_j"] < found["gross_high"]
    assert found["gross_j"] == pytest.approx(0.5035, abs=1e-4)
    assert (found["idle_w"], found["net_j"]) == (20.0, 0.4)


def test_energy_that_was_not_asked_for_or_has_no_meter_is_a_reason_and_never_zero(make_run):
    for plant, said in (
        (lambda made: None, "this preset does not ask for energy (in 6 of 6 rounds)"),
        (metered(meter=lambda _: None, reason=lambda _: "no meter here"), "no meter here (in 6 of 6 rounds)"),
    ):
        found = row(cost.energy_table(make_run(plant).receipts()))
        assert found["reason"] == said
        assert found[["gross_j", "gross_low", "gross_high", "idle_w", "net_j"]].isna().all()
        assert found["meter"] is None


def test_a_round_that_a_neighbour_spoiled_is_left_out_and_said(make_run):
    receipts = make_run(metered(reason=lambda made: "others" if made.round == 3 else None)).receipts()
    found = row(cost.energy_table(receipts))
    assert (found["rounds"], found["reason"]) == (5, "others (in 1 of 6 rounds)")
    assert found["gross_j"] > 0


def test_energy_of_a_cell_that_did_not_do_what_its_label_says_is_left_out(make_run):
    def plant(made):
        metered()(made)
        if made.variant == "compile-static":
            made.facts["status"] = "token_mismatch"

    found = row(cost.energy_table(make_run(plant).receipts()), "compile-static")
    assert found["reason"] == "token_mismatch in 6 of 6 rounds"
    assert math.isnan(found["gross_j"])


def test_two_meters_never_share_a_table(make_run):
    plant = metered(meter=lambda made: "NVML total energy counter" if made.variant == "eager" else "RAPL package-0")
    with pytest.raises(BenchError, match="several meters in one table: NVML total energy counter, RAPL package-0"):
        cost.energy_table(make_run(plant).receipts())
