"""Planted failures of gates and verdicts: what stops, what is never both, what must not have moved."""

import pytest

from bench_utils import claims, gates, parity
from bench_utils.plan import ClaimPlan
from tests.faults.catalogue import guards, passing


def claim(expect, name="c"):
    facts = {"metric": "outcome", "variant": "compile-static", "phase": "decode"}
    return ClaimPlan(id=name, text="It is so.", expect=expect, **facts)


@guards("B42", without={"bench_utils.gates.stopping": lambda table: []})
def test_a_failed_gate_stops_every_claim_on_speed(make_run):
    def plant(made):
        if made.variant == "eager-again":
            made.receipt["provenance"] = made.receipt["provenance"] | {"digest": "other weights"}

    run = make_run(plant, speed={"compile-static": 0.8})
    verdict = claims.judge([claim("faster")], run.rows(), gates=run.gates())[0]
    assert verdict.verdict == "inconclusive"
    assert "a gate failed: all variants of a model ran the same weights" in verdict.reason
    assert claims.judge([claim("faster")], run.rows())[0].verdict == "supported"


@guards("B42", without={"bench_utils.gates._parity": passing("models compute what they computed")})
def test_parity_without_a_reference_is_not_passed(make_run):
    status, evidence = parity.check([], "a digest that nobody stored", "float32")
    assert (status, evidence) == ("unknown", "no reference is stored for weights a digest that nobody stored")

    def plant(made):
        made.receipt["parity"] = {"status": status, "evidence": evidence}

    assert make_run(plant).gate("models compute what they computed")["result"] == "noted"


def always(claim, effects):
    return claims.Verdict(claim.id, claim.text, "supported", "")


@pytest.mark.parametrize("speed", [0.8, 1.0, 1.25])
@guards("B59", where="bench_utils.claims.judge", without={"bench_utils.claims._by_outcome": always})
def test_claims_that_contradict_each_other_are_never_both_supported(make_run, speed):
    rows = make_run(speed={"compile-static": speed}).rows()
    verdicts = [v.verdict for v in claims.judge([claim(e, e) for e in ("faster", "slower", "same")], rows)]
    assert sorted(verdicts) == ["refuted", "refuted", "supported"]


@guards("B60", without={"bench_utils.gates.invariant_arm": passing("the control arm")})
def test_a_control_that_moved_between_two_runs_voids_their_comparison(make_run):
    before, after = make_run().rows(), make_run(speed={"eager": 1.074}).rows()
    gate, result, evidence = gates.invariant_arm(before, after, "eager")
    assert result == "failed"
    assert "+7.4%" in evidence
    assert gates.invariant_arm(before, make_run().rows(), "eager")[1] == "passed"


def test_processes_that_found_a_slow_host_are_counted(make_run):
    cells = make_run().receipts()
    gate, result, evidence = gates._undisturbed_host(cells)
    assert (result, evidence) == ("noted", "there are no processes to check")
    first = cells["process"].iloc[0]
    scores = cells["process"].map(lambda name: 50_000.0 if name == first else 80_000.0)
    of = cells["process"].nunique()
    assert gates._undisturbed_host(cells.assign(host_score=80_000.0)) == (
        gate,
        "passed",
        f"{of} of {of} processes; the slowest at 100%",
    )
    slow = gates._undisturbed_host(cells.assign(host_score=scores))
    assert slow == (gate, "noted", f"{of - 1} of {of} processes; the slowest at 62%")


def test_threads_that_nobody_tells_are_noted_and_two_numbers_fail(make_run):
    def silent(made):
        if made.variant != "eager":
            del made.receipt["threads"]

    def apart(made):
        made.receipt["threads"] = 1 + (made.variant == "eager")

    assert make_run().gate("number of threads")["evidence"] == "2 in every receipt"
    gate = make_run(silent).gate("number of threads")
    assert (gate["result"], gate["evidence"]) == ("passed", "2 in the 36 receipts that tell")
    assert make_run(lambda made: made.receipt.pop("threads")).gate("number of threads")["result"] == "noted"
    assert make_run(apart).gate("number of threads")["result"] == "failed"
