"""Claims about latencies and their ratios, decided from committed runs; published numbers stand beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pandas as pd

from .. import catalog, frames, scaling, statistics
from ..audit.evidence import said
from ..claims import INCONCLUSIVE, LEAST_ROUNDS, REFUTED, SUPPORTED, Verdict
from ..formatting import significant, with_interval
from ..physics import BYTES
from ..records import DISQUALIFIED
from . import reported
from .evidence import Committed, Evidence
from .stated import Stated, decided, open_

_SIZES = ["prompt_tokens", "new_tokens", "batch_size"]
# Columns in which two published rows must agree to differ in dtype alone.
_SAME = ("report", "section", "gpu", "model", "phase", "scenario", "new_tokens", "compile_config", "cache")


def _judged(stated: Stated, reason: str, unit: str, value: float, low: float, high: float, n: int) -> Verdict:
    """Supported when the estimate rounds to the number printed, refuted when its interval excludes that number."""
    verdict = SUPPORTED if stated.holds(value) else INCONCLUSIVE if stated.holds(low, high) else REFUTED
    facts = {"value": float(value), "interval": (float(low), float(high)), "n": int(n), "unit": unit}
    return decided(stated, verdict, reason, **facts)


def model_ratio(stated: Stated, evidence: Evidence) -> Verdict:
    """The decode latency of one size over another's, paired by round. It "can be": one device is enough for it."""
    first, second = (f"gpt2-{size}m" for size in re.findall(r"(\d+)M", stated.claim)[:2])
    found = [
        (run, ratio)
        for run in evidence.runs
        if (ratio := _ratio(run, first, second)) is not None and ratio.n >= LEAST_ROUNDS
    ]
    origin = _origin(evidence, first, second)
    if not found:
        return open_(stated, f"{LEAST_ROUNDS} rounds of decode with {first} and {second} in one run", origin)
    words = "; ".join(f"{run.name}: {with_interval(r.estimate, r.low, r.high)} times" for run, r in found)
    best = max((r for _, r in found), key=lambda r: (stated.holds(r.estimate), stated.holds(r.low, r.high), r.estimate))
    unit = f"latency of {first} / that of {second}"
    verdict = _judged(stated, f"{words}; {origin}", unit, best.estimate, best.low, best.high, best.n)
    if verdict.verdict == SUPPORTED:
        return verdict
    way = "slower, by another factor" if best.low > 1 else "not slower" if best.high < 1 else "undecided"
    reason = f"{words}: {way} there; what can be, another device may show; {origin}"
    facts = {"value": verdict.value, "interval": verdict.interval, "n": verdict.n, "unit": unit}
    return decided(stated, INCONCLUSIVE, reason, **facts)


def _ratio(run: Committed, first: str, second: str) -> statistics.PairedRatio | None:
    if not {first, second} <= set(run.receipts["model"]):
        return None
    return scaling.model_ratio(run.rows, first, second, "eager", "decode")


def _origin(evidence: Evidence, *models: str) -> str:
    """The published milliseconds a token, and their quotient."""
    claims = [c for c in evidence.sources.claims.values() if c["metric"] == "ms_per_token"]
    printed = {name: c for name in models for c in claims if c["claim"].endswith(f", {name}")}
    if len(printed) < len(models):
        return "no report prints both"
    a, b = (printed[name] for name in models)
    quotient = significant(float(a["value"]) / float(b["value"]))
    return f"{a['report']} printed {a['value']} and {b['value']} ms a token on a GPU, {quotient} times"


def per_token(stated: Stated, evidence: Evidence) -> Verdict:
    """Milliseconds a decoded token on hardware that is not here: what is known elsewhere is said."""
    model, where = stated.shape(), stated.claim.partition(" on ")[2]
    kind, place = ("gpu", "RTX") if "RTX" in where else ("cpu", "CPU")
    gpus = {row["gpu"] for row in evidence.sources.latency.values() if row["model"].split(" (")[0] == model.name}
    if not any(where.split()[-1] in gpu.split() for gpu in gpus):
        known = [f"no published row is of {model.name} on {where}"]
    else:
        known = [f"published rows are of {', '.join(sorted(gpus))}"]
    if other := reported.uncached(model.name, place, f"transformers-{kind}", evidence):
        known.append(other[1])
    known += [f"{run.name}: {_each(cell)} ms a token" for run, cell in _eager(model.name, kind == "cpu", evidence)]
    return open_(stated, f"decode of {model.name} on {where}", "; ".join(known))


def _each(cell: pd.Series) -> str:
    return with_interval(*(cell[c] / cell["new_tokens"] for c in ("median_ms", "low_ms", "high_ms")))


def _eager(model: str, on_cpu: bool, evidence: Evidence) -> Iterator[tuple[Committed, pd.Series]]:
    """Eager decode cells of a model in full precision, of runs with enough rounds."""
    for run in evidence.runs:
        if run.on_cpu == on_cpu and model in set(run.receipts["model"]):
            cells = run.cells[(run.cells["model"] == model) & (run.cells["rounds"] >= LEAST_ROUNDS)]
            for _, cell in cells.query("variant == 'eager' and phase == 'decode' and dtype == 'float32'").iterrows():
                yield run, cell


def cpu_over_gpu(stated: Stated, evidence: Evidence) -> Verdict:
    """Times of one model and one request on a CPU and on a GPU: of these two devices, and of no others."""
    name = stated.shape().name
    cpu, gpu = (list(_eager(name, on_cpu, evidence)) for on_cpu in (True, False))
    pairs = [(a, b) for a in cpu for b in gpu if (a[1][_SIZES] == b[1][_SIZES]).all()]
    published = _published_ratio(name, evidence)
    if not pairs:
        return open_(stated, f"decode of {name} on a CPU and on a GPU, of one request,", published)
    (a, slow), (b, fast) = pairs[0]
    value = slow["median_ms"] / fast["median_ms"]
    low, high = slow["low_ms"] / fast["high_ms"], slow["high_ms"] / fast["low_ms"]
    reason = f"{a.name} over {b.name}: two other devices have another ratio; {published}"
    return _judged(stated, reason, "times the latency", value, low, high, min(slow["rounds"], fast["rounds"]))


def _published_ratio(name: str, evidence: Evidence) -> str:
    places = (("CPU", "transformers-cpu"), ("RTX", "transformers-gpu"))
    cpu, gpu = (reported.uncached(name, place, backend, evidence) for place, backend in places)
    return said("{cpu}; {gpu}: {x} times", cpu=cpu[1], gpu=gpu[1], x=cpu[0] / gpu[0]) if cpu and gpu else ""


def speedup(stated: Stated, evidence: Evidence) -> Verdict:
    """Half precision against full, eager decode on a GPU, paired by round."""
    model = stated.shape()
    for run in evidence.runs:
        if not run.on_cpu and model.name in set(run.receipts["model"]) and (found := _halved(run, model.name)):
            reason = f"{run.name}, eager decode; {_published(evidence)}"
            return _judged(stated, reason, "times as fast", found.estimate, found.low, found.high, found.n)
    most = BYTES["float32"] / BYTES["float16"]
    known = said("where only reading weights costs time, half the bytes make it {most} times as fast", most=most)
    needed = f"{LEAST_ROUNDS} rounds of eager decode of {model.name} in float16 and float32 on a GPU"
    return open_(stated, needed, f"{known}; {_published(evidence)}")


def _halved(run: Committed, model: str) -> statistics.PairedRatio | None:
    """Latency in float32 over that in float16, of the rounds that have both."""
    cells = frames.medians(run.rows).query("model == @model and variant == 'eager' and phase == 'decode'")
    cells = cells[~cells["exhibit"].astype(bool) & ~cells["status"].isin(DISQUALIFIED)]
    wide = cells.pivot_table(index=["round", *_SIZES], columns="dtype", values="latency_ms")
    if not {"float32", "float16"} <= set(wide.columns):
        return None
    logs = np.log(wide["float32"] / wide["float16"]).dropna().groupby("round").mean()
    return statistics.paired_ratio(logs) if len(logs) >= LEAST_ROUNDS else None


def _published(evidence: Evidence) -> str:
    """Eager rows of one report that differ in dtype alone, and their quotients."""
    rows = [r for r in evidence.sources.latency.values() if r["compile_mode"] == "eager" and r["mean_ms"]]
    rows = [r for r in rows if r["model"] in catalog.MODELS]
    halves = {tuple(r[k] for k in _SAME): r for r in rows if r["dtype"] == "fp16"}
    pairs = [(r, halves.get(tuple(r[k] for k in _SAME))) for r in rows if r["dtype"] == "fp32"]
    found = [
        f"{a['report']} {a['model']} {a['phase']} {significant(float(a['mean_ms']) / float(b['mean_ms']))}"
        for a, b in pairs
        if b
    ]
    return f"published for eager: {', '.join(found)} times as fast" if found else "no report varies the dtype alone"
