"""Claims about the published reports, decided from the rows that the reports publish."""

from __future__ import annotations

import re

import pandas as pd

from ..audit.evidence import said
from ..catalog import Model
from ..claims import Verdict
from ..formatting import significant
from .evidence import Evidence
from .stated import Stated, either, undecided

_REPORT = re.compile(r"(TR\d+)")
_DATA = re.compile(r"\((TR\d+) data\)")
_LABEL = "label only"  # a compile mode that never compiled


def _rows(stated: Stated, evidence: Evidence) -> tuple[str, list[dict[str, str]]]:
    """The report that the sentence names, and its rows."""
    report = _REPORT.search(stated.claim)[0]
    return report, [row for row in evidence.sources.latency.values() if _of(row) == report]


def _of(row: dict[str, str]) -> str:
    """The report of a row without its version; a table about another report's data belongs to that one."""
    return (_DATA.search(row["section"]) or _REPORT.search(row["report"]))[1]


def backends(stated: Stated, evidence: Evidence) -> Verdict:
    """Backends among the report's rows; of these, those with a successful row, and those that are labels only."""
    report, rows = _rows(stated, evidence)
    listed = dict.fromkeys(row["backend"] for row in rows)
    ran = {row["backend"] for row in rows if row["n"] not in ("", "0")}
    labels = {row["backend"] for row in rows if row["compile_mode"] == _LABEL}
    reason = (
        f"{report} lists {len(listed)}: {', '.join(listed)}; {len(ran)} of them have a successful row, and "
        f"{len(labels)} of those are labels of a compilation that never ran"
    )
    return either(stated, stated.holds(len(listed)), reason, value=len(listed), unit="backends listed")


def groups(stated: Stated, evidence: Evidence) -> Verdict:
    """Families of the models that the report names as its own, and the models that its tables keep apart."""
    report, rows = _rows(stated, evidence)
    models = [model for model in evidence.sources.models.values() if report in _REPORT.findall(model["source"])]
    families = dict.fromkeys(_family(model["id"]) for model in models)
    apart = dict.fromkeys(row["model"] for row in rows)
    reason = (
        f"{len(models)} models of {len(families)} families have {report} as their source ({', '.join(families)}); its "
        f"tables keep {len(apart)} apart: {', '.join(apart)}"
    )
    return either(stated, stated.holds(len(families)), reason, value=len(families), unit="families")


def _family(name: str) -> str:
    """The maker's name of a model's family: "qwen2.5" of "qwen2.5-7b", "gpt2" of "tiny-gpt2"."""
    return "gpt2" if "gpt2" in name else re.split(r"[-:](?=[\dl])", name)[0]


def used(stated: Stated, evidence: Evidence) -> Verdict:
    """Whether the report has a row of the model, and which reports have."""
    report, rows = _rows(stated, evidence)
    name = stated.claim.split()[0]
    mine = [row for row in rows if row["model"] == name]
    others = dict.fromkeys(_of(row) for row in evidence.sources.latency.values() if row["model"] == name)
    models = ", ".join(dict.fromkeys(row["model"] for row in rows))
    reason = (
        f"{len(mine)} of {report}'s {len(rows)} rows are of {name} (it ran {models}); rows of {name}: "
        f"{', '.join(sorted(others)) or 'in no report'}"
    )
    return either(stated, bool(mine) == (stated.value == "yes"), reason, value=len(mine), unit=f"rows of {name}")


def trained(stated: Stated, evidence: Evidence) -> Verdict:
    """A published perplexity beside that of guessing; whose checkpoint it was is not known."""
    model = stated.shape()
    found = [c for c in evidence.sources.claims.values() if c["claim"] == f"Perplexity of {model.name}"]
    needed = "the checkpoint's own perplexity on a text would decide it"
    if not found:
        return undecided(stated, needed)
    value = float(found[0]["value"])
    reason = said(
        "{report} measured a perplexity of {value:,.0f} for a file of that name, {ratio:.4f} times the {n} of guessing "
        "among its vocabulary, which is that of weights never trained; {needed}", report=found[0]["report"],
        value=value,
        ratio=value / model.vocabulary, n=model.vocabulary, needed=needed,
    )  # fmt: skip
    return undecided(stated, reason, value=value / model.vocabulary, unit="times the perplexity of guessing")


def models_by_report(evidence: Evidence) -> pd.DataFrame:
    """Published rows by model of the cards and report: one row a model, one column a report, a sum of 0 included."""
    rows = evidence.sources.latency.values()
    reports = sorted({_of(row) for row in rows})
    table = [_counts(model, reports, evidence) for model in evidence.models]
    return pd.DataFrame(table, columns=["model", *reports])


def _counts(model: Model, reports: list[str], evidence: Evidence) -> dict[str, object]:
    mine = [_of(row) for row in evidence.sources.latency.values() if row["model"].split(" (")[0] == model.name]
    return {"model": model.name} | {report: mine.count(report) for report in reports}


def uncached(model: str, where: str, backend: str, evidence: Evidence) -> tuple[float, str] | None:
    """Milliseconds a token of a published generation without cache, one request, and who printed it; None without."""
    rows = [
        row for row in evidence.sources.latency.values()
        if row["model"].split(" (")[0] == model and row["phase"] == "generate_uncached" and where in row["gpu"]
        and row["backend"] == backend and row["scenario"].startswith("single")
    ]  # fmt: skip
    if not rows:
        return None
    each = sorted(float(row["mean_ms"] or row["median_ms"]) / int(row["new_tokens"]) for row in rows)
    middle = each[len(each) // 2]
    return middle, f"{_of(rows[0])}, {rows[0]['gpu']}: {significant(middle)} ms a token, without a cache"
