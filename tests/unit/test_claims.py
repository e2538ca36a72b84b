"""Claims: what decides each metric, which bounds it keeps, and that a plan says what would refute it."""

import math

import pandas as pd
import pytest
from pydantic import ValidationError

from bench_utils import claims, gates
from bench_utils.contrasts import contrast
from bench_utils.plan import ClaimPlan
from bench_utils.records import UNFINISHED
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


def fails(variant, rounds=range(1, 99), status="segfault", model=None, **cell):
    """A plant: the variant's cells end with a status in these rounds, without a sample where it did not finish."""

    def plant(made):
        mine = made.variant == variant and made.round in rounds and (model is None or made.model == model)
        if mine and all(getattr(made.cell, key) == value for key, value in cell.items()):
            if status in UNFINISHED:
                made.fail(status)
            else:
                made.facts |= {"status": status, "reason": "planted"}

    return plant


COMPILED = {"variant": "compile-static", "phase": "decode", "models": [MODEL]}


class TestWhatDoesNotCount:
    """Rows that failed, or that did something else than their label says, support nothing."""

    @pytest.mark.parametrize("metric", ["ratio", "outcome"])
    def test_a_variant_that_never_gave_a_number_has_a_verdict_all_the_same(self, make_run, metric):  # noqa: F811
        facts = COMPILED | ({"expect": "faster"} if metric == "outcome" else {"below": 0.5})
        found = verdict(make_run(fails("compile-static")), metric, **facts)
        assert (found.verdict, found.value) == ("inconclusive", None)
        assert "segfault" in found.reason

    def test_one_model_that_crashed_leaves_the_evidence_of_the_other(self, make_run):  # noqa: F811
        run = make_run(fails("compile-static", model="gpt2-5m"), speed={"compile-static": 0.5})
        found = verdict(run, "outcome", **COMPILED | {"models": []}, expect="faster")
        assert found.verdict == "inconclusive" and "gpt2-5m: invalid" in found.reason

    @pytest.mark.parametrize("metric", ["time_per_token", "latency", "bandwidth_share"])
    def test_latencies_of_another_computation_support_nothing(self, make_run, metric):  # noqa: F811
        run = make_run(fails("compile-static", status="output_mismatch"))
        found = verdict(run, metric, **COMPILED, above=0.0001)
        assert found.verdict == "inconclusive" and "output_mismatch in 6 of 6 rounds" in found.reason

    @pytest.mark.parametrize("metric", ["time_per_token", "model_ratio"])
    def test_survivors_support_nothing(self, make_run, metric):  # noqa: F811
        models = [MODEL] if metric == "time_per_token" else [MODEL, "gpt2-5m"]
        run = make_run(fails("compile-static", rounds=range(1, 7), model=MODEL), rounds=12)
        found = verdict(run, metric, **COMPILED | {"models": models}, above=0.0001)
        assert found.verdict == "inconclusive" and "segfault in 6 of " in found.reason

    def test_cells_that_gave_no_count_leave_a_share_open(self, make_run):  # noqa: F811
        run = make_run(fails("compile-static", model="gpt2-5m"))
        found = verdict(run, "compiled_share", **COMPILED | {"models": []}, above=1.0)
        assert found.verdict == "inconclusive" and found.reason.startswith("6 cells gave no count: segfault")

    def test_every_scenario_has_its_status(self, make_run):  # noqa: F811
        run = make_run(fails("compile-static", prompt_tokens=32), prompts=(16, 32), models=[MODEL])
        found = verdict(run, "status", **COMPILED, expect_status="ok")
        assert (found.verdict, found.value, found.n) == ("refuted", 0.5, 12)

    def test_a_failed_cold_compilation_is_no_failed_round(self, make_run):  # noqa: F811
        run = make_run(speed={"compile-static": 0.5}, models=[MODEL])
        rows = run.rows()
        cold = rows[rows["variant"] == "compile-static"].drop_duplicates("phase")
        cold = cold.assign(round=0, status="timeout", latency_ms=float("nan"), process="r0")
        effects = contrast(pd.concat([rows, cold], ignore_index=True)).query("variant == 'compile-static'")
        assert set(effects["outcome"]) == {"faster"} and set(effects["rounds"]) == {6}


class TestWholeDesign:
    """A verdict is about all that the claim names, and each of it by itself."""

    @pytest.mark.parametrize(("metric", "facts"), [("outcome", {"expect": "faster"}), ("ratio", {"below": 0.9})])
    def test_a_model_that_was_not_measured_supports_nothing(self, make_run, metric, facts):  # noqa: F811
        run = make_run(models=[MODEL], speed={"compile-static": 0.5})
        found = verdict(run, metric, **COMPILED | {"models": [MODEL, "gpt2-5m"]} | facts)
        assert found.verdict == "not testable here"
        assert found.reason.startswith("gpt2-5m was not measured in this run; the others: ")

    def test_a_model_that_was_measured_may_still_refute(self, make_run):  # noqa: F811
        run = make_run(models=[MODEL], speed={"compile-static": 2.0})
        found = verdict(run, "outcome", **COMPILED | {"models": [MODEL, "gpt2-5m"]}, expect="faster")
        assert found.verdict == "refuted"

    def test_sizes_are_no_rounds(self, make_run):  # noqa: F811
        found = verdict(make_run(rounds=3, new_tokens=(16, 32)), "time_per_token", above=0.1)
        assert (found.verdict, found.n) == ("inconclusive", 3)

    def test_of_several_sizes_each_decides(self, make_run):  # noqa: F811
        run = make_run(new_tokens=(16, 32), models=[MODEL])  # 160 and 320 ms
        assert verdict(run, "latency", above=100.0).verdict == "supported"
        refuted = verdict(run, "latency", above=200.0)
        assert refuted.verdict == "refuted" and refuted.value == pytest.approx(160, rel=0.01)

    def test_a_share_lies_between_both_bounds(self, make_run):  # noqa: F811
        assert verdict(make_run(), "compiled_share", **COMPILED, above=0.2, below=0.9).verdict == "refuted"

    def test_models_of_two_machines_have_no_ratio(self, make_run):  # noqa: F811
        rows = make_run().rows()
        rows["machine"] = rows["model"].map({MODEL: "machine-a", "gpt2-5m": "machine-b"})
        facts = {"variant": "eager", "models": [MODEL, "gpt2-5m"], "above": 1.0}
        found = claims.judge([claim("model_ratio", **facts)], rows)[0]
        assert found.verdict == "not testable here"


class TestFloor:
    def test_a_ratio_decides_by_more_than_identical_code_differs(self, make_run):  # noqa: F811
        def plant(made):
            if made.variant == "eager-again":
                made.latency_ms *= 1.1 if made.round % 2 else 1 / 1.1

        run = make_run(plant, speed={"compile-static": 0.985}, models=[MODEL])
        found = verdict(run, "ratio", **COMPILED, below=1.0)
        assert found.verdict == "inconclusive" and "by which identical code differs" in found.reason
        assert found.interval[1] < 1
        assert verdict(run, "ratio", **COMPILED, below=1.5).verdict == "supported"

    def test_without_a_control_a_ratio_decides_nothing(self, make_run):  # noqa: F811
        run = make_run(variants=["eager", "compile-static"], speed={"compile-static": 0.5})
        found = verdict(run, "ratio", **COMPILED, below=0.9)
        assert found.reason == "no A/A control says how far identical code differs"

    def test_a_control_that_is_steadily_slower_is_how_far_identical_code_differs(self, make_run):  # noqa: F811
        run = make_run(speed={"eager-again": 1.05, "compile-static": 0.96}, models=[MODEL])
        effects = contrast(run.rows())
        assert not {"faster", "slower"} & set(effects["outcome"])
        assert effects["floor"].iloc[0] == pytest.approx(math.log(1.05), rel=0.2)
