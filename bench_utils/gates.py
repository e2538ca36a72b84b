"""Checks of a whole run that must pass before its numbers count; a failed one is a row on the page."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from . import frames, physics
from .catalog import MODELS, VARIANTS
from .formatting import significant
from .plan import Preset
from .receipts import THROTTLED
from .records import TIMED, UNFINISHED

PASSED, FAILED, NOTED = "passed", "failed", "noted"
GATE = ["gate", "result", "evidence", "concerns"]
ADDITIVE = 0.15  # one region saves a little Python and a synchronisation; more than this is a different workload
CLOCKS = 0.10  # an event span leaves out a launch and a synchronisation, and no more
SYNCHRONISATION_MS = 0.05  # of calls shorter than a millisecond that is much, and no disagreement
DISTURBED = ["contaminated", "not_steady", "throttled"]
PER_CELL = (
    "every timed call",
    "greedy tokens equal",
    "logits equal",
    "no other process",
)


def run_gates(rows: pd.DataFrame, receipts: pd.DataFrame, preset: Preset, baseline: str = "eager") -> pd.DataFrame:
    """Every gate of a run: ``gate``, ``result`` (passed, failed, noted), the ``evidence``, counted from rows, and the
    variants that it ``concerns`` where it failed for some alone; empty is all.

    ``rows`` and ``receipts`` are those of one run (``frames.load``, ``frames.receipts``); exhibits are measured to
    fail, and are left out.
    """
    cells = receipts[receipts["phase"].isin(TIMED)]
    counted = cells[~cells["exhibit"]]
    checks = [
        _complete(cells, preset),
        _engaged(counted),
        _one_dtype(counted),
        _one_digest(counted),
        _one_thread_count(counted),
        _parity(receipts),
        _same_tokens(counted, baseline),
        _same_logits(counted),
        _possible(rows, receipts),
        _additive(rows),
        _clocks_agree(rows),
        prefill_grows(rows),
        _alone(counted),
        _undisturbed_host(counted),
        _steady(counted),
    ]
    return pd.DataFrame([(*check, "")[:4] for check in checks], columns=GATE)


def stopping(gates: pd.DataFrame, variants: Iterable[str] | None = None) -> list[str]:
    """Failed gates that stop every claim on speed, or every claim on the speed of some variants.

    Those that concern single cells (engagement, tokens, logits, neighbours) have made those cells' contrasts invalid
    already, and stop only the claims that rest on them.
    """
    failed = gates[(gates["result"] == FAILED) & ~gates["gate"].str.startswith(PER_CELL)]
    named = None if variants is None else set(variants)
    return [
        row.gate for row in failed.itertuples()
        if not row.concerns or named is None or named & set(row.concerns.split(", "))
    ]  # fmt: skip


def _row(gate: str, bad: int, of: int, noun: str, else_: str = FAILED) -> tuple[str, str, str]:
    if not of:
        return gate, NOTED, f"there are no {noun} to check"
    return gate, PASSED if bad == 0 else else_, f"{of - bad} of {of} {noun}"


def _complete(cells: pd.DataFrame, preset: Preset) -> tuple[str, str, str]:
    gate = "the design is complete: every cell of every round has one row, and nothing else has"
    designed = {(r, *c.process, c.key) for r in range(1, preset.rounds + 1) for c in preset.measured}
    designed |= {(0, *c.process, c.key) for c in preset.shown}
    cells = cells[
        (cells["round"] > 0) | cells["exhibit"]
    ]  # what compiles into an empty cache has rows only if it fails
    found = [tuple(row) for row in cells[["round", "model", "variant", "dtype", "cell"]].to_numpy()]
    missing, surplus = designed - set(found), len(found) - len(designed & set(found))
    result, others = PASSED if not missing and not surplus else FAILED, f", {surplus} others" if surplus else ""
    return gate, result, f"{len(designed) - len(missing)} of {len(designed)} designed rows found{others}"


def _engaged(cells: pd.DataFrame) -> tuple[str, str, str]:
    expected = [r.get("expected_calls", 0) > 0 for r in cells["receipt"]]
    compiled = cells[[asked or VARIANTS[v].compiled for asked, v in zip(expected, cells["variant"], strict=True)]]
    calls = [(r.get("compiled_calls", 0), r.get("expected_calls", 0)) for r in compiled["receipt"]]
    made, expected = sum(c for c, _ in calls), sum(e for _, e in calls)
    bad = int((compiled["status"].isin(["not_compiled", "recompile_storm", "graph_skip"])).sum())
    gate, result, evidence = _row(
        "every timed call of a compiled variant ran compiled code", bad, len(compiled), "cells"
    )
    return gate, result, f"{evidence}; {made:,} of {expected:,} calls"


def _provenance(cells: pd.DataFrame, field: str) -> pd.Series:
    return cells["receipt"].map(lambda r: r.get("provenance", {}).get(field))


def _one_dtype(cells: pd.DataFrame) -> tuple[str, str, str]:
    known = _provenance(cells, "dtype").dropna()
    bad = int((known != cells.loc[known.index, "dtype"]).sum())
    return _row("weights read back have the dtype of the label", bad, len(known), "cells")


def _one_digest(cells: pd.DataFrame) -> tuple[str, str, str]:
    digests = _provenance(cells, "digest").groupby([cells["model"], cells["dtype"]]).nunique()
    return _row(
        "all variants of a model ran the same weights, by digest",
        int((digests > 1).sum()),
        len(digests),
        "models",
    )


def _one_thread_count(cells: pd.DataFrame) -> tuple[str, str, str]:
    """Of what tells: a server is asked for as many, and what it uses is its own."""
    gate, receipts = "the same number of threads for all", [r for r in cells["receipt"] if r]
    told = [r["threads"] for r in receipts if "threads" in r]
    if not told:
        return gate, NOTED, "no engine of this run tells how many it used"
    where = "in every receipt" if len(told) == len(receipts) else f"in the {len(told)} receipts that tell"
    return gate, PASSED if len(set(told)) == 1 else FAILED, f"{', '.join(map(str, sorted(set(told))))} {where}"


def _same_tokens(cells: pd.DataFrame, baseline: str) -> tuple[str, str, str]:
    """Compares with the baseline's greedy tokens of the same round, in full precision only."""
    known = cells["receipt"].map(lambda r: "tokens" in r and r.get("arithmetic") != "mixed")
    exact = cells[(cells["dtype"] == "float32") & known]
    key = ["model", "dtype", "cell", "round"]
    tokens = exact.assign(tokens=[str(r["tokens"]) for r in exact["receipt"]])
    base = tokens[tokens["variant"] == baseline].set_index(key)["tokens"]
    others = tokens[tokens["variant"] != baseline]
    bad = sum(row.tokens != base.get(tuple(getattr(row, k) for k in key)) for row in others.itertuples())
    return _row("greedy tokens equal the baseline's", bad, len(others), "cells")


def _parity(receipts: pd.DataFrame) -> tuple[str, str, str]:
    """Against references stored with this package, by weight digest."""
    gate = "models compute what they computed when their reference was stored"
    found = [(m, r["parity"]) for m, r in zip(receipts["model"], receipts["receipt"], strict=True) if "parity" in r]
    known = {m: p for m, p in found if p["status"] != "unknown"}
    if not known:
        return gate, NOTED, "no reference is stored for these weights"
    bad = [m for m, p in found if p["status"] not in ("ok", "unknown")]
    return gate, FAILED if bad else PASSED, "; ".join(f"{m}: {p['evidence']}" for m, p in known.items())


def _same_logits(cells: pd.DataFrame) -> tuple[str, str, str]:
    finished = cells[~cells["status"].isin(UNFINISHED) & (cells["count"] > 0)]
    found = [r.get("equivalence", {}) for r in finished["receipt"]]
    shown = [e for e in found if e.get("compared") != "tokens"]  # a server shows no logits: its tokens are compared
    differences = [_difference(e) for e in shown if e]
    bad = len(shown) - sum(d <= e["tolerance"] for d, e in zip(differences, filter(None, shown), strict=True))
    gate, result, evidence = _row("logits equal plain PyTorch's along the same tokens", bad, len(shown), "cells")
    worst = max(differences, default=float("nan"))
    unseen = f"; {len(found) - len(shown)} others show none" if len(shown) < len(found) else ""
    return gate, result, f"{evidence}; largest difference {significant(worst, 2)} standard deviations{unseen}"


def _difference(found: dict) -> float:
    """How far logits were apart; endlessly where one of them was no number, for which JSON has no word."""
    return float("inf") if found["difference"] is None else found["difference"]


def _possible(rows: pd.DataFrame, receipts: pd.DataFrame) -> tuple[str, str, str]:
    """Nothing is faster than reading its weights, unless they fit the last cache."""
    gate = "no latency is below the time that reading its weights takes"
    bounds = roofline(rows, receipts)
    known = bounds[bounds["fraction"].notna() & ~bounds["resident"]] if len(bounds) else bounds
    if known.empty:
        return gate, NOTED, "no bandwidth was measured, or every model fits the last cache"
    best = known["fraction"].max()
    evidence = _row(gate, int((known["fraction"] > 1).sum()), len(known), "cells")
    return *evidence[:2], f"{evidence[2]}; at most {best:.0%} of the measured bandwidth"


def seen_once(receipts: pd.DataFrame, name: str) -> float | None:
    """What a round's first process found out about the device, the largest of the run; None where it did not."""
    return max((r[name] for r in receipts["receipt"] if r.get(name) is not None), default=None)


def roofline(rows: pd.DataFrame, receipts: pd.DataFrame) -> pd.DataFrame:
    """Each timed cell beside its memory bound: ``floor_ms`` from the bandwidth measured in this run, and the
    ``fraction`` of it that was reached; ``resident`` where the last cache may hold the weights and nothing is bound."""
    bandwidth, cache = seen_once(receipts, "bandwidth_gbs"), seen_once(receipts, "last_cache_bytes")
    cells = frames.cell_table(rows)
    if not bandwidth:
        return pd.DataFrame()
    found = []
    for cell in cells.itertuples():
        model = MODELS.get(cell.model)
        if model is None:
            continue
        sizes = (cell.prompt_tokens, cell.new_tokens, cell.batch_size)
        floor = physics.floor_ms(physics.bytes_read(model, cell.dtype, cell.phase, *sizes), bandwidth)
        found.append(
            {"model": cell.model, "variant": cell.variant, "dtype": cell.dtype, "phase": cell.phase}
            | {"median_ms": cell.median_ms, "low_ms": cell.low_ms, "high_ms": cell.high_ms}
            | {"floor_ms": floor, "fraction": floor / cell.median_ms}
            | {"resident": physics.resident(model, cell.dtype, cache), "bandwidth_gbs": bandwidth}
        )
    return pd.DataFrame(found)


def _additive(rows: pd.DataFrame) -> tuple[str, ...]:
    """A request takes as long as its phases together, within ADDITIVE, in the median round."""
    gate = f"prefill and decode add up to e2e within {ADDITIVE:.0%}"
    cells = frames.medians(rows).query("not exhibit and phase in @TIMED and status not in @DISTURBED")
    key = ["model", "variant", "dtype", "batch_size", "prompt_tokens", "round"]
    wide = cells.pivot_table(index=key, columns="phase", values="latency_ms", aggfunc="median").dropna()
    if not {"prefill", "decode", "e2e"} <= set(wide.columns) or wide.empty:
        return gate, NOTED, "no undisturbed round has all three phases"
    gap = (wide["e2e"] / (wide["prefill"] + wide["decode"]) - 1).groupby(level=["model", "variant", "dtype"]).median()
    bad = gap[gap.abs() > ADDITIVE]
    evidence = _row(gate, len(bad), len(gap), "models and variants")
    concerned = ", ".join(dict.fromkeys(bad.index.get_level_values("variant")))
    return *evidence[:2], f"{evidence[2]}; largest gap {gap.abs().max():.1%}", concerned


def _clocks_agree(rows: pd.DataFrame) -> tuple[str, str, str]:
    """The wall clock and the CUDA event span of the same region, in the median sample of each cell."""
    gate = f"wall and event clock agree within {CLOCKS:.0%}"
    timed = rows[(rows["role"] == "sample") & rows["phase"].isin(TIMED) & rows["event_ms"].notna()]
    if timed.empty:
        return gate, NOTED, "this device has no event clock"
    apart = (timed["latency_ms"] - timed["event_ms"]).abs()
    gap = (
        (apart / timed["latency_ms"])
        .where(apart > SYNCHRONISATION_MS, 0.0)
        .groupby([timed[k] for k in frames.KEY])
        .median()
    )
    evidence = _row(gate, int((gap > CLOCKS).sum()), len(gap), "cells")
    return *evidence[:2], f"{evidence[2]}; largest gap {gap.max():.1%}"


def invariant_arm(
    rows_a: pd.DataFrame, rows_b: pd.DataFrame, baseline: str = "eager", floor: float = 0.02
) -> tuple[str, str, str]:
    """Whether the arm that nothing changed for took the same time in two runs; else their comparison is void.

    ``floor`` is the A/A floor on the log scale; the drift is the largest over the cells of ``baseline``.
    """
    gate = f"the control arm {baseline} is the same in both runs"
    key = ["model", "dtype", "phase", "prompt_tokens", "new_tokens", "batch_size"]
    cells = [medians[medians["variant"] == baseline] for medians in map(frames.medians, (rows_a, rows_b))]
    a, b = (arm.groupby(key)["latency_ms"].median() for arm in cells)
    drift = np.log(b / a).dropna()
    if drift.empty:
        return gate, FAILED, "the runs share no cell of it"
    worst = drift.abs().idxmax()
    result = PASSED if drift.abs().max() <= floor else FAILED
    return (
        gate,
        result,
        f"largest drift {np.expm1(drift[worst]):+.1%} ({worst[0]}, {worst[2]}), {np.expm1(floor):.1%} allowed",
    )


def prefill_grows(rows: pd.DataFrame) -> tuple[str, str, str]:
    """Whether a longer prompt is never faster: a cache would make it so."""
    cells = frames.cell_table(rows).query("phase == 'prefill'").sort_values("prompt_tokens")
    bad = of = 0
    for _, group in cells.groupby(["model", "variant", "dtype", "batch_size"], sort=False):
        steps = list(zip(group.itertuples(), group.iloc[1:].itertuples(), strict=False))
        of += len(steps)
        bad += sum(longer.high_ms < shorter.low_ms for shorter, longer in steps)
    return _row("a longer prompt is not prefilled faster", bad, of, "pairs of lengths")


def _alone(cells: pd.DataFrame) -> tuple[str, str, str]:
    bad = int((cells["status"] == "contaminated").sum())
    shares = [s for r in cells["receipt"] if (s := r.get("others_cores")) is not None]
    gate, result, evidence = _row("no other process used the machine meanwhile", bad, len(cells), "cells")
    return gate, result, evidence + (f"; others used at most {max(shares):.2f} cores" if shares else "; others unknown")


def _undisturbed_host(cells: pd.DataFrame) -> tuple[str, str, str]:
    """From the loop that every process times first: what shares a core from outside of a virtual machine shows here."""
    gate = f"a fixed loop ran at {THROTTLED:.0%} of its usual speed or faster"
    scores = cells.drop_duplicates("process").get("host_score", pd.Series(dtype=float)).dropna()
    speed = scores / scores.median()
    gate, result, evidence = _row(gate, int((speed < THROTTLED).sum()), len(speed), "processes", NOTED)
    return gate, result, evidence + (f"; the slowest at {speed.min():.0%}" if len(speed) else "")


def _steady(cells: pd.DataFrame) -> tuple[str, str, str]:
    known = cells["steady"].dropna()
    unsteady = int((~known.astype(bool)).sum())
    return _row("times were steady before the first sample", unsteady, len(known), "cells", NOTED)
