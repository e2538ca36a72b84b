"""What varies with the arm is observed, and unknown is not equal."""

import pandas as pd
import pytest

from bench_utils import confounds
from bench_utils.errors import BenchError
from tests.faults import conftest as planting

make_run = planting.make_run
EAGER = {"engine": "transformers", "cache": "dynamic", "kv_cache": "float32", "attention": "sdpa", "logits": "last",
         "threads": 2, "artifact": "none", "runs_in": "the measuring process"}  # fmt: skip


def engines(**changed):
    """A plant: every arm on the same factors, but for what is changed of ``compile-static``."""

    def plant(made):
        own = changed if made.variant == "compile-static" else {}
        made.receipt |= {key: value for key, value in (EAGER | own).items() if value is not None}
        if "dtype" in own:
            made.receipt["provenance"] = made.receipt["provenance"] | {"dtype": own["dtype"]}
        made.facts |= {"timer": own["timer"]} if "timer" in own else {}

    return plant


def test_arms_alike_in_everything_differ_in_nothing(make_run):
    receipts = make_run(engines()).receipts()
    assert confounds.confounded(receipts, "eager", "compile-static") == []
    assert set(confounds.confound_table(receipts)["differs"]) == {""}
    assert confounds.confounds_in_words(receipts, "eager", "compile-static") == (
        "compile-static differs from eager in none of the recorded factors besides the engine."
    )


@pytest.mark.parametrize(
    ("changed", "factor"),
    [
        ({"dtype": "q8_0"}, "weights dtype"),
        ({"artifact": "GGUF"}, "artifact"),
        ({"cache": "static"}, "cache"),
        ({"kv_cache": "float16"}, "KV cache"),
        ({"attention": "eager"}, "attention"),
        ({"logits": "all"}, "logits"),
        ({"threads": 1}, "threads"),
        ({"timer": "server's own"}, "timer"),
        ({"runs_in": "a server"}, "runs in"),
    ],
)
def test_every_factor_that_varies_with_the_arm_is_marked(make_run, changed, factor):
    receipts = make_run(engines(engine="another", **changed)).receipts()
    assert confounds.confounded(receipts, "eager", "compile-static") == [factor]
    table = confounds.confound_table(receipts).set_index("variant")
    assert table.loc["compile-static", "differs"] == factor
    assert table.loc["compile-static", factor] == str(next(iter(changed.values())))
    assert table.loc["eager-again", "differs"] == ""


def test_a_sentence_gives_both_values_of_each_factor(make_run):
    receipts = make_run(engines(engine="llama.cpp", dtype="q8_0", threads=1)).receipts()
    assert confounds.confounds_in_words(receipts, "eager", "compile-static") == (
        "Besides the engine, compile-static differs from eager in weights dtype (q8_0 against float32); "
        "threads (1 against 2)."
    )


def test_what_an_engine_does_not_tell_is_not_taken_as_equal(make_run):
    receipts = make_run(engines(engine="another", attention=None)).receipts()
    assert confounds.confounded(receipts, "eager", "compile-static") == ["attention"]
    assert "attention (unknown against sdpa)" in confounds.confounds_in_words(receipts, "eager", "compile-static")


def test_what_no_arm_tells_is_open_between_engines_and_not_within_one(make_run):
    def silent(made):
        engines(engine="another" if made.variant == "compile-static" else "transformers")(made)
        del made.receipt["kv_cache"]

    receipts = make_run(silent).receipts()
    assert confounds.confounded(receipts, "eager", "compile-static") == ["KV cache"]
    assert confounds.confounded(receipts, "eager", "eager-again") == []


def test_an_artifact_is_found_where_its_engine_tells_of_it(make_run):
    def plant(made):
        engines(artifact=None if made.variant == "compile-static" else "none")(made)
        if made.variant == "compile-static":
            made.receipt["provenance"] = made.receipt["provenance"] | {"artifact": "0123456789abcdef"}

    said = confounds.confounds_in_words(make_run(plant).receipts(), "eager", "compile-static")
    assert said.endswith("in artifact (0123456789abcdef against none).")


def test_the_table_has_the_engine_and_a_column_a_factor(make_run):
    run = make_run(engines(engine="llama.cpp"))
    table = confounds.confound_table(confounds.receipts_of(run.folder)).set_index("variant")
    assert list(table.columns) == ["dtype", "engine", *confounds.FACTORS, "differs"]
    assert table.loc["compile-static", "engine"] == "llama.cpp"
    assert table.loc["eager", ["machine", "driver"]].to_list() == ["machine-a", "570.1"]


def test_only_cells_of_both_arms_are_compared(make_run):
    def plant(made):
        engines(threads=1 if made.model == "gpt2-25m" else 2)(made)
        made.skipped = made.variant == "eager" and made.model == "gpt2-25m"

    assert confounds.confounded(make_run(plant).receipts(), "eager", "compile-static") == []


def test_arms_without_a_common_cell_say_so(make_run):
    def plant(made):
        engines()(made)
        made.skipped = (made.variant == "compile-static") == (made.model == "gpt2-5m")

    receipts = make_run(plant).receipts()
    with pytest.raises(BenchError, match="compile-static and eager share no cell"):
        confounds.confounded(receipts, "eager", "compile-static")
    assert "share no cell" in confounds.confound_table(receipts).set_index("variant").loc["compile-static", "differs"]


def test_a_variant_that_was_not_measured_is_named_with_those_that_were(make_run):
    def plant(made):
        engines()(made)
        if made.variant == "compile-static":
            made.receipt = {}
            made.fail("unavailable")

    receipts = make_run(plant).receipts()
    with pytest.raises(BenchError, match="unknown variant that was measured: 'compile-static'"):
        confounds.confounded(receipts, "eager", "compile-static")
    assert "compile-static" not in set(confounds.confound_table(receipts)["variant"])


def test_runs_of_two_machines_differ_in_machine_and_driver(make_run):
    here = confounds.receipts_of(make_run(engines(), variants=["eager"]).folder)
    there = confounds.receipts_of(make_run(engines(), machine="machine-b", identity={"torch": "2.13.0"}).folder)
    both = pd.concat([here, there[there["variant"] == "compile-static"]])
    assert confounds.confounded(both, "eager", "compile-static") == ["machine", "driver"]
    assert "driver (none against 570.1)" in confounds.confounds_in_words(both, "eager", "compile-static")
