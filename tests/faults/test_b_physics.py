"""Planted failures against physics: bytes that must be read, phases that must add up."""

import dataclasses

import pytest

from bench_utils import catalog, frames, gates, physics
from tests.faults.catalogue import guards, passing


def placeholder(made):
    """0.3 ms whatever the model: an engine that never ran."""
    if made.variant == "compile-static":
        made.latency_ms = 0.3


@guards("B04", without={"bench_utils.gates._possible": passing("no latency is below")})
def test_a_placeholder_latency_is_below_the_floor_and_fails_a_gate(make_run):
    assert make_run(device="nvidia-test").gate("no latency is below")["result"] == "passed"
    gate = make_run(placeholder, device="nvidia-test").gate("no latency is below")
    assert gate["result"] == "failed"
    assert gate["evidence"].startswith("13 of 18 cells")


@guards("B04", without={"bench_utils.records.UNFINISHED": frozenset()})
def test_a_failed_cell_has_no_latency_even_with_samples_on_disk(make_run):
    def plant(made):
        placeholder(made)
        if made.variant == "compile-static":
            made.facts["status"] = "harness_bug"

    cells = frames.medians(make_run(plant).rows())
    assert "compile-static" not in set(cells["variant"])
    assert "eager" in set(cells["variant"])


@guards("B63", without={"bench_utils.gates._additive": passing("prefill and decode add up")})
def test_a_decode_longer_than_the_request_that_contains_it_fails_a_gate(make_run):
    def plant(made):
        if (made.variant, made.phase, made.model) == ("compile-static", "decode", "gpt2-5m"):
            made.latency_ms *= 1.5

    assert make_run().gate("add up")["result"] == "passed"
    gate = make_run(plant).gate("add up")
    assert gate["result"] == "failed"
    assert gate["evidence"].startswith("5 of 6 models and variants")


def test_a_gate_that_failed_for_one_variant_stops_the_claims_that_rest_on_it(make_run):
    def plant(made):
        if (made.variant, made.phase) == ("compile-static", "decode"):
            made.latency_ms *= 1.5

    found = make_run(plant).gates()
    assert gates.stopping(found) == gates.stopping(found, ["compile-static"]) != []
    assert gates.stopping(found, ["eager", "eager-again"]) == []


THREE_BILLION = dataclasses.replace(
    catalog.model("gpt2"), name="three-billion", layers=27, width=3072, heads=24, vocabulary=32000
)


@guards("B70", without={"bench_utils.physics.floor_ms": lambda read, bandwidth_gbs: 0.0})
def test_a_forward_of_three_billion_weights_in_eighteen_milliseconds_is_impossible():
    read = physics.bytes_read(THREE_BILLION, "float16", "prefill", 16, 0)
    assert read == pytest.approx(6.3e9, rel=0.02)
    assert physics.floor_ms(read, 256.0) > 24.0 > 17.98


@guards("B70", without={"bench_utils.physics.floor_ms": lambda read, bandwidth_gbs: 0.0})
def test_a_row_faster_than_the_memory_fails_a_gate(make_run):
    def plant(made):
        if (made.model, made.phase) == ("gpt2-25m", "decode"):
            made.latency_ms = 12.0

    gate = make_run(plant, device="nvidia-test").gate("no latency is below")
    assert gate["result"] == "failed"
    assert "132% of the measured bandwidth" in gate["evidence"]
