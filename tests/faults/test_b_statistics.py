"""Planted failures of statistics: what is pooled, ranked, tested and printed."""

import copy
import dataclasses
import math

import numpy as np
import pytest
import scipy

from bench_utils import claims, contrasts, formatting, frames, rankings, statistics, wording
from bench_utils.audit import agreement, sources
from bench_utils.errors import BenchError
from bench_utils.plan import ClaimPlan
from bench_utils.reporting import prose, tabular
from bench_utils.statistics import published
from tests.faults.catalogue import guards

# ---------------------------------------------------------------- what is missing


def invented(value, digits=3):
    return "0.5" if value is None or value != value else str(value)


@guards("B13", without={"bench_utils.formatting.significant": invented})
def test_a_missing_metric_prints_as_unknown():
    parts = prose.bind("ROUGE is {value}, accuracy {share:.0%}.", {"value": None, "share": float("nan")})
    assert prose.sentence(parts) == "ROUGE is unknown, accuracy unknown."
    assert tabular.cell_text(None) == "unknown"
    assert formatting.significant(float("nan")) == "unknown"


def make_claim(**facts):
    return ClaimPlan(**({"id": "c", "text": "It is so.", "metric": "outcome", "phase": "decode"} | facts))


@guards("B13", without={"bench_utils.claims._of": lambda claim, frame: frame})
def test_a_claim_on_what_was_not_measured_is_not_testable(make_run):
    rows = make_run(models=["gpt2-5m"]).rows()
    verdict = claims.judge([make_claim(variant="compile", expect="faster")], rows)[0]
    assert (verdict.verdict, verdict.value) == ("not testable here", None)
    assert wording.in_words(contrasts.contrast(rows), "gpt2-5m", "compile", "decode") == "unknown (not measured)"


@guards("B50", without={"bench_utils.statistics.summaries.as_sample": lambda values, *_: np.asarray(values, float)})
@pytest.mark.filterwarnings("ignore")
def test_nothing_measured_is_an_error_and_not_zero():
    with pytest.raises(ValueError, match="at least 1"):
        statistics.median_interval([])


def symmetric(x, median, offset):
    half = 1.96 * float(np.std(x))
    return median - half, median + half


@guards(
    "B50", where="bench_utils.statistics.median_interval", without={"bench_utils.statistics.samples._reach": symmetric}
)
def test_an_interval_of_latencies_stays_above_zero():
    skewed = [0.1, 0.11, 0.12, 0.1, 9.0, 30.0]
    found = statistics.median_interval(skewed)
    assert 0 < found.low < found.median < found.high


# ---------------------------------------------------------------- like with like


def mean_of_everything(rows, phase):
    mine = rows[(rows["phase"] == phase) & rows["latency_ms"].notna()]
    table = mine.groupby("variant")["latency_ms"].mean().sort_values().reset_index()
    return table.assign(models=mine["model"].nunique(), n=len(mine), left_out="")


@guards("B36", without={"bench_utils.rankings.rank": mean_of_everything})
def test_variants_are_ranked_over_the_models_that_all_of_them_ran(make_run):
    def plant(made):
        made.skipped = made.variant == "compile-static" and made.model == "gpt2-25m"

    rows = make_run(plant, speed={"compile-static": 1.1}).rows()
    table = rankings.rank(rows, "decode")
    assert table["variant"].to_list()[-1] == "compile-static"
    assert (set(table["models"]), set(table["left_out"])) == ({1}, {"gpt2-25m"})


@guards("B36", without={"bench_utils.rankings.rank": mean_of_everything})
def test_variants_are_ranked_over_the_lengths_that_all_of_them_ran(make_run):
    def plant(made):
        made.skipped = made.variant == "compile-static" and made.cell.new_tokens == 64

    rows = make_run(plant, models=["gpt2-5m"], new_tokens=(16, 64), speed={"compile-static": 1.1}).rows()
    assert rankings.rank(rows, "decode")["variant"].to_list()[-1] == "compile-static"


def pooled(rows, over):
    return frames.medians(rows).groupby("variant")["latency_ms"].median().reset_index()


@guards("B37", without={"bench_utils.rankings.pool": pooled})
def test_lengths_that_differ_more_between_than_within_are_not_pooled(make_run):
    rows = make_run(models=["gpt2-5m"], new_tokens=(16, 64, 256)).rows()
    decode = rows[rows["phase"] == "decode"]
    with pytest.raises(BenchError, match="pooling over new_tokens mixes cells that differ more between than within"):
        rankings.pool(decode, "new_tokens")


@guards("B37", without={"bench_utils.rankings.pool": pooled})
def test_lengths_are_not_pooled_because_models_differ_even_more(make_run):
    rows = make_run(new_tokens=(16, 24)).rows()
    decode = rows[rows["phase"] == "decode"]
    with pytest.raises(BenchError, match="pooling over new_tokens"):
        rankings.pool(decode, "new_tokens")


def decode_of(effects, variant="compile-static"):
    return effects[(effects["variant"] == variant) & (effects["phase"] == "decode")]


@guards("B40", where="bench_utils.contrasts.contrast", without={"bench_utils.contrasts._reason": lambda *_: ""})
def test_survivors_are_not_compared_with_an_arm_that_always_came_through(make_run):
    def plant(made):
        if (made.variant, made.phase) == ("compile-static", "decode"):
            made.latency_ms *= 0.01
            if made.round in (2, 3):
                made.fail("abort")

    found = decode_of(contrasts.contrast(make_run(plant, rounds=9).rows()))
    assert set(found["outcome"]) == {"invalid"}
    assert set(found["reason"]) == {"survivors only: a number in 7 of 9 rounds"}


def always_decided(effect, floor, **_):
    return "faster" if effect.estimate < 1 else "slower"


@guards("B66", without={"bench_utils.statistics.outcome": always_decided})
def test_a_difference_without_enough_rounds_is_no_outcome_however_large(make_run):
    effects = contrasts.contrast(make_run(rounds=4, speed={"compile-static": 0.5}).rows())
    assert set(effects["outcome"]) == {"ambiguous"}
    assert effects[["low", "high", "p"]].notna().all(axis=None)


def every_sample_alone(rows):
    """As if each timed call were a round of its own."""
    good = rows[rows["latency_ms"].notna()]
    return good.assign(n=1, process=good["process"] + good["index"].astype(str))


@guards("B69", without={"bench_utils.frames.medians": every_sample_alone})
def test_repeated_calls_of_a_process_are_one_observation(make_run):
    run = make_run(models=["gpt2-5m"], samples=100, noise=0.05)
    cell = frames.cell_table(run.rows()).query("variant == 'eager' and phase == 'decode'").iloc[0]
    assert (cell["rounds"], cell["samples"]) == (6, 600)
    assert cell["high_ms"] / cell["low_ms"] > 1.05
    effects = contrasts.contrast(run.rows())
    assert set(effects["rounds"]) == {6}
    assert "faster" not in set(effects["outcome"])


# ---------------------------------------------------------------- families and effects

STANDARD = np.array([-1.0, 1.0, -1.0, 1.0, -1.0, 1.0]) / math.sqrt(6 / 5)  # mean 0, standard deviation 1


def borderline(made):
    """Each contrast alone reaches p = 0.02, none of a dozen does together."""
    if made.variant.startswith("compile"):
        made.latency_ms *= math.exp(-0.05 + 0.05 * math.sqrt(6) / 3.365 * STANDARD[made.round - 1])


def uncorrected(p, alpha=0.05, family=None):
    return [bool(one <= alpha) for one in p]


@guards("B57", without={"bench_utils.statistics.holm": uncorrected})
def test_the_family_is_every_contrast_of_the_run(make_run):
    variants = ["eager", "eager-again", "compile", "compile-static"]
    effects = contrasts.contrast(make_run(borderline, variants=variants, noise=1e-6).rows())
    mine = effects[effects["variant"] != "eager-again"]
    assert np.allclose(mine["p"], 0.02, atol=1e-3)
    assert (len(mine), set(mine["family"])) == (12, {12})
    assert set(mine["outcome"]) == {"ambiguous"}


@guards("B57", without={"bench_utils.statistics.decisions.holm_adjusted": lambda p, family=None: list(p)})
def test_of_eleven_small_p_values_three_survive():
    assert sum(statistics.holm([0.001, 0.002, 0.004] + [0.03] * 8)) == 3
    assert sum(statistics.holm([0.001, 0.002, 0.004], family=96)) == 0


@guards(
    "B58", without={"bench_utils.statistics.contrast_mde": lambda sd, n, **_: statistics.minimum_detectable_effect(n)}
)
def test_each_contrast_has_the_detectable_effect_of_its_own_spread(make_run):
    spread = {"compile": 0.01, "compile-static": 0.04}

    def plant(made):
        made.latency_ms *= math.exp(spread.get(made.variant, 0.0) * STANDARD[made.round - 1])

    variants = ["eager", "eager-again", "compile", "compile-static"]
    effects = contrasts.contrast(make_run(plant, variants=variants, new_tokens=(16, 256), noise=1e-6).rows())
    for variant, sd in spread.items():
        shortcut = sum(scipy.stats.t.ppf([0.975, 0.8], 5)) * sd / math.sqrt(6)
        assert np.allclose(decode_of(effects, variant)["mde"], shortcut, rtol=0.06)


def by_difference(a, b, margin, *rest, **named):
    found = ORIGINAL_TOST(a, b, margin, *rest, **named)
    return dataclasses.replace(found, equivalent=abs(found.difference) < margin)


ORIGINAL_TOST = statistics.tost


@guards("B56", without={"bench_utils.statistics.tost": by_difference})
def test_arms_are_not_equivalent_when_the_standard_error_exceeds_the_margin():
    test = statistics.tost((90, 741.0, 741.0), (90, 742.0, 741.0), margin=22.0)
    assert not test.equivalent
    assert test.se > 4 * test.margin
    assert statistics.tost((90, 741.0, 7.0), (90, 742.0, 7.0), margin=22.0).equivalent


# ---------------------------------------------------------------- methods and designs


def student_called_welch(a, b, equal_var=False):
    return dataclasses.replace(ORIGINAL_COMPARISON(a, b, equal_var=True), method="Welch t")


ORIGINAL_COMPARISON = published.compare_summaries


@guards("B53", without={"bench_utils.statistics.compare_summaries": student_called_welch})
def test_the_method_named_is_the_one_that_ran():
    a, b = (10, 100.0, 5.0), (40, 104.0, 20.0)
    for found in (statistics.compare_summaries(a, b), statistics.compare_summaries(a, b, equal_var=True)):
        equal = found.method.startswith("Student")
        test = scipy.stats.ttest_ind_from_stats(b[1], b[2], b[0], a[1], a[2], a[0], equal_var=equal)
        assert found.p == pytest.approx(test.pvalue, rel=1e-9)
    assert statistics.compare_summaries(a, b).method == "Welch t"


FACTORS = {"backend": ["a", "a", "a", "b", "b", "b"] * 2, "model": ["x", "y", "z", "x", "y", "y"] * 2}


@guards(
    "B54", where="bench_utils.statistics.fit", without={"bench_utils.statistics.models._rank": lambda m: m.shape[1]}
)
def test_an_interaction_with_empty_cells_is_refused_by_name():
    response = np.random.default_rng(0).normal(10, 1, 12)
    with pytest.raises(ValueError, match=r"'backend:model' cannot be estimated.*no rows for b x z"):
        statistics.fit(response, FACTORS, ["backend", "model", "backend:model"])


PUBLISHED = sources.read()


def recomputed(claim, value=None):
    """A published number, or another in its place, beside its recomputation."""
    tables = dataclasses.replace(PUBLISHED, claims=copy.deepcopy(PUBLISHED.claims))
    if value is not None:
        tables.claims[claim]["value"] = value
    return agreement.compare(tables, claim, tables.links[claim]["kind"])


AGREED = {"bench_utils.audit.agreement.Agreement.agrees": True}


@pytest.mark.parametrize("claim", ["TR117-011", "TR147-056"])
@guards("B52", without=AGREED)
def test_a_printed_statistic_that_its_inputs_contradict_does_not_reproduce(claim):
    found = recomputed(claim)
    assert not found.agrees
    assert "times what rounding allows" in found.why()
    assert recomputed(claim, f"{found.shown:.3f}").agrees


@guards("B55", where="bench_utils.audit.inference.mean_without_largest", without=AGREED)
def test_a_trimmed_mean_that_no_trimming_gives_does_not_reproduce():
    assert recomputed("TR126-068").agrees
    assert not recomputed("TR126-069").agrees
    assert not recomputed("TR126-068", "11.40").agrees
