"""Numbers that reports published, as frames: to stand beside what was measured, never to be mixed with it."""

from __future__ import annotations

import functools
import hashlib
from importlib.resources import files

import pandas as pd

_PHASES = {"kv_decode": "decode", "e2e_kv": "e2e"}
_CONFIGS = {
    "baseline": "compile-dynamic-false",
    "padded": "compile-padded",
    "dynamic=True": "compile-dynamic-true",
}


@functools.cache
def _read(name: str) -> pd.DataFrame:
    with files("bench_utils.reference").joinpath(f"{name}.csv").open() as source:
        return pd.read_csv(source)


def digest() -> str:
    """Hash of all tables: what a page about them depends on."""
    tables = sorted(path for path in files("bench_utils.reference").iterdir() if path.name.endswith(".csv"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in tables)).hexdigest()[:12]


def latency() -> pd.DataFrame:
    """Cells of published tables; times in milliseconds, blank where not published."""
    return _read("published_latency").copy()


def claims() -> pd.DataFrame:
    """Published scalar claims."""
    return _read("published_claims").copy()


def compile_effects(report: str = "TR126", models: list[str] | None = None) -> pd.DataFrame:
    """Published eager and compiled means of single models, matched on model, dtype, configuration and phase.

    A row a pair: ``phase``, ``variant`` (the catalog's name of the configuration), ``config``, ``eager_ms``,
    ``compiled_ms``, ``ratio`` (compiled / eager), ``flags``: reasons not to trust it. Aggregates: no interval
    can be recomputed from a mean alone.
    """
    cells = latency()
    cells = cells[(cells["report"] == report) & cells["section"].str.contains("5.4|5.6|5.5|6.1", na=False)]
    key = ["gpu", "model", "dtype", "compile_config", "phase", "new_tokens"]
    eager = cells[cells["compile_mode"] == "eager"]
    compiled = cells[cells["backend"] == "transformers-gpu-compile"]
    pairs = compiled.merge(eager, on=key, suffixes=("", "_eager"))
    pairs = pairs[~pairs["model"].str.contains("pooled") & (pairs["model"].isin(models) if models else True)]
    return pd.DataFrame(
        {
            "model": pairs["model"],
            "dtype": pairs["dtype"],
            "device": pairs["gpu"],
            "phase": pairs["phase"].replace(_PHASES),
            "variant": [_variant(c) for c in pairs["compile_config"]],
            "config": pairs["compile_config"],
            "n": pairs["n"],
            "eager_ms": pairs["mean_ms_eager"],
            "compiled_ms": pairs["mean_ms"],
            "ratio": pairs["mean_ms"] / pairs["mean_ms_eager"],
            "flags": pairs["quality_flag"].fillna(""),
        }
    ).reset_index(drop=True)


def _variant(config: str) -> str:
    return next((name for word, name in _CONFIGS.items() if word in config), "compile")


def prompts() -> pd.DataFrame:
    """The published prompt sets: length stated in TR126 and tokens really in them (GPT-2 tokenizer)."""
    return _read("published_prompts").copy()
