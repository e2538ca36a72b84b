"""The transformers engine: phases, tokens, and counts of compiled calls.

Graphs are run by PyTorch as they were captured, so that nothing waits for a C++ compiler; that Inductor's own code
is what runs is shown by the smoke run of the report.
"""

import pytest
import torch

from bench_utils import backends, catalog, ledger, receipts
from bench_utils.backends import inductor
from bench_utils.timing import Timed


@pytest.fixture
def engine(monkeypatch):
    monkeypatch.setattr(inductor, "compile_fx", lambda graph, _, config_patches: graph.forward)

    def make(variant, model="tiny-gpt2", phase="decode", prompt=12, steps=32, batch=1):
        made = backends.make(catalog.model(model), catalog.variant(variant), "float32", "cpu", "architecture", 7)
        made.load()
        made.start(phase, prompt, steps, batch)
        return made

    return make


def run(engine, phase="decode", steps=32, index=0):
    prompt = engine.prompt(index)
    if phase == "prefill":
        return engine.tokens(engine.prefill(prompt))
    if phase == "decode":
        return engine.tokens(engine.decode(engine.prepare(prompt), steps))
    return engine.tokens(engine.generate(prompt, steps))


VARIANTS = ["eager-static", "eager-all-logits", "compile", "compile-static", "compile-dynamic-false",
            "compile-dynamic-true", "compile-padded"]  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_produces_the_tokens_of_eager(engine, variant):
    expected = run(engine("eager", "gpt2-5m"), "e2e")
    assert len(expected[0]) == 33
    assert run(engine(variant, "gpt2-5m"), "e2e") == expected


def test_tokens_are_those_of_generate(engine):
    eager = engine("eager", "gpt2-5m", batch=2)
    prompt = eager.prompt(0)
    reference = eager.module.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=33,
        do_sample=False,
        pad_token_id=0,
        eos_token_id=None,
    )
    assert run(eager, "e2e") == reference[:, prompt.shape[1] :].tolist()


def test_a_static_cache_compiles_every_step_once(engine):
    made = engine("compile-static", steps=128)
    run(made, steps=128)
    before = made.compiled_calls()
    run(made, steps=128)
    assert made.compiled_calls() - before == made.expected_calls("decode", 128) == 128
    assert made.receipt()["graphs"] == 1
    assert made.receipt()["cache_entries_at_start"] == 0


def test_a_growing_cache_with_fixed_shapes_runs_eight_steps_compiled_and_the_rest_eagerly(engine):
    made = engine("compile-dynamic-false", steps=128)
    run(made, steps=128)
    before = made.compiled_calls()
    run(made, steps=128)
    calls = made.compiled_calls() - before
    assert calls == made.receipt()["recompile_limit"] == 8
    status, reason = receipts.engagement(made.receipt(), calls, made.expected_calls("decode", 128))
    assert status == "recompile_storm"
    assert "8 of 128" in reason


@pytest.mark.parametrize("variant", ["compile", "compile-dynamic-true"])
def test_shapes_that_may_vary_keep_every_step_compiled(engine, variant):
    made = engine(variant)
    run(made)
    before = made.compiled_calls()
    run(made)
    assert made.compiled_calls() - before == 32


def test_the_limit_is_not_spent_by_the_cell_before(engine):
    made = engine("compile-static")
    run(made)
    made.start("prefill", 12, 0, 1)
    assert made.receipt()["cache_entries_at_start"] == 0
    run(made, "prefill")
    assert made.compiled_calls() == made.expected_calls("prefill", 0) == 1


def test_preparing_a_decode_leaves_no_trace_in_the_receipt(engine):
    made = engine("compile-static")
    made.prepare(made.prompt(0))
    assert made.compiled_calls() == 0
    assert made.receipt()["graphs"] == 0


def test_every_call_has_a_prompt_of_its_own(engine):
    made = engine("eager", prompt=12)
    prompts = [made.prompt(i) for i in range(5)]
    assert len({p[0, 0].item() for p in prompts}) == 5
    assert all(p.shape == (1, 12) for p in prompts)


def test_padding_is_on_the_left_and_masked(engine):
    made = engine("compile-padded", "gpt2-5m", prompt=13)
    state = made.prepare(made.prompt(0))
    assert state.mask[0].tolist() == [0, 0, 0] + [1] * 13


def test_an_eager_label_over_compiled_code_has_no_expected_calls(engine):
    assert engine("eager").expected_calls("decode", 32) == 0


@pytest.mark.parametrize(("made", "expected", "receipt", "status"), [
    (0, 0, {}, "ok"),
    (16, 16, {}, "ok"),
    (0, 16, {}, "not_compiled"),
    (15, 16, {}, "recompile_storm"),
    (16, 16, {"cudagraphs_requested": True, "cudagraph_replays": 0}, "graph_skip"),
    (16, 16, {"cudagraphs_requested": True, "cudagraph_replays": 99, "replayed_calls": 1}, "graph_skip"),
    (16, 16, {"cudagraphs_requested": True, "cudagraph_replays": 99, "replayed_calls": 15}, "graph_skip"),
    (16, 16, {"cudagraphs_requested": True, "cudagraph_replays": 99, "replayed_calls": 16}, "ok"),
    (16, 16, {"cudagraphs_requested": False, "replayed_calls": 0}, "ok"),
])  # fmt: skip
def test_engagement_is_counted_and_not_believed(made, expected, receipt, status):
    assert receipts.engagement(receipt, made, expected)[0] == status


def test_the_tokens_of_a_cell_are_those_of_its_first_timed_call(engine):
    made, rows = engine("eager"), []
    book = ledger.Ledger(made, lambda *row: rows.append(row))
    for role, index, token in (("warmup", 0, 7), ("warmup", 1, 8), ("sample", 0, 9), ("sample", 1, 10)):
        book.keep(role, index, Timed([torch.tensor([[token]])], 1.0, None, 0.0))
    assert book.tokens == [[9]]
    assert len(rows) == 4


def test_cuda_graph_variants_say_what_they_need():
    assert "CUDA" in backends.unavailable(catalog.variant("compile-static-reduce-overhead"), "cpu")
    assert backends.unavailable(catalog.variant("compile-static-reduce-overhead"), "cuda:0") is None


def test_a_mode_reaches_inductor(monkeypatch):
    seen = []
    monkeypatch.setattr(
        inductor, "compile_fx", lambda graph, _, config_patches: seen.append(config_patches) or graph.forward
    )
    made = backends.make(
        catalog.model("tiny-gpt2"), catalog.variant("compile-static-max-autotune"), "float32", "cpu", "architecture", 7
    )
    made.load()
    made.start("prefill", 12, 0, 1)
    run(made, "prefill")
    assert seen
    assert all(options["max_autotune"] for options in seen)
