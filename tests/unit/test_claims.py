"""Claims: what decides each metric, which bounds it keeps, and that a plan says what would refute it."""

import pytest
from pydantic import ValidationError

from bench_utils import claims, gates
from bench_utils.plan import ClaimPlan
from tests.faults.conftest import MACHINE, make_run  # noqa: F401

MODEL = "gpt2-25m"
EAGER = {"variant": "eager", "phase": "decode", "models": [MODEL]}


def claim(metric, **facts):
    return ClaimPlan(id="c", text="It is so.", metric=metric, **(EAGER | facts))


def verdict(run, metric, receipts=True, **facts):
    known = run.receipts() if receipts else None
    return claims.judge([claim(metric, **facts)], run.rows(), gates=run.gates(), receipts=known)[0]


class TestBounds:
    @pytest.mark.parametrize(
        ("bounds", "expected"),
        [
            ({"above": 9.0, "below": 11.0}, "supported"),
            ({"above": 11.0}, "refuted"),
            ({"below": 9.0}, "refuted"),
            ({"above": 6.0, "below": 9.0}, "refuted"),
            ({"above": 6.0, "below": 10.0}, "inconclusive"),
        ],
    )
    def test_the_whole_interval_lies_between_them_or_outside(self, make_run, bounds, expected):  # noqa: F811
        found = verdict(make_run(), "time_per_token", **bounds)
        assert found.verdict == expected
        assert found.value == pytest.approx(10.0, rel=0.01)  # 160 ms of 16 tokens
        assert found.interval[0] < 10.0 < found.interval[1]
        assert found.unit == "ms a token"

    def test_what_was_claimed_is_said_with_its_unit(self, make_run):  # noqa: F811
        assert (
            verdict(make_run(), "time_per_token", above=3.0, below=6.0).reason
            == "above 3 and below 6 ms a token was claimed"
        )
        assert verdict(make_run(), "latency", below=90.0).reason == "below 90 ms was claimed"

    def test_a_ratio_lies_between_two_bounds(self, make_run):  # noqa: F811
        run, ratio = make_run(speed={"compile-static": 0.5}), {"variant": "compile-static", "phase": "prefill"}
        assert verdict(run, "ratio", **ratio, above=0.37, below=0.77).verdict == "supported"
        assert verdict(run, "ratio", **ratio, above=0.37, below=0.45).verdict == "refuted"
        assert verdict(run, "ratio", **ratio, above=0.55, below=0.77).verdict == "refuted"

    def test_too_few_rounds_decide_nothing(self, make_run):  # noqa: F811
        found = verdict(make_run(rounds=3), "time_per_token", above=1.0)
        assert (found.verdict, found.reason) == ("inconclusive", "3 rounds: no verdict below 6")

    def test_a_variant_that_was_not_measured_is_not_testable(self, make_run):  # noqa: F811
        assert verdict(make_run(), "time_per_token", variant="compile", above=1.0).verdict == "not testable here"


class TestBandwidth:
    def test_the_share_is_the_floor_of_the_bytes_over_the_median(self, make_run):  # noqa: F811
        run = make_run()
        bound = gates.roofline(run.rows(), run.receipts()).query("model == @MODEL and variant == 'eager'")
        share = float(bound.query("phase == 'decode'")["fraction"].iloc[0])
        found = verdict(run, "bandwidth_share", above=0.5 * share)
        assert found.verdict == "supported"
        assert found.value == pytest.approx(share, rel=1e-3)
        assert found.interval[0] < found.value < found.interval[1]
        assert found.unit == f"of {MACHINE['bandwidth_gbs']:.0f} GB/s"
        assert verdict(run, "bandwidth_share", above=2 * share).verdict == "refuted"

    def test_without_a_bandwidth_there_is_no_share(self, make_run):  # noqa: F811
        assert verdict(make_run(), "bandwidth_share", receipts=False, above=0.1).verdict == "not testable here"

    def test_weights_that_the_cache_may_hold_have_none(self, make_run):  # noqa: F811
        def plant(made):
            made.receipt["last_cache_bytes"] = 2**30

        found = verdict(make_run(plant), "bandwidth_share", above=0.1)
        assert found.verdict == "not testable here"
        assert found.reason == f"the last cache may hold the weights of {MODEL}"


class TestGates:
    @pytest.mark.parametrize("metric", ["time_per_token", "bandwidth_share"])
    def test_a_failed_gate_stops_them(self, make_run, metric):  # noqa: F811
        def plant(made):
            if made.variant == "eager-again":
                made.receipt["provenance"] = made.receipt["provenance"] | {"digest": "other weights"}

        found = verdict(make_run(plant), metric, above=0.001)
        assert found.verdict == "inconclusive"
        assert found.reason.startswith("a gate failed")


class TestNeeds:
    def test_a_claim_on_a_gpu_waits_for_one(self, make_run):  # noqa: F811
        facts = {"above": 9.0, "below": 11.0, "needs": "cuda"}
        assert verdict(make_run(), "time_per_token", **facts).reason == "it needs a CUDA device"
        assert verdict(make_run(device="h200"), "time_per_token", **facts).verdict == "supported"


class TestPlans:
    @pytest.mark.parametrize(
        ("metric", "facts", "said"),
        [
            ("outcome", {}, "a claim on outcome needs expect"),
            ("status", {"above": 1.0}, "a claim on status needs expect_status"),
            ("ratio", {"expect": "faster"}, "a claim on ratio needs above or below"),
            ("model_ratio", {"above": 1.0}, "a claim on model_ratio is of 2 of the models: name so many, not 1"),
            ("time_per_token", {"above": 1.0, "models": []}, "is of 1 of the models: name so many, not 0"),
        ],
    )
    def test_a_claim_that_nothing_decides_is_refused(self, metric, facts, said):
        with pytest.raises(ValidationError, match=said):
            claim(metric, **facts)
