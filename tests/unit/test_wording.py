"""Sentences say what rows say, and nothing of rows that do not count."""

import pandas as pd

from bench_utils import frames, rankings, wording
from bench_utils.contrasts import contrast
from tests.faults.conftest import make_run  # noqa: F401

MODEL = "gpt2-25m"


def tables(run):
    return frames.cell_table(run.rows())


def mismatched(made):
    if made.variant == "compile-static":
        made.facts |= {"status": "output_mismatch"}


def crashed(made):
    if made.variant == "compile-static" and made.round > 1:
        made.fail("segfault")


def test_the_lowest_is_one_that_counts(make_run):  # noqa: F811
    fast = {"compile-static": 0.5}
    said = wording.fastest_in_words(tables(make_run(speed=fast)))
    assert said.startswith("Decode of gpt2-25m is lowest with compile-static, 80.0 ms; e2e of gpt2-25m is lowest")
    for plant in (mismatched, crashed):
        assert "compile-static" not in wording.fastest_in_words(tables(make_run(plant, speed=fast)))


def test_sizes_are_told_apart_where_they_differ(make_run):  # noqa: F811
    said = wording.fastest_in_words(tables(make_run(prompts=(16, 32), models=[MODEL])))
    assert "prefill of gpt2-25m (16 prompt tokens) is lowest" in said
    assert "prefill of gpt2-25m (32 prompt tokens) is lowest" in said.lower()


def test_nothing_that_counts_is_said(make_run):  # noqa: F811
    def nothing(made):
        made.facts |= {"status": "throttled"}

    said = wording.fastest_in_words(tables(make_run(nothing)))
    assert said == "No cell counts in every round, so none is the lowest."


def test_survivors_are_not_ranked(make_run):  # noqa: F811
    table = rankings.rank(make_run(crashed, speed={"compile-static": 0.5}).rows(), "decode")
    assert "compile-static" not in set(table["variant"])
    assert set(table["left_out"]) == {"compile-static"}


def test_a_control_without_a_number_is_said(make_run):  # noqa: F811
    def plant(made):
        if made.variant == "eager-again":
            made.fail("timeout")

    effects = contrast(make_run(plant).rows())
    control = effects[effects["variant"] == "eager-again"]
    assert wording.control_in_words(control) == "The A/A control gave no number, so no contrast gets an outcome."
    assert wording.control_in_words(pd.DataFrame()).startswith("This preset has no A/A control")


def test_a_model_that_did_not_load_is_an_attempt_that_failed(make_run):  # noqa: F811
    def plant(made):
        if made.variant == "compile-static" and made.model == MODEL:
            made.fail("oom_gpu" if made.phase == "e2e" else "unavailable")

    rates = rankings.failure_rates(make_run(plant).receipts()).set_index(["variant", "phase"])["failed"]
    assert rates["compile-static", "decode"] == 6

    def absent(made):
        if made.variant == "compile-static":
            made.fail("unavailable")

    assert "compile-static" not in set(rankings.failure_rates(make_run(absent).receipts())["variant"])
