"""Every claim of the cards with a verdict: which rule decides which kind of claim."""

from __future__ import annotations

import math
from collections.abc import Callable

import pandas as pd

from ..audit.evidence import said
from ..claims import INCONCLUSIVE, NOT_TESTABLE, REFUTED, SUPPORTED, Verdict
from ..errors import BenchError, unknown
from . import arithmetic, compatible, measured, outside, reported, speed
from .evidence import Evidence
from .stated import FAMILY, Stated, open_

WORDS = (SUPPORTED, REFUTED, INCONCLUSIVE, NOT_TESTABLE)
Rule = Callable[[Stated, Evidence], Verdict]
_LACKING = {
    "corpus": "the checkpoint and the evaluation text, with its stride,",
    "hub": "the repository's files on the hub",
    "weights": "the checkpoint itself",
}


def beyond(stated: Stated, evidence: Evidence) -> Verdict:
    """What only a checkpoint, its repository or a text can show."""
    needed = _LACKING.get(stated.needs)
    if needed is None:
        raise BenchError(f"cards.csv: {stated.claim_id} needs {stated.needs!r}; known: {', '.join(_LACKING)}")
    other = next((s for s in evidence.claims if s.card == stated.card and s.metric == "loss" and s is not stated), None)
    if stated.metric == "loss":
        return open_(stated, needed, _losses(stated, other))
    model = stated.shape()
    known = f"the catalog of this package allows code of {model.repository} to run" if model.remote_code else ""
    return open_(stated, needed, known if stated.metric == "requires" else "")


def _losses(stated: Stated, other: Stated | None) -> str:
    """What the number means, and the other loss of its card."""
    one = said("a perplexity of exp({loss:g}) = {value:.2f}", loss=stated.number.value, value=_exp(stated))
    if other is None:
        return one
    return said(
        "{one}; {id} of the card, {claim}: {loss:g}",
        one=one,
        id=other.claim_id,
        claim=other.claim,
        loss=other.number.value,
    )


def _exp(stated: Stated) -> float:
    return math.exp(stated.number.value)


def _perplexity(stated: Stated, evidence: Evidence) -> Verdict:
    return (arithmetic if stated.needs == "arithmetic" else outside).perplexity(stated, evidence)


def _gpu_hours(stated: Stated, evidence: Evidence) -> Verdict:
    return (arithmetic.gpu_hours if stated.needs == "arithmetic" else outside.undisclosed)(stated, evidence)


def _tokens(stated: Stated, evidence: Evidence) -> Verdict:
    return (outside.optimum if "optimal" in stated.claim else outside.tokens_used)(stated, evidence)


def _speedup(stated: Stated, evidence: Evidence) -> Verdict:
    return (measured.threads if "thread" in stated.claim else speed.speedup)(stated, evidence)


# Which rule decides a quantity; configurations name several, with a slash.
RULES: dict[str, Rule] = {
    "accuracy": beyond, "backends": reported.backends, "co2": outside.carbon, "coal": outside.coal,
    "compatible": compatible.compatible, "context": arithmetic.context, "date_order": arithmetic.dates,
    "decode_latency_ratio": speed.model_ratio, "decode_per_token": speed.per_token,
    "depth_varies_alone": arithmetic.depth_alone, "design_cells": arithmetic.factorial, "distance": outside.distance,
    "embedding_rows_match": arithmetic.embedding_rows, "file_size": arithmetic.file_size, "gpu_hours": _gpu_hours,
    "load_time_ratio": measured.loading, "loss": beyond, "memory": arithmetic.memory, "model_groups": reported.groups,
    "n_head": arithmetic.heads, "output_change_with_dropout_in_eval": measured.determinism,
    "parameters": arithmetic.parameters, "parity": measured.parity, "perplexity": _perplexity,
    "ratio": speed.cpu_over_gpu, "requires": beyond, "seedlings": outside.seedlings, "speedup": _speedup,
    "storage": arithmetic.storage, "time": arithmetic.training_time, "tokens": _tokens, "trained": reported.trained,
    "used": reported.used, "variance_explained": measured.depth,
}  # fmt: skip


def verdicts(evidence: Evidence) -> list[Verdict]:
    """A verdict for every claim, in the order of the table, each with the computation that led to it.

    Raises BenchError for a claim about a quantity that no rule decides.
    """
    return [_rule(stated)(stated, evidence) for stated in evidence.claims]


def _rule(stated: Stated) -> Rule:
    if "/" in stated.metric:
        return arithmetic.configuration
    if stated.metric not in RULES:
        raise unknown(f"metric of {stated.claim_id} in cards.csv:", stated.metric, RULES)
    return RULES[stated.metric]


def by_card(found: list[Verdict], evidence: Evidence) -> pd.DataFrame:
    """Verdicts as rows: ``card`` (its number and subject), ``claim_id``, ``claim``, ``verdict``, ``reason``."""
    names: dict[str, list[str]] = {}
    for stated in evidence.claims:
        names.setdefault(stated.card, []).append(stated.model)
    labels = {card: f"{card} {FAMILY if FAMILY in about else about[0]}" for card, about in names.items()}
    rows = [
        {"card": labels[stated.card], "claim_id": v.id, "claim": v.text, "verdict": v.verdict, "reason": v.reason}
        for stated, v in zip(evidence.claims, found, strict=True)
    ]
    return pd.DataFrame(rows)


def verdict_counts(table: pd.DataFrame) -> pd.DataFrame:
    """Claims by card and verdict: one row a card, one column a verdict; `table` comes from ``by_card``."""
    counted = pd.crosstab(table["card"], table["verdict"]).reindex(columns=list(WORDS), fill_value=0)
    return counted.sort_index().rename_axis(columns=None)
