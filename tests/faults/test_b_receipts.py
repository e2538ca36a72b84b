"""Planted failures that a receipt gives away: what ran is not what the label says."""

import dataclasses
from types import SimpleNamespace

import torch

from bench_utils import backends, catalog, child, claims, contrasts, rankings, receipts, study
from bench_utils.backends import checkpoint, inductor, transformers
from bench_utils.backends.transformers import TransformersBackend
from bench_utils.plan import ClaimPlan
from bench_utils.rounds import Rounds
from bench_utils.study import Study
from tests.conftest import MINI_PLAN, make_project
from tests.faults.catalogue import guards, passing
from tests.faults.conftest import SMALL, ended


def fine(*_):
    return "ok", None


def outcomes(run, variant="compile-static", phase="decode"):
    effects = contrasts.contrast(run.rows())
    return effects[(effects["variant"] == variant) & (effects["phase"] == phase)]


# ---------------------------------------------------------------- compiled in name only


@guards("B01", without={"bench_utils.receipts.engagement": fine})
def test_a_compile_label_over_plain_pytorch_is_not_compiled(measure, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda forward, **_: forward)
    cells = measure("compile", phases=["prefill", "decode"]).loc[["prefill", "decode"]]
    assert cells["status"].to_list() == ["not_compiled", "not_compiled"]
    assert cells["reason"].str.contains("eager under another label").all()


@guards("B01", without={"bench_utils.contrasts.DISQUALIFIED": frozenset()})
def test_what_did_not_compile_is_neither_ranked_nor_compared(make_run):
    def plant(made):
        if made.variant == "compile-static":
            made.facts |= {"status": "not_compiled"}

    run = make_run(plant, speed={"compile-static": 0.8})
    assert set(outcomes(run)["outcome"]) == {"invalid"}
    assert "compile-static" not in set(rankings.rank(run.rows(), "decode")["variant"])


@guards("B20", without={"bench_utils.receipts.engagement": fine})
def test_a_graph_of_another_callable_than_the_timed_one_is_no_evidence(measure, monkeypatch):
    start = TransformersBackend.start

    def check_compiles(self, *sizes):
        start(self, *sizes)
        self.prefill(self.prompt(0))
        self.forward = self.module.forward

    monkeypatch.setattr(TransformersBackend, "start", check_compiles)
    cell = measure("compile", phases=["decode"]).loc["decode"]
    assert cell["receipt"]["graphs"] >= 1
    assert cell["receipt"]["graph_breaks"] == 0
    assert cell["status"] == "not_compiled"


@guards("B22", without={"bench_utils.receipts.engagement": fine})
def test_steps_beyond_the_recompile_limit_are_a_recompile_storm(measure):
    with torch._dynamo.config.patch(recompile_limit=3):
        cell = measure("compile-dynamic-false", phases=["decode"]).loc["decode"]
    assert cell["status"] == "recompile_storm"
    assert "18 of 96 timed calls" in cell["reason"]
    assert "3 cache entries, limit 3" in cell["reason"]


@guards("B23", without={"bench_utils.receipts.engagement": fine})
def test_decode_rows_without_a_compiled_step_decide_nothing(make_run):
    def plant(made):
        if (made.variant, made.phase) == ("compile-static", "decode"):
            made.compiled_calls = 0
            status, reason = receipts.engagement(made.receipt, 0, made.receipt["expected_calls"])
            made.facts |= {"status": status, "reason": reason}

    run = make_run(plant, speed={"compile-static": 0.8})
    found = outcomes(run)
    assert set(found["outcome"]) == {"invalid"}
    assert found["reason"].str.contains("not_compiled in 6 of 6 rounds").all()
    claim = ClaimPlan(
        id="c", text="Decode ran compiled.", metric="compiled_share", variant="compile-static", phase="decode", above=1
    )
    verdict = claims.judge([claim], run.rows())[0]
    assert (verdict.verdict, verdict.value) == ("refuted", 0.0)


FORGET = torch._dynamo.reset


@guards(
    "B24",
    where="bench_utils.backends.inductor.CountingInductor",
    without={"torch._dynamo.reset": lambda: None},
)
def test_a_limit_spent_by_one_phase_is_not_carried_into_the_next(measure):
    FORGET()
    with torch._dynamo.config.patch(recompile_limit=2):
        cells = measure("compile-dynamic-false", phases=["e2e", "prefill"])
    assert cells.loc["e2e", "status"] == "recompile_storm"
    assert cells.loc["prefill", "receipt"]["cache_entries_at_start"] == 0
    assert cells.loc["prefill", "status"] == "ok"


@guards("B39", without={"bench_utils.receipts.engagement": fine})
def test_graphs_asked_for_and_never_replayed_disqualify_however_close_to_eager(make_run):
    def plant(made):
        if made.variant == "compile-static":
            made.receipt |= {"cudagraphs_requested": True, "cudagraph_replays": 0, "cudagraph_skips": 6}
            calls = made.receipt["expected_calls"]
            made.facts["status"], made.facts["reason"] = receipts.engagement(made.receipt, calls, calls)

    run = make_run(plant, speed={"compile-static": 0.995})
    assert set(run.receipts().query("variant == 'compile-static' and phase != 'load'")["status"]) == {"graph_skip"}
    assert set(outcomes(run)["outcome"]) == {"invalid"}


# ---------------------------------------------------------------- options and evidence


class DeafInductor(inductor.CountingInductor):
    """Takes ``dynamic`` and does not pass it on."""

    def __init__(self, forward, mode, dynamic):
        super().__init__(forward, mode, None)


@guards("B21", without={"bench_utils.backends.inductor.CountingInductor": DeafInductor}, construction=True)
def test_the_dynamic_of_the_receipt_is_the_one_that_torch_compile_was_called_with(monkeypatch):
    seen, real = [], torch.compile
    monkeypatch.setattr(torch, "compile", lambda forward, **given: seen.append(given) or real(forward, **given))
    told = []
    for name in ("compile", "compile-dynamic-false", "compile-dynamic-true"):
        made = engine(name)
        told.append(made.receipt()["dynamic"])
    assert [given["dynamic"] for given in seen] == told == [None, False, True]


def engine(variant):
    made = backends.make(SMALL, catalog.variant(variant), "float32", "cpu", "architecture", 7)
    made.load()
    made.start("decode", 16, 16, 1)
    return made


@guards(
    "B25",
    where="bench_utils.timing.warm_up",
    without={"bench_utils.backends.transformers.TransformersBackend.progress": lambda self: ()},
)
def test_each_shape_records_what_its_own_compilation_took(measure):
    cells = measure("compile-static", phases=["e2e", "prefill"])
    assert (cells.loc[["e2e", "prefill"], "receipt"].map(lambda r: r["compile_ms"]) >= 1.0).all()
    assert cells.loc["compile_warm", "receipt"]["compile_calls"] >= 1


@guards(
    "B26",
    where="bench_utils.rounds.Rounds._measure",
    without={"bench_utils.rounds.shutil": SimpleNamespace(rmtree=lambda *_, **__: None)},
)
def test_a_cold_compile_finds_no_kernels_of_an_earlier_attempt(tmp_path, monkeypatch):
    root = make_project(tmp_path, {"mini.toml": MINI_PLAN.replace('"eager-again"', '"compile", "compile-static"')})
    monkeypatch.setattr(study.loading, "resolve_weights", lambda *_: "architecture")
    made = Study("mini", device="cpu", preset="smoke", root=root)
    rounds = made.begin()
    stale, seen = [], []
    for name in ("tiny-gpt2-compile-float32", "tiny-gpt2-compile-static-float32"):
        stale.append(rounds.caches / name / "kernel.so")
        stale[-1].parent.mkdir(parents=True)
        stale[-1].touch()

    def worker(self, round_, bar):
        seen.extend((rounds.caches / plan.cache / "kernel.so", plan.cold) for plan in round_ if plan.cold)
        seen.extend(path.exists() for path in stale)
        journal = child.Journal(made.folder)
        for plan in round_:
            for cell in plan.cells:
                journal.append(plan.ended(cell, status="unavailable"))
            journal.append(ended(plan))
        return 0

    monkeypatch.setattr(Rounds, "_run_worker", worker)
    while rounds.measure_next(SimpleNamespace(more=print)):
        pass
    assert seen[:4] == [(stale[0], True), (stale[1], True), False, False]


def probing_receipt(self):
    torch._dynamo.reset()
    return {}


@guards("B27", without={"bench_utils.backends.inductor.CountingInductor.receipt": probing_receipt}, construction=True)
def test_reading_a_receipt_changes_nothing_that_is_measured(monkeypatch):
    monkeypatch.setattr(inductor, "compile_fx", lambda graph, _, config_patches: graph.forward)
    made = engine("compile-static")
    made.decode(made.prepare(made.prompt(0)), 4)
    before = (made.inductor._entries(), made.progress(), made.compiled_calls())
    made.receipt()
    assert before[2] == 4
    assert (made.inductor._entries(), made.progress(), made.compiled_calls()) == before


class StickyCounters:
    """Dynamo's counters, never cleared."""

    def __getitem__(self, name):
        return torch._dynamo.utils.counters[name]

    def clear(self):
        pass


@guards("B28", without={"bench_utils.backends.inductor.counters": StickyCounters()})
def test_every_phase_has_counters_of_its_own(measure):
    torch._dynamo.utils.counters.clear()
    phases = ["prefill", "decode"]
    cells = measure("compile-static", phases=phases).loc[phases, "receipt"]
    assert [r["graphs"] for r in cells] == [1, 1]
    assert [r["compiled_calls"] for r in cells] == [r["expected_calls"] for r in cells] == [6, 6 * 16]


# ---------------------------------------------------------------- weights


@guards("B02", without={"bench_utils.receipts.readback": fine})
def test_a_dtype_that_only_the_label_has_ends_the_process(measure, monkeypatch):
    load = checkpoint.load_model
    monkeypatch.setattr(
        checkpoint, "load_model", lambda model, device, dtype, weights: load(model, device, "float32", weights)
    )
    cells = measure("eager", dtype="bfloat16")
    assert cells["status"].to_list() == ["silent_fallback", "unavailable", "unavailable"]
    assert "asked for bfloat16, the loaded weights are float32" in cells["reason"].iloc[0]


@guards("B03", without={"bench_utils.gates._one_digest": passing("the same weights")})
def test_a_variant_that_ran_another_model_than_the_row_names_fails_a_gate(make_run):
    def plant(made):
        if made.variant == "compile-static":
            made.receipt["provenance"] = made.receipt["provenance"] | {"digest": "digest of tiny-gpt2"}

    assert make_run().gate("the same weights")["result"] == "passed"
    assert make_run(plant).gate("the same weights")["result"] == "failed"


@guards("B03", without={"bench_utils.receipts.readback": fine})
def test_one_model_loaded_under_every_name_is_not_ok(measure, monkeypatch):
    load, tiny = checkpoint.load_model, catalog.model("tiny-gpt2")
    monkeypatch.setattr(checkpoint, "load_model", lambda model, *rest: load(tiny, *rest))
    assert "ok" not in measure("eager", model="gpt2-5m", phases=["prefill"])["status"].to_list()


@guards("B38", without={"bench_utils.gates._one_dtype": passing("weights read back")})
def test_a_dtype_copied_from_the_other_arm_fails_a_gate(make_run):
    def plant(made):
        if made.variant == "compile-static":
            made.receipt["provenance"] = made.receipt["provenance"] | {"dtype": "float16"}

    assert make_run().gate("weights read back")["result"] == "passed"
    gate = make_run(plant).gate("weights read back")
    assert gate["result"] == "failed"
    assert gate["evidence"].startswith("72 of 108 cells")


# ---------------------------------------------------------------- tokens and timers


@guards("B05", without={"bench_utils.equivalence.token_verdict": fine})
def test_an_echo_of_the_prompt_is_no_output(measure, monkeypatch):
    monkeypatch.setattr(TransformersBackend, "decode", lambda self, state, steps: [self._ids[:, -1:]] * steps)
    cell = measure("eager", phases=["decode"]).loc["decode"]
    assert cell["status"] == "token_mismatch"
    assert cell["tokens_out"] == 16


def one_token(self, state, steps):
    return [self._next(self.forward, state.token, state)]


@guards("B41", without={"bench_utils.equivalence.token_verdict": fine})
def test_a_decode_that_stopped_after_one_token_is_a_mismatch_however_long_it_took(measure, monkeypatch):
    with monkeypatch.context() as planted, torch.inference_mode():
        planted.setattr(TransformersBackend, "decode", one_token)
        cell = measure("eager", phases=["decode"]).loc["decode"]
    assert cell["status"] == "token_mismatch"
    assert "16" in cell["reason"]


@guards("B41", without={"bench_utils.equivalence.token_verdict": fine})
def test_too_few_tokens_are_a_mismatch_in_half_precision_too(measure, monkeypatch):
    with monkeypatch.context() as planted, torch.inference_mode():
        planted.setattr(TransformersBackend, "decode", one_token)
        cell = measure("eager", dtype="bfloat16", phases=["decode"]).loc["decode"]
    assert cell["status"] == "token_mismatch"


def unreasonable(*_):
    return ""


@guards("B17", where="bench_utils.contrasts.contrast", without={"bench_utils.contrasts._reason": unreasonable})
def test_an_arm_that_stopped_early_is_not_compared(make_run):
    def plant(made):
        if (made.variant, made.phase) == ("compile-static", "decode"):
            made.facts["tokens_out"] = 4
            made.latency_ms /= 4

    found = outcomes(make_run(plant))
    assert set(found["outcome"]) == {"invalid"}
    assert found["reason"].str.contains("unequal tokens: 4.* against 16").all()


@guards("B18", where="bench_utils.contrasts.contrast", without={"bench_utils.contrasts._reason": unreasonable})
def test_arms_with_different_timers_are_not_compared(make_run):
    def plant(made):
        if made.variant == "compile-static" and made.round == 3:
            made.facts["timer"] = "time of the response"

    found = outcomes(make_run(plant))
    assert set(found["outcome"]) == {"invalid"}
    assert found["reason"].str.contains("mixed timers: time of the response against perf_counter_ns").all()


def pad_right(prompt, multiple):
    padding = prompt.new_zeros(prompt.shape[0], -prompt.shape[1] % multiple)
    mask = torch.cat([torch.ones_like(prompt), padding], dim=1)
    return torch.cat([prompt, padding], dim=1), mask


@guards("B31", without={"bench_utils.equivalence.verdict": fine, "bench_utils.equivalence.token_verdict": fine})
def test_padding_on_the_wrong_side_is_seen_in_the_outputs(measure, monkeypatch):
    padded = dataclasses.replace(catalog.variant("eager"), name="eager-padded", padded=True)
    monkeypatch.setitem(catalog.VARIANTS, "eager-padded", padded)
    arguments = {"variant": "eager-padded", "phases": ["prefill"], "prompt_tokens": 13}
    assert measure(**arguments).loc["prefill", "status"] == "ok"
    monkeypatch.setattr(transformers, "_pad_left", pad_right)
    assert measure(**arguments).loc["prefill", "status"] == "output_mismatch"


@guards(
    "B33",
    where="bench_utils.child.Session._collect",
    without={"bench_utils.backends.transformers.TransformersBackend.tokens_in": lambda self, prompt: 16},
)
def test_a_prompt_shorter_than_its_label_is_counted_as_it_is(measure, monkeypatch):
    prompt = TransformersBackend.prompt
    monkeypatch.setattr(TransformersBackend, "prompt", lambda self, index: prompt(self, index)[:, :5])
    cell = measure("eager", phases=["prefill"]).loc["prefill"]
    assert cell["tokens_in"] == 5 or cell["status"] != "ok"


def test_the_rows_that_these_failures_are_planted_in_are_good_without_them(make_run, measure):
    run = make_run(speed={"compile-static": 0.8})
    table = run.gates()
    assert table.loc[table["result"] == "failed", "gate"].to_list() == []
    assert set(outcomes(run)["outcome"]) == {"faster"}
    assert set(measure("eager")["status"]) == {"ok"}
