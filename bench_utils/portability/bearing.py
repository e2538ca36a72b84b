"""Claims of TR126 and TR147 on every platform, and whether they survive between two."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from ..claims import INCONCLUSIVE, NOT_TESTABLE, REFUTED, SUPPORTED
from ..formatting import count, significant
from .outcomes import CRASHED, FASTER, SAME, SLOWER, SUSPECTED
from .pairs import NOT_COMPARABLE, RESULTS, refusals


class Sentence(NamedTuple):
    """A claim about compiled contrasts: of which phase, mode and cache ("" is any), and the outcome it expects."""

    id: str
    reports: str
    text: str
    phase: str
    mode: str
    cache: str
    expect: str


SENTENCES = (
    Sentence("prefill-default", "TR126, TR147", "Default compilation makes prefill faster.", "prefill", "default", "",
             FASTER),
    Sentence("prefill-graphs", "TR126, TR147", "Compilation with reduce-overhead makes prefill faster.", "prefill",
             "reduce-overhead", "", FASTER),
    Sentence("decode-default", "TR147", "Default compilation leaves decode as fast as eager.", "decode", "default", "",
             SAME),
    Sentence("decode-graphs", "TR126", "Compilation with reduce-overhead leaves decode as fast as eager.", "decode",
             "reduce-overhead", "", SAME),
    Sentence("decode-graphs-crash", "TR126, TR147", "Decode with reduce-overhead crashes.", "decode",
             "reduce-overhead", "", CRASHED),
    Sentence("generate-compiled", "TR147", "Compiled gpt-fast fails.", "generate", "compiled", "", CRASHED),
)  # fmt: skip


def _of(sentence: Sentence, table: pd.DataFrame) -> pd.DataFrame:
    mine = table["phase"] == sentence.phase
    for column in ("mode", "cache"):
        wanted = getattr(sentence, column)
        mine &= (table[column] == wanted) | (wanted == "")
    return table[mine]


def on_platforms(table: pd.DataFrame) -> pd.DataFrame:
    """A row a claim and platform that has contrasts for it: ``verdict``, and the ``outcomes`` that decide it."""
    rows = []
    for sentence in SENTENCES:
        for platform, mine in _of(sentence, table).groupby("platform", sort=False):
            words = mine["outcome"].value_counts(sort=False)
            rows.append({
                "claim": sentence.text, "id": sentence.id, "platform": platform, "kind": mine["kind"].iloc[0],
                "verdict": _verdict(sentence, set(words.index)), "contrasts": len(mine),
                "outcomes": ", ".join(f"{count(n)} {word}" for word, n in words.items()), "effect": _effect(mine),
            })  # fmt: skip
    return pd.DataFrame(rows)


def _verdict(sentence: Sentence, words: set[str]) -> str:
    """Refuted by one outcome that is decided and another; supported when all are as expected."""
    against = words & ({FASTER, SLOWER, SAME, CRASHED} - {sentence.expect})
    if against:
        return REFUTED
    if words == {sentence.expect}:
        return SUPPORTED
    return INCONCLUSIVE if words & {sentence.expect, SUSPECTED} else NOT_TESTABLE


def _effect(mine: pd.DataFrame) -> str:
    """The span of the ratios, or of the shares that crashed where there is no ratio."""
    ratios, shares = mine["ratio"].dropna(), mine["share"].dropna()
    if len(ratios):
        low, high = significant(ratios.min()), significant(ratios.max())
        return f"{low} to {high} of eager" if low != high else f"{low} of eager"
    low, high = (f"{share:.0%}" for share in (shares.min(), shares.max())) if len(shares) else ("", "")
    return "" if not low else f"{low} to {high} crashed" if low != high else f"{low} crashed"


def by_platform(table: pd.DataFrame) -> pd.DataFrame:
    """``on_platforms`` as a cross: a row a platform and kind, a column a claim, in a cell verdict and outcomes."""
    found = on_platforms(table)
    effect = [f" ({text})" if text else "" for text in found["effect"]]
    found["said"] = found["verdict"] + ": " + found["outcomes"] + effect
    order = {"platform": list(dict.fromkeys(table["platform"])), "claim": [s.text for s in SENTENCES]}
    wide = found.pivot(index=["platform", "kind"], columns="claim", values="said").reset_index()
    wide = wide.set_index("platform").loc[[name for name in order["platform"] if name in set(wide["platform"])]]
    claims = [text for text in order["claim"] if text in wide]
    return wide[["kind", *claims]].fillna("").rename_axis(columns=None, index="platform")


def between_platforms(pairs: pd.DataFrame) -> pd.DataFrame:
    """A row a claim and pair of platforms that share contrasts of it: how many came out each way, their shifts, what
    the platforms ``differ`` in and leave ``unstated``, and ``why`` none can be compared where none can."""
    rows = []
    for sentence in SENTENCES:
        mine = _of(sentence, pairs)
        for (a, b), some in mine.groupby(["platform_a", "platform_b"], sort=False):
            counts = {word: int((some["result"] == word).sum()) for word in RESULTS}
            compared = some[some["result"] != NOT_COMPARABLE]
            rows.append({
                "claim": sentence.text, "id": sentence.id, "a": a, "b": b, **counts,
                "result": _overall(counts), "found": _counted(counts), "shift": _span(compared["shift"].dropna()),
                "differ": _all(some["differ"]), "unstated": _all(some["unstated"]),
                "why": "; ".join(refusals(some).index) if compared.empty else "",
            })  # fmt: skip
    return pd.DataFrame(rows)


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count(n)} {word}" for word, n in counts.items() if n)


def _all(lists: pd.Series) -> str:
    """Every name of several lists, once."""
    names = dict.fromkeys(name for text in lists for name in text.split(", ") if name)
    return ", ".join(names)


def _overall(counts: dict[str, int]) -> str:
    """The furthest that any compared contrast of the claim moved."""
    for word in ("reversed", "shifted", "same outcome"):
        if counts[word]:
            return word
    return NOT_COMPARABLE


def _span(shifts: pd.Series) -> str:
    if shifts.empty:
        return ""
    low, high = significant(shifts.min()), significant(shifts.max())
    return f"{low} to {high}" if low != high else low
