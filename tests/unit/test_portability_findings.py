"""TR147's headlines by its own numbers, its index with the condition enforced, its gates, and the page itself."""

import json
import math
import shutil

import nbformat
import numpy as np
import pandas as pd
import pytest

from bench_utils import audit, portability
from bench_utils.audit.control import LIMIT_D
from bench_utils.portability import reproducibility
from bench_utils.reporting import pipeline
from bench_utils.reporting.verdicts import claim_record
from tests.conftest import REPOSITORY

NOWHERE = REPOSITORY / "tests"  # a root without results
EVIDENCE = portability.gather(NOWHERE)
CELLS, TABLE = EVIDENCE.cells, EVIDENCE.outcomes
FOUND = {verdict.id: verdict for verdict in portability.headlines(TABLE, CELLS)}


def again(change):
    """The headlines over a changed table of outcomes."""
    table = TABLE.copy()
    change(table)
    return {verdict.id: verdict for verdict in portability.headlines(table, CELLS)}


# ---------------------------------------------------------------- headlines


def test_headlines_are_claims_that_a_page_can_show_each_with_its_computation():
    assert len(FOUND) == len(portability.headlines(TABLE, CELLS)) == 15
    for verdict in FOUND.values():
        assert claim_record(verdict)["text"].startswith("TR147: ")
        assert any(character.isdigit() for character in verdict.reason) and verdict.source == "TR147"


def test_the_triton_headlines_are_inconclusive_because_no_compiled_arm_is_shown_to_be_compiled():
    flip = FOUND["triton-flip"]
    assert flip.verdict == FOUND["triton-crash"].verdict == "inconclusive"
    assert "0 %" in flip.reason and "TR147-161" in flip.reason and "3.4.0 and 3.6.0" in flip.reason
    assert "240 of 300" in FOUND["triton-crash"].reason


@pytest.mark.parametrize(("word", "verdict"), [("slower", "supported"), ("faster", "refuted")])
def test_with_newer_arms_shown_to_be_compiled_their_outcome_would_decide(word, verdict):
    def proven(table):
        newer = table["triton"].isin(["3.4.0", "3.6.0"]) & (table["outcome"] == "suspected fallback")
        table.loc[newer, "outcome"] = word

    found = again(proven)
    assert (found["triton-flip"].verdict, found["triton-crash"].verdict) == (verdict, "supported")


def test_a_crash_on_both_gpus_at_every_length_beyond_one_token_refutes_that_one_is_worse():
    found = FOUND["a100-worse"]
    assert (found.verdict, found.value) == ("refuted", 1.0)
    ada = TABLE[(TABLE["gpu"] == "RTX 6000 Ada") & (TABLE["outcome"] == "crashed")].index[0]

    def fewer(table):
        table.loc[ada, "failed"] = 200.0

    assert again(fewer)["a100-worse"].verdict == "inconclusive"


def test_prefill_elsewhere_is_refuted_by_one_slower_contrast():
    assert FOUND["prefill-elsewhere"].verdict == "supported"
    row = TABLE[(TABLE["phase"] == "prefill") & (TABLE["gpu"] == "A100-SXM4-80GB")].index[0]

    def slower(table):
        table.loc[row, ["outcome", "ratio"]] = ["slower", 1.3]

    assert again(slower)["prefill-elsewhere"].verdict == "refuted"


def test_what_the_audit_has_decided_is_not_decided_again():
    audited = {statement.id: statement for statement in audit.statements()}
    for name in ("tr147-control", "tr147-equivalence"):
        assert (FOUND[name].verdict, FOUND[name].value) == (audited[name].verdict, audited[name].value)


def test_numbers_of_the_other_headlines_follow_from_the_tables():
    assert FOUND["conditions"].value == pytest.approx(16 / 94)
    assert FOUND["gpt-fast-triton"].n == 15 and FOUND["gpt-fast-triton"].verdict == "supported"
    assert FOUND["gpt-fast-gain"].value == pytest.approx(106.74 / 27.67)
    assert FOUND["graphs-crash"].interval == pytest.approx((0.7511, 0.8413), abs=1e-4)
    assert FOUND["static-completes"].n == 1800
    assert FOUND["static-slower"].verdict == "inconclusive" and FOUND["static-slower"].interval[0] < 1
    assert "4 of 4" in FOUND["quantised-neutral"].reason


def test_what_its_own_numbers_do_not_support_is_named():
    names = {verdict.id for verdict in portability.unsupported(list(FOUND.values()))}
    assert {"triton-flip", "triton-crash", "index", "a100-worse", "tr147-control"} <= names
    assert "prefill-elsewhere" not in names


# ---------------------------------------------------------------- the index


def test_a_control_that_drifted_voids_the_index_and_says_by_how_much():
    verdict, reason = reproducibility.judge(20.0, 1.444, 3, [])
    assert verdict == "void" and "1.444" in reason and str(LIMIT_D) in reason
    assert reproducibility.judge(20.0, 0.499, 3, []) == ("holds", "")
    assert reproducibility.judge(20.0, math.nan, 3, [])[0] == "void"
    assert reproducibility.judge(20.0, 0.1, 1, []) == ("void", "1 stack")
    assert reproducibility.judge(20.0, 0.1, 3, ["a doubt"]) == ("void", "a doubt")


@pytest.mark.parametrize(
    ("index", "word"), [(0.49, "robust"), (0.5, "sensitive"), (2.0, "fragile"), (10.0, "catastrophic")]
)
def test_bands_are_those_of_the_report(index, word):
    assert reproducibility.band(index) == word


def test_the_published_index_is_void_everywhere_and_static_prefill_by_its_control():
    table = portability.published_index(TABLE).set_index(["phase", "cache", "mode"])
    assert set(table["verdict"]) == {"void"} and len(table) == 7
    static = table.loc[("prefill", "static", "default")]
    assert static["control"] == 1.444 and "control drifted" in static["reason"]
    dynamic = table.loc[("prefill", "dynamic", "reduce-overhead")]
    assert dynamic["index"] == 32.837 and "suspected fallback on 3.4.0, 3.6.0" in dynamic["reason"]
    assert "survivors" in table.loc[("decode", "dynamic", "reduce-overhead"), "reason"]
    assert "no effect size of the control" in table.loc[("decode", "static", "default"), "reason"]


def measured(eager_ms, compiled_ms, seed):
    """Rows of six rounds of one cell, as ``frames.load`` gives them."""
    rng = np.random.default_rng(seed)
    rows = [
        {"run": f"r{seed}", "report": "TR147", "device": "cpu-test", "machine": "m", "model": "tiny-gpt2", "variant": v,
         "backend": "transformers", "dtype": "float32", "weights": "architecture", "phase": "prefill",
         "prompt_tokens": 64, "new_tokens": 0, "batch_size": 1, "exhibit": False, "round": r, "order": 0,
         "process": f"r{r}-{v}", "attempt": 1, "role": "sample", "index": 0, "status": "ok", "reason": None,
         "latency_ms": float(ms * rng.normal(1, 0.01)), "tokens": None, "tokens_in": 64, "tokens_out": 1,
         "timer": "perf_counter_ns"}
        for r in range(1, 7) for v, ms in (("eager", eager_ms), ("compile-static", compiled_ms))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_stacks_measured_together_have_an_index_unless_their_control_drifted():
    steady = portability.measured_index({"A": measured(10.0, 5.0, 1), "B": measured(10.0, 8.0, 1)})
    assert len(steady) == 1 and steady["mode"].item() == "compile-static"
    assert steady["index"].item() > 10 and steady["control"].item() == 0.0
    assert (steady["verdict"].item(), steady["band"].item()) == ("holds", "catastrophic")
    drifted = portability.measured_index({"A": measured(10.0, 5.0, 1), "B": measured(11.0, 8.0, 2)})
    assert drifted["verdict"].item() == "void" and "control drifted" in drifted["reason"].item()
    alone = portability.measured_index({"A": measured(10.0, 5.0, 1)})
    assert alone["verdict"].item() == "void" and alone["reason"].item().startswith("1 stack")


# ---------------------------------------------------------------- the five gates


def test_every_platform_has_five_gates_and_no_published_one_has_rows():
    checks = portability.checklist(CELLS, TABLE, EVIDENCE.pairs)
    assert len(checks) == 5 * len(EVIDENCE.platforms)
    rows = checks[checks["gate"] == "Row-level evidence"].set_index("platform")
    assert set(rows["result"]) == {"failed"}
    assert "verified: 0 % (TR147-161)" in rows.loc["RTX 6000 Ada, Triton 3.4.0", "evidence"]
    named = checks.set_index(["platform", "gate"])
    assert named.loc[("RTX 6000 Ada, Triton 3.3.1", "Environment attributed"), "evidence"] == "not stated: torch"
    assert named.loc[("RTX 6000 Ada, stack unstated", "Cache and mode in every table"), "result"] == "failed"
    assert named.loc[("RTX 6000 Ada, Triton 3.3.1", "Phases apart"), "result"] == "noted"
    assert named.loc[("RTX 4080 Laptop, torch 2.8.0, Triton 3.3.1", "Phases apart"), "result"] == "passed"


def test_the_gate_on_outcomes_elsewhere_fails_for_a_platform_where_one_is_reversed():
    checks = portability.checklist(CELLS, TABLE, EVIDENCE.pairs).set_index(["platform", "gate"])
    newest = "A100-SXM4-80GB, Triton 3.6.0, gpt-fast 6ecad9b"
    assert checks.loc[(newest, "Same outcome elsewhere"), "result"] == "failed"
    assert checks.loc[("RTX 6000 Ada, Triton 3.3.1", "Same outcome elsewhere"), "result"] == "passed"
    assert "none of" in checks.loc[("RTX 6000 Ada, Triton 3.6.0", "Same outcome elsewhere"), "evidence"]


# ---------------------------------------------------------------- the page


def test_the_page_renders_from_published_data_alone_and_stays_small(tmp_path):
    (tmp_path / "notebooks").mkdir()
    for name in ("TR147_portability.ipynb", "TR147_portability.toml"):
        shutil.copy(REPOSITORY / "notebooks" / name, tmp_path / "notebooks")
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    page = pipeline.render_published(tmp_path, "TR147")
    executed = nbformat.read(tmp_path / ".bench/executed/published/TR147.ipynb", 4)
    errors = [o["evalue"] for c in executed.cells for o in c.get("outputs", []) if o["output_type"] == "error"]
    assert (page.exit_code, errors) == (0, [])
    assert page.html.stat().st_size < 300_000
    data = json.loads(page.html.with_suffix(".json").read_text())
    assert {claim["id"] for claim in data["claims"]} == FOUND.keys()
    assert "regime" in page.html.read_text(encoding="utf-8")
