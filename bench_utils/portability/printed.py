"""Contrasts of the published tables: compiled rows beside their eager rows, and those that a claim alone prints."""

from __future__ import annotations

import math
import re

import pandas as pd

from .. import published
from .estimates import NO_INTERVAL, Estimate, from_effect, from_summaries, summary
from .platforms import PUBLISHED, UNSTATED

# What makes two rows of one table the two arms of one contrast.
_ARM = ["platform", "section", "model", "dtype", "cache", "phase", "new_tokens"]
_SERIES = "length series"  # prompts of TR147's last stage, whose decode lengths are pooled
# TR147's repetition of TR126 names no prompt set and calls what it pools "all"; its rows are counted by TR126's design.
_PROMPTS = {"all 5": "all five sets", "all": "all five sets"}
_CONFIGS = {"padded": "padded", "dynamic=True": "dynamic=True", "dynamic=False": "dynamic=False", "auto": "auto"}
_GPUS = {"Ada": "RTX 6000 Ada", "A100": "A100-SXM4-80GB"}  # as the claims call them
_DELTA = re.compile(r"(Prefill|Decode), (default|reduce-overhead) vs eager, (Ada|A100) (\S+) (fp16|awq-4bit)")
_TRITON = re.compile(r"Triton (\S+): StaticCache prefill, (\S+) vs eager")
_EFFECT = re.compile(
    r"Effect size eager minus compiled, (Ada|A100) (\S+) (fp16|awq-4bit) (prefill|decode) (default|reduce-overhead)"
)
_DTYPE = {"fp16": "float16"}
WORKLOAD = ["model", "dtype", "phase", "prompts", "new_tokens", "timer"]
SETTING = ["gpu", "torch", "triton", "code", "libraries", "config", "cache", "mode"]
NUMBERS = ["ratio", "low", "high", "n", "p", "effect_size", "interval", "share", "failed", "tried", "floor"]
CONTRAST = [
    "platform", "kind", "chapter", "source", *WORKLOAD, *SETTING, "eager_ms", "compiled_ms", *NUMBERS, "evidence",
    "flags",
]  # fmt: skip


def printed_contrasts(cells: pd.DataFrame) -> pd.DataFrame:
    """A row a published contrast, CONTRAST; ``cells`` come from ``published_cells``.

    ``ratio`` is compiled / eager with its interval, missing where nothing printed gives one; ``failed`` of ``tried``
    attempts gave no latency; ``floor`` is the noise of the table on the log scale.
    """
    rows = [*_from_rows(cells), *_from_claims(cells)]
    return pd.DataFrame(rows, columns=CONTRAST).reset_index(drop=True)


def _from_rows(cells: pd.DataFrame) -> list[dict]:
    eager = cells[cells["compile_mode"] == "eager"]
    compiled = cells[cells["compile_mode"] != "eager"].copy()
    pooled = eager.set_index(["section", "model", "phase"])["new_tokens"].to_dict()
    survivors = compiled["quality_flag"].str.contains("survivor_only")
    compiled["attempted_tokens"] = [
        pooled.get((row.section, row.model, row.phase), row.new_tokens) if kept else row.new_tokens
        for row, kept in zip(compiled.itertuples(), survivors, strict=True)
    ]
    pairs = compiled.merge(eager, on=_ARM, how="left", suffixes=("", "_eager"))
    effects = _printed_effects()
    return [_contrast(pair, effects) for pair in pairs.to_dict("records")]


def _contrast(pair: dict, effects: dict[tuple, str]) -> dict:
    survivors = "survivor_only" in pair["quality_flag"]
    ratio = math.nan if survivors else pair["ms"] / pair["ms_eager"]
    found = Estimate() if survivors else from_summaries(summary(pair, "_eager"), summary(pair))
    effect = effects.get(tuple(pair[k] for k in ("gpu", "model", "dtype", "phase", "compile_mode")))
    if found.how == NO_INTERVAL and effect and not survivors and pair["section"].startswith("SS7"):
        found = from_effect(ratio, effect, pair["n"])
    eager_flags = pair["quality_flag_eager"] if isinstance(pair["quality_flag_eager"], str) else ""
    return _described(pair, ratio, found) | {
        "eager_ms": pair["ms_eager"], "compiled_ms": math.nan if survivors else pair["ms"], "source": pair["row_id"],
        "flags": ";".join(sorted(set(f"{pair['quality_flag']};{eager_flags}".split(";")) - {""})),
        "new_tokens": _tokens(pair["phase"], pair["attempted_tokens"]),
    }  # fmt: skip


def _described(row: dict, ratio: float, found: Estimate) -> dict:
    """What every published contrast says of itself."""
    tried = row["n_attempted"]
    cache = row["cache"] if UNSTATED not in row["cache"] else ""
    return {
        "platform": row["platform"], "kind": PUBLISHED, "chapter": row["chapter"],
        "model": row["model"], "dtype": row["dtype"], "phase": row["phase"], "timer": row["timer"],
        "prompts": _prompts(row["scenario"]),
        "gpu": row["gpu"].partition(" (")[0], "torch": row["torch"], "triton": row["triton"], "code": row["code"],
        "libraries": "",
        "config": next((name for word, name in _CONFIGS.items() if word in row["compile_config"]), ""),
        "cache": cache.removesuffix("Cache").lower(), "mode": row["compile_mode"],
        "ratio": ratio, "low": found.low, "high": found.high, "n": found.n, "p": found.p,
        "effect_size": found.effect_size, "interval": found.how, "share": row["crash_rate"],
        "failed": row["crash_rate"] * tried, "tried": tried,
        "floor": math.nan, "evidence": "",
    }  # fmt: skip


def _prompts(scenario: str) -> str:
    return _SERIES if scenario.startswith("token_len") else _PROMPTS.get(scenario, scenario)


def _tokens(phase: str, new_tokens: str) -> str:
    """A prefill has no new tokens, whatever its row is keyed by."""
    return "0" if phase == "prefill" else new_tokens or "not stated"


def _printed_effects() -> dict[tuple, str]:
    """Effect sizes of claims that name a GPU, a model, its dtype, a phase and a mode."""
    claims = published.claims()
    found = {}
    for claim in claims[claims["metric"] == "cohens_d"].itertuples():
        if named := _EFFECT.fullmatch(claim.claim):
            gpu, model, dtype, phase, mode = named.groups()
            found[(_GPUS[gpu], model, _DTYPE.get(dtype, dtype), phase, mode)] = claim.value
    return found


def _from_claims(cells: pd.DataFrame) -> list[dict]:
    """Contrasts whose compiled mean is not printed, from the difference in percent that is."""
    claims = published.claims()
    claims = claims[(claims["report"] == "TR147") & (claims["metric"] == "delta_pct")]
    eager = cells[(cells["report"] == "TR147") & (cells["compile_mode"] == "eager")]
    effects, found = _printed_effects(), []
    for claim in claims.itertuples():
        if named := _DELTA.fullmatch(claim.claim):
            phase, mode, gpu, model, dtype = named.groups()
            mine = eager[(eager["gpu"] == _GPUS[gpu]) & (eager["section"] == claim.source_section)]
            row = mine[(mine["model"] == model)].iloc[0].to_dict()
            if phase == "Decode":
                effect = effects[(_GPUS[gpu], model, _DTYPE.get(dtype, dtype), "decode", mode)]
                found.append(_stated(row | {"phase": "decode", "ms": math.nan}, claim, mode, effect))
        elif named := _TRITON.fullmatch(claim.claim):
            triton, mode = named.groups()
            mine = eager[(eager["triton"] == triton) & (eager["section"] == claim.source_section)]
            found.append(_stated(mine.iloc[0].to_dict(), claim, mode, None))
    return found


def _stated(eager: dict, claim, mode: str, effect: str | None) -> dict:
    """A contrast that a claim prints, described by the eager row of the same table."""
    ratio = 1 + float(claim.value) / 100
    found = from_effect(ratio, effect, eager["n"]) if effect else Estimate()
    row = eager | {"compile_mode": mode, "crash_rate": 0.0}
    decode = eager["phase"] == "decode"
    tokens = eager["scenario"].removeprefix("token_len ").removesuffix(" pooled") if decode else "0"
    flags = [eager["quality_flag"], "pooled_token_lengths" if decode else ""]
    return _described(row, ratio, found) | {
        "eager_ms": eager["ms"], "compiled_ms": ratio * eager["ms"], "source": claim.claim_id,
        "flags": ";".join(filter(None, flags)), "new_tokens": tokens,
    }  # fmt: skip
