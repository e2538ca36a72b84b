"""Headline statements of the reports as claims, each with the verdict that the published inputs allow."""

from __future__ import annotations

from typing import NamedTuple

from .case import Case
from .control import LIMIT_D, invariant_arm_drift
from .corrections_comparisons import EQUIVALENCE, ranks, student
from .evidence import audited, ids, printed, said, sources
from .physics import decode_spread
from .printed import ALPHA
from .verdicts import NOT_RECOMPUTABLE, REPRODUCES

SUPPORTED, REFUTED, INCONCLUSIVE = "supported", "refuted", "inconclusive"


class Statement(NamedTuple):
    """A headline statement, its verdict, and the number of `unit` over `n` rows or cells that decided it."""

    id: str
    text: str
    verdict: str
    reason: str
    value: float
    unit: str
    n: int


def statements() -> list[Statement]:
    """The audited statements: id, text, verdict, reason, value, n, unit; decided by the tables alone."""
    return [state() for state in STATEMENTS]


def _mean_win() -> Statement:
    test, case = student("TR117-006"), Case(sources(), "TR117-006")
    verdict = INCONCLUSIVE if test.p >= ALPHA else SUPPORTED if test.difference < 0 else REFUTED
    reason = said("{delta} on the mean, but p = {p}", delta=printed("TR117-006"), p=test.p)
    return Statement(
        "tr117-mean", "TR117: the compile label of the GPU backend wins on mean latency.", verdict, reason,
        value=test.p, n=sum(case.counts(case.a + case.b, "n")), unit="(p of Student's test)",
    )  # fmt: skip


def _prefill() -> Statement:
    claims, test = ids("TR126", 7, 8, 9, 10), student("TR126-008")
    holds = test.p < ALPHA and test.difference < 0 and _reproduce(claims)
    case = Case(sources(), "TR126-008")
    return Statement(
        "tr126-prefill", "TR126: compiling makes prefill faster on a GPU.", SUPPORTED if holds else INCONCLUSIVE,
        said("difference, effect size, t and p reproduce: {n} of {of}", n=_count(claims), of=len(claims)),
        value=test.delta_pct, n=sum(case.counts(case.a + case.b, "n")), unit="% against eager, models pooled",
    )  # fmt: skip


def _decode() -> Statement:
    case = Case(sources(), "TR126-052")
    flagged = any("eager_fallback" in _flags(row) for row in case.b)
    verdict = INCONCLUSIVE if flagged else SUPPORTED if _reproduce(["TR126-052"]) else REFUTED
    reason = said(
        "{delta} reproduces, but the compiled rows are suspected to have run eager", delta=printed("TR126-052")
    )
    return Statement(
        "tr126-decode", "TR126: compiling brings decode nothing.", verdict, reason,
        value=float(audited().loc["TR126-052", "recomputed"]), unit="% against eager",
        n=sum(case.counts(case.a + case.b, "n")),
    )  # fmt: skip


def _flags(row: str) -> str:
    return sources().latency[row]["quality_flag"]


def _backends() -> Statement:
    table = ranks("Backends, prefill")
    ratio = table.loc["transformers-gpu-compile", "common_ms"] / table.loc["ollama", "common_ms"]
    winner = table["common_rank"].idxmin()
    return Statement(
        "tr126-backends", "TR126: of three backends, compiled transformers have the lowest prefill latency.",
        SUPPORTED if winner == "transformers-gpu-compile" else REFUTED,
        f"on the models that all three ran, {winner} has it", value=ratio, unit="times Ollama's latency",
        n=len(table["common"].iloc[0].split(", ")),
    )  # fmt: skip


def _decode_ratio() -> Statement:
    table, case = ranks("Backends, decode"), Case(sources(), "TR126-088")
    unequal = any("unequal_tokens" in _flags(row) for row in case.a + case.b)
    ratio = table.loc["transformers-gpu", "common_ms"] / table.loc["ollama", "common_ms"]
    return Statement(
        "tr126-ollama", said("TR126: Ollama decodes {ratio} times faster than eager.", ratio=case.text["value"]),
        INCONCLUSIVE if unequal else REFUTED, "other models and unequal numbers of tokens in the two arms",
        value=ratio, unit="x on the common models", n=len(table["common"].iloc[0].split(", ")),
    )  # fmt: skip


def _equivalence() -> Statement:
    p, cases = audited().loc[EQUIVALENCE, "recomputed"], [Case(sources(), claim) for claim in EQUIVALENCE]
    shown = int((p < ALPHA).sum())
    reason = said(
        "{shown} of {of} cells; the standard error is {times} times the margin",
        shown=shown, of=len(p), times=decode_spread()["se_over_margin"].min(),
    )  # fmt: skip
    return Statement(
        "tr147-equivalence", "TR147: default compilation leaves decode equivalent to eager in most cells.",
        REFUTED if shown < len(p) / 2 else SUPPORTED, reason, value=float(p.min()), unit="(smallest p of equivalence)",
        n=min(min(case.counts(case.a + case.b, "n")) for case in cases),
    )  # fmt: skip


def _control() -> Statement:
    drift = invariant_arm_drift()
    mine = drift[(drift["report"] == "TR147") & drift["effect_size"].notna()]
    worst = mine.loc[mine["effect_size"].idxmax()]
    return Statement(
        "tr147-control", "TR147: eager, the control, stays the same across Triton versions.",
        REFUTED if worst["effect_size"] >= LIMIT_D else SUPPORTED,
        said("{varied}: {pct:+.1f} %", varied=worst["varied"], pct=worst["drift_pct"]),
        value=worst["effect_size"], unit="(largest |d|)", n=len(mine),
    )  # fmt: skip


def _bandwidth() -> Statement:
    claim = audited().loc["TR126-143"]
    impossible = claim["recomputed"] > float(claim["published"])
    return Statement(
        "tr126-roofline", f"TR126: the card reads {printed('TR126-143')}.", REFUTED if impossible else INCONCLUSIVE,
        "its own prefill latencies need more", value=float(claim["recomputed"]), unit="GB/s at least",
        n=len(claim["inputs"].split()),
    )  # fmt: skip


def _anova() -> Statement:
    claim = audited().loc["TR117-011"]
    return Statement(
        "tr117-anova", f"TR117: F = {claim['published']} over five backends.",
        SUPPORTED if claim["verdict"] == REPRODUCES else REFUTED, claim["reason"],
        value=float(claim["recomputed"]), unit="(F)", n=len(claim["inputs"].split()),
    )  # fmt: skip


def _scaling() -> Statement:
    checked = audited()[audited().index.str.startswith("TR121") & (audited()["verdict"] != NOT_RECOMPUTABLE)]
    good = _count([*checked.index])
    return Statement(
        "tr121-scaling", "TR121: exponents, rank correlations and times a token follow from its table.",
        SUPPORTED if good == len(checked) else REFUTED,
        said("{good} of {of} recomputable numbers reproduce", good=good, of=len(checked)),
        value=100 * good / len(checked), unit="% reproduce", n=len(checked),
    )  # fmt: skip


def _crossover() -> Statement:
    claims, case = ids("TR118", 1, 2), Case(sources(), "TR118-002")
    text = "TR118: ONNX Runtime on the CPU falls behind compiled PyTorch from {size} parameters on."
    return Statement(
        "tr118-crossover", said(text, size=printed("TR118-002")), SUPPORTED if _reproduce(claims) else REFUTED,
        said("slope and crossover of the fitted ratio reproduce: {n} of {of}", n=_count(claims), of=len(claims)),
        value=float(audited().loc["TR118-002", "recomputed"]), unit="M parameters", n=len(case.a),
    )  # fmt: skip


def _reproduce(claims: list[str]) -> bool:
    return _count(claims) == len(claims)


def _count(claims: list[str]) -> int:
    return int((audited().loc[claims, "verdict"] == REPRODUCES).sum())


STATEMENTS = (
    _mean_win, _prefill, _decode, _backends, _decode_ratio, _equivalence, _control, _bandwidth, _anova, _scaling,
    _crossover,
)  # fmt: skip
