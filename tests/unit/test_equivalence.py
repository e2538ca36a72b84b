"""Outputs are compared with plain PyTorch's: a lost cache and a position off by one do not pass."""

import pytest
import torch
from transformers import DynamicCache

from bench_utils import backends, catalog, equivalence, outputs, parity
from bench_utils.backends.transformers import State
from tests.faults.conftest import make_run  # noqa: F401


def engine(variant="eager", model="gpt2-5m"):
    made = backends.make(catalog.model(model), catalog.variant(variant), "float32", "cpu", "architecture", 3)
    made.load()
    made.start("e2e", 13, 24, 1)
    return made


def statuses(made, steps=24):
    prompt = made.prompt(0)
    greedy, plain = made.plain(prompt, steps)
    found = equivalence.compare(made.logits(prompt, greedy), plain, "float32")
    own = made.tokens(made.generate(prompt, steps))
    return equivalence.verdict(found)[0], equivalence.token_verdict("e2e", own, made.tokens(greedy), "float32")[0]


@pytest.mark.parametrize("variant", ["eager", "eager-static", "eager-all-logits"])
def test_variants_that_change_nothing_pass(variant):
    assert statuses(engine(variant)) == ("ok", "ok")


def test_a_lost_cache_is_an_output_and_a_token_mismatch():
    made = engine()
    honest = made._logits

    def forgetful(forward, ids, state):
        state.cache = DynamicCache(config=made.config)
        return honest(forward, ids, state)

    made._logits = forgetful
    assert statuses(made) == ("output_mismatch", "token_mismatch")


def test_a_position_off_by_one_is_an_output_mismatch():
    made = engine()
    honest = made.forward

    def shifted(ids, **inputs):
        start = inputs["past_key_values"].get_seq_length() + 1
        return honest(ids, position_ids=torch.arange(start, start + ids.shape[1])[None], **inputs)

    made.forward = shifted
    assert statuses(made)[0] == "output_mismatch"


def test_padding_that_is_not_masked_is_an_output_mismatch():
    made = engine("compile-padded")
    made.forward = made.module.forward
    assert statuses(made)[0] == "ok"
    made._begin = lambda prompt: State(made._empty_cache(), torch.nn.functional.pad(prompt, (3, 0)))
    assert statuses(made)[0] == "output_mismatch"


def test_logits_that_are_not_numbers_are_a_mismatch():
    plain = torch.randn(3, 1, 50)
    assert equivalence.verdict(equivalence.compare(plain * float("nan"), plain, "float32"))[0] == "output_mismatch"


def test_half_precision_is_not_held_to_tokens():
    assert equivalence.token_verdict("e2e", [[1, 2]], [[1, 3]], "bfloat16")[0] == "ok"
    assert equivalence.token_verdict("e2e", [[1, 2]], [[1, 3]], "float32")[0] == "token_mismatch"


@pytest.mark.parametrize("name", parity.MODELS)
def test_seeded_weights_compute_what_their_reference_says(name):
    made = backends.make(catalog.model(name), catalog.variant("eager"), "float32", "cpu", "architecture", 3)
    made.load()
    digest = made.read_back()["digest"]
    observed = parity.observe(made)
    assert parity.check(observed, digest, "float32")[0] == "ok"
    with torch.no_grad():
        made.module.transformer.h[0].mlp.c_proj.weight *= 1.5
    assert parity.check(parity.observe(made), digest, "float32")[0] in ("token_mismatch", "output_mismatch")
    observed[0]["tokens"][5] += 1
    assert parity.check(observed, digest, "float32")[0] == "token_mismatch"


def test_weights_without_a_reference_are_unknown_and_not_passed():
    assert parity.check([], "0000", "float32")[0] == "unknown"


def test_logits_that_are_no_numbers_fail_their_gate_and_are_endlessly_far(make_run):  # noqa: F811
    def plant(made):
        if made.variant == "compile-static":  # NaN, as JSON keeps it
            made.receipt["equivalence"] = made.receipt["equivalence"] | {"difference": None}
            made.facts |= {"status": "output_mismatch"}

    run = make_run(plant, models=["gpt2-25m"])
    gate = run.gate("logits equal plain")
    assert gate["result"] == "failed" and "largest difference inf" in gate["evidence"]
    table = outputs.compare_outputs(run.receipts()).set_index(["variant", "phase"])
    assert table.loc[("compile-static", "decode"), "difference"] == float("inf")
    assert table.loc[("eager-again", "decode"), "difference"] == pytest.approx(1e-6)
