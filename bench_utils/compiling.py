"""What compiling costs, when it pays, and how much of it really ran."""

from __future__ import annotations

import pandas as pd

from . import frames


def shares(rows: pd.DataFrame, phase: str = "decode") -> pd.DataFrame:
    """Calls of compiled code per timed call of a phase, at worst: a row a model and variant that must make some.

    A variant with a call that nobody counted has no row: it is not known to be complete.
    """
    samples = rows[(rows["role"] == "sample") & (rows["phase"] == phase) & (rows["expected_calls"] > 0)]
    grouped = samples.groupby(["model", "variant"], sort=False)
    found = grouped.agg(
        compiled=("compiled_calls", lambda calls: calls.min(skipna=False)),
        expected=("expected_calls", "max"),
        n=("index", "size"),
    )
    return found.dropna(subset="compiled").reset_index()


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
