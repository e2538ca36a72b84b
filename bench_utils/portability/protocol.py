"""The five gates of TR147's integrity protocol, filled in for every platform by looking at its data."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from .. import published
from ..formatting import count
from ..gates import FAILED, NOTED, PASSED
from .pairs import AGREES, NOT_COMPARABLE, kept
from .platforms import PUBLISHED, UNSTATED, MeasuredOn

GATES = {
    "phases": "Phases apart",
    "environment": "Environment attributed",
    "rows": "Row-level evidence",
    "cache": "Cache and mode in every table",
    "elsewhere": "Same outcome elsewhere",
}
CHECK = ["platform", "kind", "gate", "result", "evidence"]
_VERIFIED = "triton_verified"  # the flag of a row that TR147 counts as evidence
_IDENTITY = ("device", "driver", "cpu", "system", "python", "torch", "triton", "transformers", "commit")
_OPTIONAL = {"driver", "triton"}  # a machine without a GPU has neither, and its identity says so


def checklist(
    cells: pd.DataFrame, table: pd.DataFrame, pairs: pd.DataFrame, measured: Iterable[MeasuredOn] = ()
) -> pd.DataFrame:
    """A row a platform and gate, CHECK: passed, failed or noted, with the evidence counted from its rows.

    ``cells`` come from ``published_cells``, ``table`` from ``outcomes``, ``pairs`` from ``compare``.
    """
    rows = []
    for platform, mine in cells.groupby("platform", sort=False):
        checks = [_phases(mine), _environment(mine), _rows(mine), _cache(mine), _elsewhere(platform, pairs)]
        rows += _named(platform, table, checks)
    for run in measured:
        checks = [_measured_phases(run), _measured_environment(run), _measured_rows(run), _measured_cache(run)]
        rows += _named(run.name, table, [*checks, _elsewhere(run.name, pairs)])
    return pd.DataFrame(rows, columns=CHECK)


def _named(platform: str, table: pd.DataFrame, checks: list[tuple[str, str]]) -> list[dict]:
    known = table.loc[table["platform"] == platform, "kind"]
    kind = known.iloc[0] if len(known) else PUBLISHED
    return [
        {"platform": platform, "kind": kind, "gate": gate, "result": result, "evidence": evidence}
        for gate, (result, evidence) in zip(GATES.values(), checks, strict=True)
    ]


def _phases(cells: pd.DataFrame) -> tuple[str, str]:
    counts = cells["phase"].value_counts(sort=False)
    said = ", ".join(f"{phase} {count(n)}" for phase, n in counts.items())
    pooled = int(cells["quality_flag"].str.contains("pooled_token_lengths|survivor_only").sum())
    said += f"; {count(pooled)} rows pool decode lengths or are what survived of them" if pooled else ""
    if not {"prefill", "decode"} & set(counts.index):
        return FAILED, f"{said}: no phase of its own"
    whole = {"prefill", "decode"} <= set(counts.index) and not pooled
    return (PASSED if whole else NOTED), said


def _environment(cells: pd.DataFrame) -> tuple[str, str]:
    first = cells.iloc[0]
    missing = [word for word, value in (("torch", first["torch"]), ("Triton", first["triton"])) if not value]
    missing += ["GPU memory"] if "contradicts" in first["gpu"] else []
    return (FAILED if missing else PASSED), f"not stated: {', '.join(missing)}" if missing else "GPU, torch and Triton"


def _rows(cells: pd.DataFrame) -> tuple[str, str]:
    """No raw row is published; what there is instead, and what the report says of its rows."""
    spread = int((cells["std_ms"].notna() | cells["ci_low_ms"].notna()).sum())
    said = f"aggregates alone; a spread in {spread} of {len(cells)}"
    unverified = int(cells["quality_flag"].str.contains(f"{_VERIFIED}_false").sum())
    return FAILED, said + (f"; compiled rows verified: {_share_verified()}" if unverified else "")


def _share_verified() -> str:
    claims = published.claims()
    claim = claims[claims["claim"].str.contains(_VERIFIED)].iloc[0]
    return f"{claim.value} {claim.unit} ({claim.claim_id})"


def _cache(cells: pd.DataFrame) -> tuple[str, str]:
    cache = (cells["cache"] == "") | cells["cache"].str.contains(UNSTATED, regex=False)
    compiled = cells["compile_mode"] != "eager"
    dynamic = int((cells.loc[compiled, "compile_config"] == "").sum())
    bad = int(cache.sum())
    said = f"cache in {len(cells) - bad} of {len(cells)} rows, mode in all"
    if dynamic:
        said += f"; the dynamic flag in {int(compiled.sum()) - dynamic} of {int(compiled.sum())} compiled ones"
    return (FAILED if bad else PASSED), said


def _elsewhere(platform: str, pairs: pd.DataFrame) -> tuple[str, str]:
    mine = pairs[(pairs["platform_a"] == platform) | (pairs["platform_b"] == platform)]
    compared = mine[mine["result"] != NOT_COMPARABLE]
    if mine.empty:
        return NOTED, "no platform shares a contrast with it"
    if compared.empty:
        return NOTED, f"none of {count(len(mine))} pairs can be compared"
    same, size = int(kept(compared).sum()), int((compared["result"] == AGREES).sum())
    result = PASSED if same == len(compared) else FAILED
    said = f"{same} of {len(compared)} compared pairs, {size} at the same size"
    return result, f"{said}; {count(len(mine) - len(compared))} cannot be compared"


# ---------------------------------------------------------------- measured


def _measured_phases(run: MeasuredOn) -> tuple[str, str]:
    counts = run.effects["phase"].value_counts(sort=False)
    both = {"prefill", "decode"} <= set(counts.index)
    return (PASSED if both else NOTED), ", ".join(f"{phase} {count(n)}" for phase, n in counts.items())


def _measured_environment(run: MeasuredOn) -> tuple[str, str]:
    identity = run.manifest.identity
    missing = [name for name in _IDENTITY if not identity.get(name) and name not in _OPTIONAL]
    there = [name for name in _IDENTITY if identity.get(name)]
    return (FAILED if missing else PASSED), f"not recorded: {', '.join(missing)}" if missing else ", ".join(there)


def _measured_rows(run: MeasuredOn) -> tuple[str, str]:
    samples = int((run.rows["role"] == "sample").sum())
    calls = [pair for key, pair in run.calls.items()]
    made, expected = sum(c for c, _ in calls), sum(e for _, e in calls)
    said = f"{count(samples)} rows; {count(made)} of {count(expected)} expected calls ran compiled code"
    return (PASSED if samples and expected else FAILED), said


def _measured_cache(run: MeasuredOn) -> tuple[str, str]:
    variants = len(set(run.effects["variant"]))
    return PASSED, f"of each of {variants} variants, from its receipt"
