"""Checks that need no test: parts against wholes, spreads against lengths, survivors against tokens, watts."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from .. import published
from ..statistics import tost
from .case import Case
from .inference import margin_ms
from .sources import read

_CELL = ["report", "rerun", "model", "dtype", "backend", "scenario"]
_JOULES = 3.6e6  # in a kWh


def additivity() -> pd.DataFrame:
    """TR126's decode and end-to-end means of one arm: ``additive`` says whether the whole is longer than its part.

    Columns report, model, backend, decode_ms, e2e_ms, additive.
    """
    cells = published.latency()
    cells = cells[(cells["report"] == "TR126") & cells["section"].str.startswith("10.") & cells["mean_ms"].notna()]
    cells = cells.assign(rerun=cells["section"].str.startswith("10.6"))
    decode, whole = (cells[cells["phase"] == phase] for phase in ("kv_decode", "e2e_kv"))
    pairs = decode.merge(whole, on=_CELL, suffixes=("", "_e2e"))
    table = pairs.rename(columns={"mean_ms": "decode_ms", "mean_ms_e2e": "e2e_ms"})
    table = table[["report", "model", "backend", "decode_ms", "e2e_ms"]]
    return table.assign(additive=table["decode_ms"] < table["e2e_ms"])


def _cases(metric: str, wanted: str) -> list[Case]:
    """TR147's claims of a metric whose text holds `wanted` and whose rows are known, as cases."""
    sources = read()
    known = [c for c, claim in sources.claims.items() if claim["metric"] == metric and wanted in claim["claim"]]
    return [Case(sources, c) for c in known if c.startswith("TR147") and sources.links[c]["rows_a"]]


def _lengths(case: Case, row: str) -> np.ndarray:
    return np.array([float(length) for length in case.row(row)["new_tokens"].split("/")])


def decode_spread() -> pd.DataFrame:
    """Eager decode means that pool several lengths: their standard deviation, and what the lengths alone would give.

    ``se_over_margin``: standard error of the difference that TR147 tests for equivalence, over its margin.
    Milliseconds; a row a tested cell.
    """
    return pd.DataFrame([_spread(case) for case in _cases("p_value", "TOST")])


def _spread(case: Case) -> dict[str, object]:
    eager, compiled = case.summary(case.a[0]), case.summary(case.b[0])
    lengths = _lengths(case, case.a[0])
    alone = eager.mean * lengths.std() / lengths.mean() * math.sqrt(eager.n / (eager.n - 1))
    test = tost(eager, compiled, margin_ms(case, eager))
    facts = {"model": case.row(case.a[0])["model"], "gpu": case.row(case.a[0])["gpu"], "claim_id": case.claim_id}
    return facts | {"std_ms": eager.std, "lengths_ms": alone, "se_over_margin": test.se / test.margin}


def survivors() -> pd.DataFrame:
    """Compiled decode means over the rows that did not crash, against eager: as printed, and a token.

    Columns claim_id, survivors, crash_rate, pooled_pct, per_token_pct (percent of eager's latency, which is taken to
    grow in proportion to the tokens), most_tokens.
    """
    return pd.DataFrame([_surviving(case) for case in _cases("cohens_d", "survivors")])


def _surviving(case: Case) -> dict[str, object]:
    (row,), (eager,) = case.a, case.b
    mean, whole = case.cell(row, "mean_ms"), case.cell(eager, "mean_ms")
    tokens = _lengths(case, row).mean() / _lengths(case, eager).mean()
    n, attempted = case.cell(row, "n"), case.cell(row, "n_attempted")
    percent = {"pooled_pct": 100 * (mean / whole - 1), "per_token_pct": 100 * (mean / whole / tokens - 1)}
    facts = {"claim_id": case.claim_id, "survivors": int(n), "crash_rate": 1 - n / attempted}
    return facts | percent | {"most_tokens": int(_lengths(case, eager).max())}


def power_implied() -> pd.DataFrame:
    """Watts behind TR119's printed energies: energy a million tokens over the seconds they take.

    Columns claim_id (of the energy), watts.
    """
    sources = read()
    costs = [c for c, link in sources.links.items() if c.startswith("TR119") and link["rows_a"] and link["claims"]]
    return pd.DataFrame([_watts(Case(sources, cost)) for cost in costs])


def _watts(case: Case) -> dict[str, object]:
    seconds = [1e6 / case.cell(row, "throughput_tok_s") for row in case.a]
    (energy,) = case.others
    return {"claim_id": energy, "watts": case.claim(energy) * _JOULES * len(seconds) / sum(seconds)}
