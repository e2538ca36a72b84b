"""Every published claim recomputed, with a verdict and the reason for it."""

from __future__ import annotations

import functools
import math
from pathlib import Path

import pandas as pd

from ..formatting import significant
from .agreement import compare
from .case import Case
from .sources import Sources, read

REPRODUCES, DIFFERS, NOT_RECOMPUTABLE = "reproduces", "does not reproduce", "not recomputable"
VERDICTS = (REPRODUCES, DIFFERS, NOT_RECOMPUTABLE)
COLUMNS = (
    "claim_id", "report", "claim", "metric", "published", "unit", "recomputed", "tolerance", "scale", "verdict",
    "method", "inputs", "reason",
)  # fmt: skip


def recompute(folder: Path | None = None) -> pd.DataFrame:
    """One row a published claim, none left out: what it printed, what its inputs give, and a verdict.

    ``recomputed`` is NaN where nothing could be recomputed. ``tolerance`` is how far the two may lie apart: half a
    unit of the last digit printed, plus what the rounding of the inputs allows on that side; its ``scale`` is "value",
    or "log10" for p values (then in decades). ``inputs`` names rows, claims and models. ``folder`` holds other copies
    of the tables; by default the package's own are read, once. Raises ValueError for a claim without a link, or a
    link without a claim.
    """
    return _own().copy() if folder is None else _recomputed(read(folder))


@functools.cache
def _own() -> pd.DataFrame:
    return _recomputed(read())


def _recomputed(sources: Sources) -> pd.DataFrame:
    unlinked = set(sources.claims) ^ set(sources.links)
    if unlinked:
        raise ValueError(f"claims and audit_links disagree on {', '.join(sorted(unlinked))}")
    records = [_record(sources, claim_id) for claim_id in sources.claims]
    return pd.DataFrame(records, columns=list(COLUMNS))


def _record(sources: Sources, claim_id: str) -> dict[str, object]:
    claim, link = sources.claims[claim_id], sources.links[claim_id]
    known = {key: claim[key] for key in ("report", "claim", "metric", "unit")}
    known |= {"claim_id": claim_id, "published": claim["value"]}
    known["inputs"] = " ".join(_inputs(Case(sources, claim_id)))
    if not link["kind"]:
        return known | {"verdict": NOT_RECOMPUTABLE, "recomputed": math.nan, "reason": link["note"]}
    return known | _judged(sources, claim_id, link)


def _inputs(case: Case) -> list[str]:
    """Rows, claims, models, prompts and cards that a claim is recomputed from."""
    named = [case.options[name].replace(",", " ") for name in ("models", "scenario", "card") if name in case.options]
    return [*case.a, *case.b, *(other.removeprefix("-") for other in case.others), *named]


def _judged(sources: Sources, claim_id: str, link: dict[str, str]) -> dict[str, object]:
    options, found = Case(sources, claim_id).options, compare(sources, claim_id, link["kind"])
    facts = {"recomputed": found.shown, "tolerance": found.tolerance, "scale": found.scale, "method": found.method}
    undecided = facts | {"recomputed": math.nan, "tolerance": math.nan, "scale": None, "verdict": NOT_RECOMPUTABLE}
    gives = f"what is printed gives {significant(found.shown, 4)}"
    met = found.gap > 0 or found.agrees  # by a bound from below
    if options.get("bound") == "part" or (options.get("bound") == "least" and met):
        return undecided | {"reason": _join(link["note"], gives)}
    if not found.agrees and "else" in options and compare(sources, claim_id, options["else"]).agrees:
        other = "Student's test does not give it, Welch's could, from standard deviations that are not printed"
        return undecided | {"reason": _join(other, gives, link["note"])}
    verdict = REPRODUCES if found.agrees else DIFFERS
    return facts | {"verdict": verdict, "reason": _join(found.why(), link["note"])}


def _join(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def verdict_counts(audit: pd.DataFrame) -> pd.DataFrame:
    """Claims by report and verdict: one row a report, one column a verdict."""
    table = pd.crosstab(audit["report"], audit["verdict"]).reindex(columns=list(VERDICTS), fill_value=0)
    in_order = sorted(table.index, key=lambda report: (not report.startswith("TR"), report))
    return table.loc[in_order].rename_axis(columns=None)
