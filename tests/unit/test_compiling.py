"""How much of a variant ran compiled, from rows: what nobody counted is not complete."""

import numpy as np
import pandas as pd

from bench_utils import wording
from bench_utils.compiling import shares


def samples(variant, compiled, expected=16.0):
    facts = {"role": "sample", "phase": "decode", "model": "gpt2-5m", "variant": variant, "expected_calls": expected}
    return pd.DataFrame([facts | {"compiled_calls": calls, "index": i} for i, calls in enumerate(compiled)])


def test_a_share_is_that_of_the_worst_call():
    found = shares(pd.concat([samples("compile", [8, 16]), samples("cudagraph", [16, 16])]))
    assert found[["variant", "compiled", "expected", "n"]].to_numpy().tolist() == [
        ["compile", 8.0, 16.0, 2], ["cudagraph", 16.0, 16.0, 2]
    ]  # fmt: skip


def test_a_variant_that_must_compile_nothing_has_no_share():
    assert shares(samples("eager", [np.nan, np.nan], expected=0.0)).empty


def test_calls_that_nobody_counted_are_not_complete():
    rows = pd.concat([samples("compile", [16, 16]), samples("cudagraph", [np.nan, np.nan])])
    assert shares(rows)["variant"].to_list() == ["compile"]
    assert "cudagraph" not in wording.shares_in_words(shares(rows))
    assert shares(samples("cudagraph", [16, np.nan])).empty
