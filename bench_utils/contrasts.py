"""Two variants on the same cells: effects per round, with intervals and outcomes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from . import frames, statistics
from .errors import BenchError

# Statuses under which a latency exists but does not measure what its label says.
DISQUALIFIED = {
    "not_compiled", "recompile_storm", "graph_skip", "silent_fallback", "output_mismatch", "token_mismatch",
    "contaminated", "throttled",
}  # fmt: skip
CELL = [k for k in frames.KEY if k != "variant"]


def contrast(
    rows: pd.DataFrame, baseline: str = "eager", control: str | None = "eager-again", by: Sequence[str] = ()
) -> pd.DataFrame:
    """Every variant against ``baseline`` on the same cells of the same rounds.

    A row a variant and cell: ``ratio`` of latencies (variant / baseline, below one is faster) with its 95 %
    interval ``low``..``high``, ``p`` and ``p_holm_rejected`` over the whole family, ``rounds``, the A/A ``floor``
    (log scale) from ``control``, the minimum detectable effect ``mde``, the ``outcome`` and its ``reason``.
    Exhibits never enter. ``by`` orders the rows. Raises BenchError when the baseline was not measured.
    """
    cells = frames.medians(rows)
    cells = cells[~cells["exhibit"] & cells["phase"].isin(["prefill", "decode", "e2e"])]
    if baseline not in set(cells["variant"]):
        raise BenchError(
            f"baseline {baseline!r} was not measured in these rows; name one of {sorted(set(cells['variant']))}"
        )
    pairs = _pairs(rows, cells, baseline)
    floor = aa_floor(rows, baseline, control)
    found = [_effect(key, group, baseline, floor) for key, group in pairs.groupby([*CELL, "variant"], sort=False)]
    effects = pd.DataFrame(found)
    family = effects["variant"] != control
    effects["significant"] = True
    effects.loc[family, "significant"] = _holm(effects.loc[family, "p"])
    effects["outcome"] = [_outcome(row, floor) for row in effects.itertuples()]
    effects["family"] = int(family.sum())
    effects = effects.drop(columns="effect")
    return effects.sort_values([*by, *CELL, "variant"], ignore_index=True) if by else effects


def aa_floor(rows: pd.DataFrame, baseline: str, control: str | None) -> float | None:
    """How far identical code differs on this machine: the A/A floor on the log scale; None without a control."""
    cells = frames.medians(rows)
    cells = cells[~cells["exhibit"]]
    if control is None or control not in set(cells["variant"]):
        return None
    pairs = _pairs(rows, cells[cells["variant"].isin([baseline, control])], baseline)
    pairs = pairs[~pairs["status"].isin(DISQUALIFIED) & ~pairs["status_base"].isin(DISQUALIFIED)]
    ratios = [g["log_ratio"].to_numpy() for _, g in pairs.groupby(CELL, sort=False)]
    ratios = [r for r in ratios if len(r) >= 2]
    return statistics.aa_floor(ratios).value if ratios else None


def _pairs(rows: pd.DataFrame, cells: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """A row a round, variant and cell, with the log ratio to the baseline's median of the same round."""
    wide = ["status", "latency_ms", "process"]
    base = cells[cells["variant"] == baseline][[*CELL, "run", "round", *wide]]
    others = cells[cells["variant"] != baseline][[*CELL, "variant", "run", "round", *wide]]
    pairs = others.merge(base, on=[*CELL, "run", "round"], suffixes=("", "_base"))
    pairs["log_ratio"] = np.log(pairs["latency_ms"] / pairs["latency_ms_base"])
    produced = rows.drop_duplicates(["process", "phase", *CELL[3:]]).set_index(["process", "phase", *CELL[3:]])[
        "tokens"
    ]
    keys = [tuple(k) for k in pairs[["phase", *CELL[3:]]].to_numpy()]
    own = [produced.get((p, *k)) for p, k in zip(pairs["process"], keys, strict=True)]
    theirs = [produced.get((p, *k)) for p, k in zip(pairs["process_base"], keys, strict=True)]
    pairs["same_tokens"] = [a == b for a, b in zip(own, theirs, strict=True)]
    return pairs


def _effect(key: tuple, group: pd.DataFrame, baseline: str, floor: float | None) -> dict:
    log_ratios = group["log_ratio"].to_numpy()
    enough = len(log_ratios) >= 2
    effect = statistics.paired_ratio(log_ratios) if enough else None
    low, high = effect.interval if enough else (float("nan"), float("nan"))
    return dict(zip([*CELL, "variant"], key, strict=True)) | {
        "baseline": baseline,
        "baseline_ms": group["latency_ms_base"].median(),
        "variant_ms": group["latency_ms"].median(),
        "ratio": effect.estimate if enough else float(np.exp(log_ratios[0])),
        "low": low,
        "high": high,
        "p": effect.p if enough else float("nan"),
        "rounds": len(log_ratios),
        "floor": float("nan") if floor is None else floor,
        "mde": statistics.contrast_mde(effect.sd, len(log_ratios)) if enough else float("nan"),
        "reason": _reason(group),
        "effect": effect,
    }


def _reason(group: pd.DataFrame) -> str:
    """Why the contrast is invalid; empty when it is not."""
    bad = sorted((set(group["status"]) | set(group["status_base"])) & DISQUALIFIED)
    if bad:
        count = int((group["status"].isin(DISQUALIFIED) | group["status_base"].isin(DISQUALIFIED)).sum())
        return f"{', '.join(bad)} in {count} of {len(group)} rounds"
    if not group["same_tokens"].all():
        return f"tokens differ from the baseline's in {int((~group['same_tokens']).sum())} of {len(group)} rounds"
    return ""


def _holm(p: pd.Series) -> list[bool]:
    known = p.fillna(1.0)
    return statistics.holm(known.to_list()) if len(known) else []


def _outcome(row, floor: float | None) -> str:
    if row.reason:
        return "invalid"
    if row.effect is None or floor is None:
        return "ambiguous"
    return statistics.outcome(row.effect, floor, significant=row.significant)


def shares(rows: pd.DataFrame, phase: str = "decode") -> pd.DataFrame:
    """Calls of compiled code per timed call of a phase, at worst: a row a model and compiled variant."""
    samples = rows[(rows["role"] == "sample") & (rows["phase"] == phase) & (rows["expected_calls"] > 0)]
    grouped = samples.groupby(["model", "variant"], sort=False)
    return grouped.agg(
        compiled=("compiled_calls", "min"), expected=("expected_calls", "max"), n=("index", "size")
    ).reset_index()


def compile_costs(rows: pd.DataFrame, baseline: str = "eager") -> pd.DataFrame:
    """What compiling costs and when it pays: a row a model and compiled variant.

    ``cold_s`` and ``warm_s``: wall seconds of the calls during which Dynamo or Inductor still worked, of a whole
    request, with an empty and with a filled cache (median over ``warm_n`` processes; cold is measured once).
    ``saved_ms`` per decoded token against the baseline; ``tokens_cold``, ``tokens_warm``: tokens after which the
    cost is earned back, missing where nothing is saved.
    """
    start = rows[(rows["role"] == "sample") & rows["phase"].isin(["compile_cold", "compile_warm"])]
    cost = start.pivot_table(index=["model", "variant"], columns="phase", values="latency_ms", aggfunc="median") / 1e3
    decode = frames.medians(rows).query("phase == 'decode' and not exhibit")
    decode = (
        decode.assign(per_token=decode["latency_ms"] / decode["new_tokens"])
        .groupby(["model", "variant"])["per_token"]
        .median()
    )
    found = []
    for (model, variant), row in cost.iterrows():
        saved = decode.get((model, baseline), float("nan")) - decode.get((model, variant), float("nan"))
        cold, warm = row.get("compile_cold", float("nan")), row.get("compile_warm", float("nan"))
        pays = 1e3 / saved if saved > 0 else float("nan")
        found.append((model, variant, cold, warm, saved, cold * pays, warm * pays))
    columns = ["model", "variant", "cold_s", "warm_s", "saved_ms", "tokens_cold", "tokens_warm"]
    warm_n = start[start["phase"] == "compile_warm"].groupby(["model", "variant"]).size().rename("warm_n").reset_index()
    return pd.DataFrame(found, columns=columns).merge(warm_n, on=["model", "variant"], how="left")
