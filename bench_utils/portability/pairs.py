"""Every pair of platforms on every contrast they share: same outcome, shifted, reversed, or not comparable."""

from __future__ import annotations

import itertools
import math
from collections.abc import Container, Iterable, Sequence
from types import SimpleNamespace

import pandas as pd

from .. import statistics
from ..errors import BenchError, unknown
from ..shifts import shift
from .outcomes import AMBIGUOUS, CRASHED, FASTER, INVALID, NOISE, SLOWER, SURVIVORS, SUSPECTED
from .printed import SETTING

AGREES, SHIFTED, REVERSED, NOT_COMPARABLE = "same outcome", "shifted", "reversed", "not comparable"
RESULTS = (AGREES, SHIFTED, REVERSED, NOT_COMPARABLE)
PLATFORM = (
    "gpu",
    "torch",
    "triton",
    "code",
    "libraries",
)  # factors of a platform; the rest of SETTING belongs to the contrast
MACHINE = (*PLATFORM, "config")  # another machine, with whatever software came with it
# A question is which factors may differ, or be unstated, between the two sides of a pair.
QUESTIONS = {
    "another machine, whatever its stack": MACHINE,
    "another GPU and nothing else": ("gpu",),
    "another stack on the same GPU": ("torch", "triton", "libraries"),
    "another Triton and nothing else": ("triton",),
    "another cache and nothing else": ("cache",),
    "another compile mode and nothing else": ("mode",),
}
_WORDS = {
    "gpu": "GPU", "torch": "torch", "triton": "Triton", "code": "code of the engine", "libraries": "other libraries",
    "config": "dynamic flag",
}  # fmt: skip
_WORKLOAD = {"dtype": "dtypes", "prompts": "prompts", "new_tokens": "tokens", "timer": "timers"}
_UNCOUNTED = {SUSPECTED: "suspected fallback on", SURVIVORS: "survivors only on", INVALID: "invalid on"}
ARM = ["platform", "kind", "outcome", "ratio", "low", "high", "n", "floor", "share", "source"]
PAIR = [
    "model", "phase", "dtype", "mode", "cache", *(f"{name}_{side}" for side in "ab" for name in ARM), "shift", "low",
    "high", "p", "differ", "unstated", "result", "reason",
]  # fmt: skip


def compare(table: pd.DataFrame, across: Sequence[str] = MACHINE, drifted: Container = ()) -> pd.DataFrame:
    """A row a pair of platforms and shared contrast, PAIR; ``table`` comes from ``outcomes``.

    A contrast is shared when model, phase, and the factors of the compiled arm that ``across`` does not name (mode,
    cache) are the same. Factors named in ``across`` may differ or be unstated; where any other does, the pair is not
    comparable and the ``reason`` lists them. What one experiment leaves unstated on one GPU is the same throughout it.
    ``shift`` is how many times the ratio of ``a`` that of ``b`` is, with its 95 % interval where both have one.
    ``drifted`` holds what is void, a control having moved: pairs of platforms' names, with model and phase. Raises
    BenchError for an unknown factor.
    """
    for factor in across:
        if factor not in SETTING:
            raise unknown("factor:", factor, SETTING)
    if not across:
        raise BenchError("pairs need a factor to differ in; name one or more in across")
    pairs = [_pair(a, b, across, drifted) for a, b in _candidates(table, across)]
    found = pd.DataFrame(pairs, columns=PAIR)
    return _decided(found)


def _candidates(table: pd.DataFrame, across: Sequence[str]) -> Iterable[tuple]:
    """Pairs of rows of one model and phase that differ in something ``across`` names; platforms in the order of the
    table."""
    order = {name: place for place, name in enumerate(dict.fromkeys(table["platform"]))}
    same = ["model", "phase", *({"mode", "cache"} - set(across))]
    of_platform = bool(set(across) & set(PLATFORM))
    for _, mine in table.groupby(sorted(same), sort=False):
        for a, b in itertools.combinations(mine.itertuples(), 2):
            if (a.platform != b.platform) if of_platform else _differ_within(a, b, across):
                yield sorted((a, b), key=lambda row: order[row.platform])


def _differ_within(a, b, across: Sequence[str]) -> bool:
    return a.platform == b.platform and any(getattr(a, f) != getattr(b, f) for f in across)


def _pair(a, b, across: Sequence[str], drifted: Container) -> dict:
    differ, unstated = factors(a, b)
    arms = {f"{name}_{side}": getattr(arm, name) for side, arm in (("a", a), ("b", b)) for name in ARM}
    same = {
        name: getattr(a, name)
        if getattr(a, name) == getattr(b, name)
        else f"{getattr(a, name) or 'unstated'} / {getattr(b, name) or 'unstated'}"
        for name in ("dtype", "mode", "cache")
    }
    reason = _refusal(a, b, [f for f in differ if f not in across], [f for f in unstated if f not in across])
    if not reason and (frozenset((a.platform, b.platform)), a.model, a.phase) in drifted:
        reason = "the control drifted between them"
    effect = None if reason or CRASHED in (a.outcome, b.outcome) else _shift(a, b)
    numbers = {"shift": b.ratio / a.ratio if not reason else math.nan, "low": math.nan, "high": math.nan, "p": math.nan}
    if effect is not None:
        numbers = {"shift": effect.estimate, "low": effect.low, "high": effect.high, "p": effect.p}
    words = {"differ": _listed(differ), "unstated": _listed(unstated)}
    return {"model": a.model, "phase": a.phase} | same | arms | numbers | words | {"result": "", "reason": reason}


def factors(a, b) -> tuple[list[str], list[str]]:
    """Factors of SETTING that two contrasts are known to differ in, and those that one of them does not state.

    What neither states counts as equal within one experiment on one GPU.
    """
    differ, unstated = [], []
    together = a.chapter == b.chapter and a.gpu == b.gpu
    for factor in SETTING:
        one, other = getattr(a, factor), getattr(b, factor)
        if one and other:
            differ += [factor] if one != other else []
        elif one or other or not together:
            unstated.append(factor)
    return differ, unstated


def _refusal(a, b, differ: list[str], unstated: list[str]) -> str:
    """Why a pair cannot be compared; empty when it can."""
    if differ:
        return f"they differ in {_listed(differ)} as well"
    if unstated:
        return f"not stated by both: {_listed(unstated)}"
    other = [words for name, words in _WORKLOAD.items() if getattr(a, name) != getattr(b, name)]
    if other:
        return f"other {' and '.join(other)}"
    bad = [f"{_UNCOUNTED[arm.outcome]} {arm.platform}" for arm in (a, b) if arm.outcome in _UNCOUNTED]
    return "; ".join(bad)


def _listed(factors: Iterable[str]) -> str:
    return ", ".join(_WORDS.get(factor, factor) for factor in factors)


def _shift(a, b) -> statistics.PairedRatio | None:
    """The ratio of two ratios with its interval; None where one of them has none."""
    if not (a.low < a.high and b.low < b.high):
        return None
    sides = {
        f"{name}_{side}": getattr(arm, name) for side, arm in (("a", a), ("b", b)) for name in ("ratio", "low", "high")
    }
    return shift(SimpleNamespace(**sides, rounds_a=int(a.n), rounds_b=int(b.n)))


def _decided(pairs: pd.DataFrame) -> pd.DataFrame:
    """Results over all pairs, the differences that intervals show corrected by Holm."""
    if pairs.empty:
        return pairs
    kept = statistics.holm(pairs["p"].to_list())
    results = [_result(pair, keep) for pair, keep in zip(pairs.itertuples(), kept, strict=True)]
    reasons = [reason or found for reason, (_, found) in zip(pairs["reason"], results, strict=True)]
    return pairs.assign(result=[result for result, _ in results], reason=reasons)


def _result(pair, significant: bool) -> tuple[str, str]:
    if pair.reason:
        return NOT_COMPARABLE, pair.reason
    words = {pair.outcome_a, pair.outcome_b}
    if AMBIGUOUS in words:
        return _undecided(pair, significant)
    if words == {CRASHED}:
        return AGREES, "both crash"
    if CRASHED in words or words == {FASTER, SLOWER}:
        return REVERSED, f"{pair.outcome_a}, then {pair.outcome_b}"
    moved, how = _moved(pair, significant)
    if len(words) > 1:  # on either side of a threshold they may be as near as noise
        said = f"{pair.outcome_a}, then {pair.outcome_b}"
        return (SHIFTED, said) if moved else (NOT_COMPARABLE, f"{said}: no shift beyond noise")
    return (SHIFTED if moved else AGREES), how


def _undecided(pair, significant: bool) -> tuple[str, str]:
    """An outcome that its run leaves open may still be seen to move, and is never the same as another."""
    if CRASHED not in (pair.outcome_a, pair.outcome_b) and _moved(pair, significant)[0]:
        return SHIFTED, "by the interval, one side undecided"
    named = ((pair.outcome_a, pair.platform_a), (pair.outcome_b, pair.platform_b))
    return NOT_COMPARABLE, "; ".join(f"undecided on {platform}" for word, platform in named if word == AMBIGUOUS)


def _moved(pair, significant: bool) -> tuple[bool, str]:
    """Whether the ratio of ratios lies beyond the noise of both, and what that rests on."""
    band = max(value for value in (pair.floor_a, pair.floor_b, 0.0) if value == value) or NOISE
    if pair.low == pair.low:
        beyond = math.log(pair.low) > band or math.log(pair.high) < -band
        return beyond and significant, "by the interval"
    return abs(math.log(pair.shift)) > band, "by means alone"


def kept(pairs: pd.DataFrame) -> pd.Series:
    """Whether both sides of a pair that can be compared came out the same way, whatever the size."""
    return (pairs["result"] != NOT_COMPARABLE) & (pairs["outcome_a"] == pairs["outcome_b"])


def refusals(pairs: pd.DataFrame) -> pd.Series:
    """How many pairs each reason keeps from being compared, without the platforms' names; most frequent first."""
    refused = pairs.loc[pairs["result"] == NOT_COMPARABLE, "reason"]
    bare = [" and ".join(dict.fromkeys(part.partition(" on ")[0] for part in text.split("; "))) for text in refused]
    return pd.Series(bare, dtype=object).value_counts()


def matrix(pairs: pd.DataFrame, platforms: Sequence[str]) -> pd.DataFrame:
    """Pairs of platforms, a row a pair in the order of ``platforms``: contrasts ``shared``, ``compared``, those that
    ``kept`` their outcome, and how many came out each way."""
    rows = []
    for a, b in itertools.combinations(platforms, 2):
        mine = pairs[pairs["platform_a"].isin([a, b]) & pairs["platform_b"].isin([a, b])]
        counts = {word: int((mine["result"] == word).sum()) for word in RESULTS}
        known = {"shared": len(mine), "compared": len(mine) - counts[NOT_COMPARABLE], "kept": int(kept(mine).sum())}
        rows.append({"a": a, "b": b} | known | counts)
    return pd.DataFrame(rows, columns=["a", "b", "shared", "compared", "kept", *RESULTS])


def by_question(table: pd.DataFrame, drifted: Container = ()) -> pd.DataFrame:
    """What the contrasts can say to each of QUESTIONS: pairs that are known to differ in what it names, how they came
    out, and why most were refused."""
    rows = []
    for question, across in QUESTIONS.items():
        pairs = compare(table, across, drifted)
        asked = {_WORDS.get(factor, factor) for factor in across}
        pairs = pairs[[bool(asked & set(text.split(", "))) for text in pairs["differ"]]]
        why = refusals(pairs)
        first = f"{why.index[0]} ({why.iloc[0]})" if len(why) else "none"
        counts = {word: int((pairs["result"] == word).sum()) for word in RESULTS}
        rows.append({"question": question, "pairs": len(pairs)} | counts | {"refused": first})
    return pd.DataFrame(rows)
