"""TR147's index of reproducibility over stacks, with its own condition enforced: a control that drifted voids it."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping

import pandas as pd

from .. import frames, published
from ..audit.control import LIMIT_D
from ..catalog import VARIANTS
from ..contrasts import CELL
from ..formatting import significant
from ..records import DISQUALIFIED, TIMED
from ..statistics import compare_summaries, summarise
from .outcomes import SUSPECTED, triton_comparison

HOLDS, VOID = "holds", "void"
BANDS = ((10.0, "catastrophic"), (2.0, "fragile"), (LIMIT_D, "sensitive"), (0.0, "robust"))  # of |d|, as TR147 has them
LEAST_STACKS = 2
INDEX = ["platforms", "model", "phase", "cache", "mode", "stacks", "index", "band", "control", "verdict", "reason"]
_EFFECT = re.compile(
    r"Cross-version effect size (\S+) vs (\S+), (\S+) (Dynamic|Static) (eager|default|reduce-overhead)( survivors)?"
)
_PHASES = {"kv_decode": "decode"}


def band(index: float) -> str:
    """TR147's word for an index, the largest |d| between two stacks."""
    return next(word for least, word in BANDS if index >= least)


def judge(index: float, control: float, stacks: int, doubts: list[str]) -> tuple[str, str]:
    """Whether an index holds, and why not: it is void with fewer than two stacks, with a control unknown or drifted by
    LIMIT_D or more, and where ``doubts`` say that an arm is not what its label says."""
    reasons = [f"{stacks} stack"] if stacks < LEAST_STACKS else []
    if math.isnan(control):
        reasons.append("no effect size of the control is known")
    elif control >= LIMIT_D:
        reasons.append(f"the control drifted by |d| = {significant(control, 4)}, the limit is {LIMIT_D}")
    reasons += ["no effect size of the compiled arm is known"] if math.isnan(index) else []
    return (VOID if reasons or doubts else HOLDS), "; ".join([*reasons, *doubts])


def published_effects() -> pd.DataFrame:
    """Effect sizes between two Triton versions that TR147 prints: a row a phase, cache, mode and pair of versions.

    Columns ``after``, ``before``, ``phase``, ``cache``, ``mode``, ``survivors`` (of them alone), ``effect_size``,
    ``claim_id``.
    """
    claims = published.claims()
    rows = []
    for claim in claims[claims["metric"] == "cohens_d"].itertuples():
        if found := _EFFECT.fullmatch(claim.claim):
            after, before, phase, cache, mode, survivors = found.groups()
            rows.append({
                "after": after, "before": before, "phase": _PHASES.get(phase, phase), "cache": cache.lower(),
                "mode": mode, "survivors": bool(survivors), "effect_size": float(claim.value),
                "claim_id": claim.claim_id,
            })  # fmt: skip
    return pd.DataFrame(rows)


def published_index(table: pd.DataFrame) -> pd.DataFrame:
    """The index of every compiled arm of TR147's Triton comparison, a row a phase, cache and mode: INDEX.

    ``table`` comes from ``outcomes``: an arm that it suspects to have run eager on one of the stacks is no compiled
    arm there. Effect sizes between the two newer versions are not printed, so an index is the largest printed.
    """
    effects = published_effects()
    key = ["phase", "cache"]
    control = effects[effects["mode"] == "eager"].groupby(key)["effect_size"].agg(lambda d: d.abs().max()).to_dict()
    rows = []
    for (phase, cache, mode), mine in effects[effects["mode"] != "eager"].groupby([*key, "mode"], sort=False):
        versions = sorted({*mine["after"], *mine["before"]})
        facts = {"phase": phase, "cache": cache, "mode": mode, "stacks": ", ".join(versions)}
        arm = _arm(table, facts, versions)
        index, drift = float(mine["effect_size"].abs().max()), control.get((phase, cache), math.nan)
        verdict, reason = judge(index, drift, len(versions), _doubts(mine, arm, phase))
        known = {"platforms": ", ".join(arm["gpu"].unique()), "model": ", ".join(arm["model"].unique())}
        rows.append(known | facts | {"index": index, "band": band(index), "control": drift} | _said(verdict, reason))
    return pd.DataFrame(rows, columns=INDEX)


def _said(verdict: str, reason: str) -> dict[str, str]:
    return {"verdict": verdict, "reason": reason}


def _arm(table: pd.DataFrame, facts: dict, versions: list[str]) -> pd.DataFrame:
    """The contrasts of the Triton comparison that an index is about: those of experiments with several versions."""
    mine = triton_comparison(table)
    mine = mine[mine["triton"].isin(versions)]
    for column in ("phase", "cache", "mode"):
        mine = mine[mine[column] == facts[column]]
    return mine


def _doubts(effects: pd.DataFrame, arm: pd.DataFrame, phase: str) -> list[str]:
    """Why the arms of an index may not be what their labels say."""
    found = []
    if effects["survivors"].any():
        found.append("one side is of survivors alone")
    suspected = sorted(set(arm.loc[arm["outcome"] == SUSPECTED, "triton"]))
    if suspected:
        found.append(f"the compiled arm is a suspected fallback on {', '.join(suspected)}")
    if phase == "decode":
        found.append("its spread is that of pooled lengths, against which no effect shows")
    return found


# ---------------------------------------------------------------- measured


def measured_index(stacks: Mapping[str, pd.DataFrame], baseline: str = "eager") -> pd.DataFrame:
    """The index over stacks measured together, a row a cell and compiled variant, INDEX; ``stacks`` are rows by stack.

    An effect size is that of the rounds' medians, six or more a stack. A cell whose status disqualifies it counts on
    no stack; a variant that one stack could not measure is left out of it.
    """
    medians = pd.concat([frames.medians(rows).assign(stack=name) for name, rows in stacks.items()], ignore_index=True)
    medians = medians[medians["phase"].isin(TIMED) & ~medians["exhibit"].astype(bool)]
    bad = medians["status"].isin(DISQUALIFIED)
    arms = dict(list(medians[~bad].groupby([*CELL, "variant"], sort=False)))
    rows = []
    for key, mine in arms.items():
        cell, variant = key[:-1], key[-1]
        if variant in VARIANTS and VARIANTS[variant].compiled and (*cell, baseline) in arms:
            rows.append(_measured_row(dict(zip(CELL, cell, strict=True)), variant, mine, arms[(*cell, baseline)]))
    return pd.DataFrame(rows, columns=INDEX)


def _measured_row(cell: dict, variant: str, mine: pd.DataFrame, control: pd.DataFrame) -> dict:
    names = list(dict.fromkeys(mine["stack"]))
    index, drift = _largest(mine), _largest(control[control["stack"].isin(names)])
    verdict, reason = judge(index, drift, len(names), [])
    return {
        "platforms": "measured together", "model": cell["model"], "phase": cell["phase"], "cache": "", "mode": variant,
        "stacks": ", ".join(names), "index": index, "band": band(index) if index == index else "", "control": drift,
    } | _said(verdict, reason)  # fmt: skip


def _largest(cells: pd.DataFrame) -> float:
    """The largest |d| between the medians of two stacks; NaN with fewer than two that have a spread."""
    arms = [mine["latency_ms"].to_numpy() for _, mine in cells.groupby("stack", sort=False) if len(mine) >= 2]
    pairs = [compare_summaries(summarise(a), summarise(b)).cohens_d for a, b in itertools.combinations(arms, 2)]
    return max(map(abs, pairs), default=math.nan)
