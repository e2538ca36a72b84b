"""What the comparison of platforms comes to, as sentences and heads computed from its frames."""

from __future__ import annotations

import math

import pandas as pd

from ..audit.control import LIMIT_PCT
from ..audit.sources import digests
from ..claims import Verdict
from ..formatting import count, significant, with_interval
from ..plan import Preset
from ..shifts import request
from .evidence import Evidence
from .figures import PHASES
from .headlines import WORDS, unsupported
from .outcomes import CRASHED, OUTCOMES, SUSPECTED
from .pairs import AGREES, NOT_COMPARABLE, RESULTS, REVERSED, SHIFTED
from .pairs import refusals as why_not
from .platforms import MEASURED, PUBLISHED
from .protocol import GATES

HEADS = {
    "platforms": {
        "number": "No.", "platform": "Platform", "kind": "Kind", "torch": "torch", "triton": "Triton", "source": "From",
        "contrasts": "Contrasts", "unknown": "Unknown",
        "flags": "Quality flags",
    },
    "between": {
        "claim": "Claim", "a": "Platform", "b": "Other platform", "found": "Contrasts",
        "shift": "Ratio of ratios",
        "differ": "They differ in", "unstated": "Not stated by both",
    },
    "refused": {"claim": "Claim", "why": "Why not", "pairs": "Pairs", "which": "Platforms, by number"},
    "pairs": {
        "contrast": "Contrast", "which": "Platforms, by number", "ratio_a": "Ratio", "ratio_b": "Other ratio",
        "shifted": "Ratio of ratios", "result": "Result",
    },
    "questions": {
        "question": "Survives …", "pairs": "Pairs", AGREES: "Same", SHIFTED: "Shifted", REVERSED: "Reversed",
        NOT_COMPARABLE: "Not comparable", "refused": "Most are refused because",
    },
    "index": {
        "arm": "Compiled arm", "stacks": "Stacks", "verdict": "Verdict", "reason": "Why", "index": "Index",
        "band": "Its band", "control": "Control",
    },
    "control": {
        "device": "Device", "a": "Stack", "b": "Other stack", "cell": "Cell", "moved": "Other stack over stack",
        "allowed": "Allowed", "said": "Control",
    },
    "together": {
        "device": "Device", "a": "Stack", "b": "Other stack", "contrast": "Contrast", "found_a": "Ratio",
        "found_b": "Other ratio", "shifted": "Ratio of ratios", "outcome": "Outcome",
    },
    "judged": {
        "number": "No.", "text": "Claim", "verdict": "Verdict", "found": "Value", "unit": "Of", "reason": "Why",
    },
    "engaged": {
        "number": "No.", "model": "Model", "variant": "Variant", "phase": "Phase",
        "compiled": "Calls that ran compiled code", "expected": "Expected calls", "share": "Share",
    },
    "crashes": {
        "contrast": "Contrast", "platform": "Platform", "models": "Models", "share": "Share that crashed",
        "reason": "Attempts",
    },
}  # fmt: skip


def contrast_name(row) -> str:
    """Phase, model, dtype, mode and cache of a contrast or pair, in words."""
    return f"{row.phase} · {row.model} · {row.dtype} · {row.mode} · {_cache(row)}"


def _cache(row) -> str:
    return f"{row.cache} cache" if row.cache and "/" not in row.cache else "cache unstated"


def pairs_shown(pairs: pd.DataFrame, platforms: pd.DataFrame) -> pd.DataFrame:
    """The pairs that can be compared, reversed ones first, with their numbers as text; platforms by their numbers."""
    mine = pairs[pairs["result"] != NOT_COMPARABLE]
    order = {word: place for place, word in enumerate((REVERSED, SHIFTED, AGREES))}
    mine = mine.sort_values("result", key=lambda c: c.map(order), kind="stable")
    numbers = numbered(platforms, platforms).set_index("platform")["number"]
    rows = [
        {"contrast": contrast_name(p), "which": f"{numbers[p.platform_a]} and {numbers[p.platform_b]}",
         "ratio_a": _ratio(p, "a"), "ratio_b": _ratio(p, "b"), "shifted": _shift(p),
         "result": f"{p.result}, {p.reason}"}
        for p in mine.itertuples()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(HEADS["pairs"]))


def _ratio(pair, side: str) -> str:
    ratio, low, high, share = (getattr(pair, f"{name}_{side}") for name in ("ratio", "low", "high", "share"))
    if ratio == ratio:
        return with_interval(ratio, low, high).replace("(no interval)", "(aggregate: no interval)")
    return f"{share:.0%} crash" if share == share else "none"


def _shift(pair) -> str:
    if pair.shift != pair.shift:
        return "none: a crash"
    return with_interval(pair.shift, pair.low, pair.high)


def crashes(table: pd.DataFrame) -> pd.DataFrame:
    """What crashed on each platform, models that did so alike together: the share of attempts with its interval."""
    mine = table[(table["outcome"] == CRASHED) | (table["share"] > 0)]
    mine = mine.assign(
        contrast=[f"{c.phase} · {c.mode} · {_cache(c)}" for c in mine.itertuples()],
        share=[with_interval(c.share, c.share_low, c.share_high) for c in mine.itertuples()],
    )
    alike = mine.groupby(["contrast", "platform", "share", "reason"], sort=False)["model"]
    found = alike.agg(lambda models: ", ".join(dict.fromkeys(models))).rename("models").reset_index()
    return found[list(HEADS["crashes"])]


def numbered(table: pd.DataFrame, platforms: pd.DataFrame) -> pd.DataFrame:
    """A table with a ``platform`` column, and the ``number`` that figures and lists call each platform by."""
    numbers = {name: number for number, name in enumerate(platforms["platform"], start=1)}
    return table.assign(number=[numbers[name] for name in table["platform"]])


def arms(index: pd.DataFrame) -> pd.DataFrame:
    """An index over stacks with the compiled ``arm`` of each row in words."""
    names = index[["phase", "model", "mode", "cache"]].itertuples(index=False)
    return index.assign(arm=[" · ".join(filter(None, row)) for row in names])


def groups(evidence: Evidence) -> str:
    """Which stacks were measured together on each device, and how many of their contrasts shifted, a sentence each."""
    said = []
    for device, runs in evidence.groups.items():
        mine = evidence.together[evidence.together["device"] == device]["outcome"].value_counts()
        found = ", ".join(f"{count(mine[word])} {word}" for word in sorted(mine.index))
        said.append(f"On {device}, {' and '.join(runs)} were measured together; contrasts: {found}.")
    return " ".join(said) or "No stacks were measured together yet."


def control(moved: pd.DataFrame) -> pd.DataFrame:
    """Whether the control of stacks measured together stayed, a row a pair and cell; ``moved`` is Evidence.control."""
    rows = moved.itertuples()
    return moved.assign(
        cell=[f"{row.phase} · {row.model} · {request(row)}" for row in rows],
        moved=[with_interval(row.ratio, row.low, row.high) for row in moved.itertuples()],
        allowed=[f"{math.expm1(floor):.1%}" for floor in moved["floor"]],
        said=["drifted" if drifted else "stayed" for drifted in moved["drifted"]],
    )


def together(shifts: pd.DataFrame) -> pd.DataFrame:
    """What shifted between stacks measured together, a row a pair and contrast; ``shifts`` is Evidence.together."""
    pairs = list(shifts.itertuples())
    return shifts.assign(
        contrast=[f"{pair.phase} · {pair.model} · {pair.variant}" for pair in pairs],
        found_a=[with_interval(pair.ratio_a, pair.low_a, pair.high_a) for pair in pairs],
        found_b=[with_interval(pair.ratio_b, pair.low_b, pair.high_b) for pair in pairs],
        shifted=[with_interval(pair.shift, pair.low, pair.high) for pair in pairs],
    )


def refused(between: pd.DataFrame, platforms: pd.DataFrame) -> pd.DataFrame:
    """Claims and pairs of platforms of which nothing can be compared: a row a claim and reason; ``between`` comes from
    ``between_platforms``."""
    numbers = numbered(platforms, platforms).set_index("platform")["number"]
    mine = between[between["result"] == NOT_COMPARABLE]
    rows = [
        {"claim": claim, "why": why, "pairs": len(some),
         "which": ", ".join(f"{numbers[p.a]} and {numbers[p.b]}" for p in some.itertuples())}
        for (claim, why), some in mine.groupby(["claim", "why"], sort=False)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(HEADS["refused"]))


def comparable(between: pd.DataFrame) -> pd.DataFrame:
    """Claims and pairs of platforms that have a contrast to compare."""
    return between[between["result"] != NOT_COMPARABLE]


def counted(results: pd.Series, words: tuple[str, ...]) -> str:
    """How often each word occurs, those that never do left out."""
    tally = results.value_counts()
    return ", ".join(f"{count(tally[word])} {word}" for word in words if word in tally.index) or "none"


def outcomes_in_words(table: pd.DataFrame) -> str:
    """Outcomes of published and of measured contrasts."""
    said = []
    for kind in (PUBLISHED, MEASURED):
        mine = table[table["kind"] == kind]
        if len(mine):
            said.append(f"{count(len(mine))} {kind}s" if kind == PUBLISHED else f"{count(len(mine))} {kind}")
            said[-1] += f": {counted(mine['outcome'], OUTCOMES)}"
    return "; ".join(said)


def pairs_in_words(pairs: pd.DataFrame) -> str:
    """Results over all pairs of platforms."""
    return counted(pairs["result"], RESULTS)


def refusals(pairs: pd.DataFrame) -> str:
    """Why pairs cannot be compared, most frequent reason first."""
    return "; ".join(f"{reason} ({count(n)})" for reason, n in why_not(pairs).items())


def open_headlines(found: list[Verdict]) -> str:
    """Headlines that the report's own numbers do not support, one after the other."""
    return "; ".join(f"{v.text.removeprefix('TR147: ').rstrip('.')} ({v.verdict})" for v in unsupported(found))


def ratios_in_words(table: pd.DataFrame) -> str:
    """What the figure of ratios shows: their span by phase and kind, and the marks beside them."""
    return f"Compiled / eager latency. {' '.join(_phase_in_words(table, phase) for phase in PHASES)}"


def _phase_in_words(table: pd.DataFrame, phase: str) -> str:
    mine, said = table[table["phase"] == phase], []
    for kind in (PUBLISHED, MEASURED):
        ratios = mine.loc[(mine["kind"] == kind) & (mine["outcome"] != SUSPECTED), "ratio"].dropna()
        if len(ratios):
            said.append(f"{kind} {significant(ratios.min())} to {significant(ratios.max())}")
    tally = mine["outcome"].value_counts()
    said += [f"{count(tally.get(word, 0))} {word}" for word in (SUSPECTED, CRASHED)]
    return f"{phase.capitalize()}: {', '.join(said)}."


def matrix_in_words(table: pd.DataFrame) -> str:
    """The pair matrix as a sentence."""
    some = table[table["compared"] > 0]
    return (
        f"Of {count(len(table))} pairs of platforms, {count((table['shared'] > 0).sum())} share a contrast and "
        f"{count(len(some))} have one that can be compared; of {count(some['compared'].sum())} compared contrasts "
        f"{count(some['kept'].sum())} keep their outcome, {count(some[AGREES].sum())} of them at the same size."
    )


def triton_in_words(table: pd.DataFrame) -> str:
    """The Triton comparison as a sentence."""
    suspected = table[table["outcome"] == SUSPECTED]
    return (
        f"Control and compiled arms over Triton {', '.join(sorted(set(table['triton'])))}: "
        f"{count(len(suspected))} of {count(len(table))} compiled arms are suspected fallbacks, on "
        f"{' and '.join(sorted(set(suspected['triton'])))}."
    )


def provenance(evidence: Evidence, found: list[Verdict]) -> dict[str, str]:
    """What the page rests on: tables by digest, runs, and how the headlines came out."""
    tables = digests()
    runs = "; ".join(f"{run.name}, run {run.manifest.run}" for run in evidence.measured)
    return {
        "Measured": "nothing by this page: measured platforms are complete runs",
        "Published platforms": count((evidence.platforms["kind"] == PUBLISHED).sum()),
        "Runs read": runs or "none",
        "Headlines": counted(pd.Series([v.verdict for v in found]), WORDS),
        **{f"Table of {name}": f"{tables[name][0]}, sha256 {tables[name][1]}" for name in ("latency", "claims")},
    }


def gates(checks: pd.DataFrame) -> pd.DataFrame:
    """The checklist, a row a platform and a column a gate, each cell the result and its evidence."""
    order = list(dict.fromkeys(checks["platform"]))
    said = checks.assign(said=checks["result"] + ": " + checks["evidence"])
    wide = said.pivot(index="platform", columns="gate", values="said").loc[order, list(GATES.values())]
    kinds = checks.drop_duplicates("platform").set_index("platform")["kind"]
    table = wide.rename_axis(columns=None).reset_index()
    table.insert(1, "kind", [kinds[name] for name in order])
    return table.rename(columns={"platform": "Platform", "kind": "Kind"})


def limits() -> dict[str, float]:
    """The noise below which a published ratio is no difference."""
    return {"noise": LIMIT_PCT / 100}


def minutes(plan: dict) -> float:
    """What the quick preset takes on one stack, by its own prediction; ``plan`` is the plan's table."""
    return round(Preset.model_validate(plan["presets"]["quick"]).expected_minutes(), 1)
