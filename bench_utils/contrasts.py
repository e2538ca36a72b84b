"""Two variants on the same cells: effects per round, with intervals and outcomes, and refusals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from . import frames, statistics
from .errors import BenchError
from .records import DISQUALIFIED, TIMED, UNFINISHED

CELL = [k for k in frames.KEY if k != "variant"]
EFFECT = [
    *CELL, "variant", "baseline", "rounds", "floor", "baseline_ms", "variant_ms", "ratio", "low", "high", "p", "mde",
    "reason", "family", "significant", "outcome",
]  # fmt: skip
ARM = ["latency_ms", "status", "tokens", "tokens_in", "tokens_out", "timer"]


def contrast(
    rows: pd.DataFrame,
    baseline: str = "eager",
    control: str | None = "eager-again",
    by: Sequence[str] = (),
    across: Sequence[str] = (),
) -> pd.DataFrame:
    """Every variant against ``baseline`` on the same cells of the same rounds.

    A row a variant and cell: ``ratio`` of latencies (variant / baseline, below one is faster) with its 95 %
    interval ``low``..``high``, ``p``, whether it is ``significant`` after Holm's correction over the whole ``family``,
    ``rounds``, the A/A ``floor`` (log scale) from ``control``, the minimum detectable effect ``mde``, the ``outcome``
    and its ``reason``. Exhibits never enter. ``by`` orders the rows.

    Raises BenchError when the baseline was not measured, and when rows differ in a factor (``machine``, ``device``,
    ``identity``: the stack)
    that ``across`` does not name.
    """
    refuse_mixture(rows, across)
    rows = rows[~rows["exhibit"].astype(bool) & rows["phase"].isin(TIMED)]
    cells = frames.medians(rows)
    if baseline not in set(cells["variant"]):
        raise BenchError(
            f"baseline {baseline!r} was not measured in these rows; name one of {sorted(set(cells['variant']))}"
        )
    floor, arms = _floor(cells, baseline, control), [*CELL, "variant"]
    paired = dict(list(_pairs(cells, baseline).groupby(arms, sort=False)))
    others = attempts(rows[rows["variant"] != baseline])
    tried = dict(list(others.groupby(arms, sort=False)["status"]))
    found = [_effect(key, paired.get(key), statuses, baseline, floor) for key, statuses in tried.items()]
    if not found:  # nothing but the baseline was measured
        return pd.DataFrame(columns=EFFECT)
    effects = pd.DataFrame(found)
    family = effects["variant"] != control
    effects["family"], effects["significant"] = int(family.sum()), True
    if family.any():  # an A/A run has a control and nothing else
        effects.loc[family, "significant"] = statistics.holm(effects.loc[family, "p"].to_list())
    effects["outcome"] = [_outcome(row, floor) for row in effects.itertuples()]
    effects = effects.drop(columns="effect")
    return effects.sort_values([*by, *CELL, "variant"], ignore_index=True) if by else effects


def refuse_mixture(rows: pd.DataFrame, across: Sequence[str] = ()) -> None:
    """Raise BenchError for rows of several machines, devices or stacks (``identity``), unless the factor is named.

    One run may come from several machines where each measured whole rounds of a model: pairs are within a round.
    """
    mixed = [factor for factor in ("device", "identity") if rows[factor].nunique() > 1]
    pairs = rows if rows["run"].nunique() > 1 else rows.groupby(["round", "model"], sort=False)
    mixed = ["machine"] * bool(np.max(pairs["machine"].nunique()) > 1) + mixed
    mixed = [factor for factor in mixed if factor not in across]
    if mixed:
        raise BenchError(f"these rows differ in {' and '.join(mixed)}; compare one at a time, or name it in across=")


def aa_floor(rows: pd.DataFrame, baseline: str, control: str | None) -> float | None:
    """How far identical code differs on this machine: the A/A floor on the log scale; None without a control."""
    cells = frames.medians(rows)
    return _floor(cells[~cells["exhibit"].astype(bool) & cells["phase"].isin(TIMED)], baseline, control)


def _floor(cells: pd.DataFrame, baseline: str, control: str | None) -> float | None:
    if control is None or control not in set(cells["variant"]):
        return None
    pairs = _pairs(cells[cells["variant"].isin([baseline, control])], baseline)
    pairs = pairs[~pairs["status"].isin(DISQUALIFIED) & ~pairs["status_base"].isin(DISQUALIFIED)]
    ratios = [g["log_ratio"].to_numpy() for _, g in pairs.groupby(CELL, sort=False) if len(g) >= 2]
    return statistics.aa_floor(ratios).value if ratios else None


def attempts(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a round, variant and cell that was tried, whether or not it gave a number; what only compiles, before the
    first round, is no attempt."""
    tried = rows[rows["round"] > 0].drop_duplicates(["run", "round", "variant", *CELL])
    return tried[["run", "round", "variant", "status", "reason", *CELL]]


def bad_rounds(tried: pd.DataFrame) -> str:
    """Statuses of attempts that gave no number, or not that of their label; empty without any."""
    bad = tried[tried["status"].isin(DISQUALIFIED | UNFINISHED)]
    return f"{', '.join(sorted(set(bad['status'])))} in {len(bad)} of {len(tried)} rounds" if len(bad) else ""


def _pairs(cells: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """A row a round, variant and cell, with the log ratio to the baseline in the same round of the same run."""
    key = [*CELL, "run", "round"]
    base = cells[cells["variant"] == baseline][[*key, *ARM]]
    others = cells[cells["variant"] != baseline][[*key, "variant", *ARM]]
    pairs = others.merge(base, on=key, suffixes=("", "_base"))
    pairs["log_ratio"] = np.log(pairs["latency_ms"] / pairs["latency_ms_base"])
    return pairs


def _effect(key: tuple, pairs: pd.DataFrame | None, tried: pd.Series, baseline: str, floor: float | None) -> dict:
    """One contrast; ``tried`` are the statuses of all its attempts."""
    named = dict(zip([*CELL, "variant"], key, strict=True))
    unknown = {k: float("nan") for k in ("baseline_ms", "variant_ms", "ratio", "low", "high", "p", "mde")}
    shared = named | {
        "baseline": baseline,
        "rounds": 0,
        "floor": float("nan") if floor is None else floor,
        "effect": None,
    }
    if pairs is None:
        return shared | unknown | {"reason": f"no round has a number of both arms: {', '.join(sorted(set(tried)))}"}
    log_ratios = pairs["log_ratio"].to_numpy()
    numbers = {
        "baseline_ms": pairs["latency_ms_base"].median(),
        "variant_ms": pairs["latency_ms"].median(),
        "ratio": float(np.exp(log_ratios.mean())),
        "rounds": len(log_ratios),
        "reason": _reason(pairs, len(tried)),
    }
    if len(log_ratios) < 2:
        return shared | unknown | numbers
    effect = statistics.paired_ratio(log_ratios)
    mde = statistics.contrast_mde(effect.sd, len(log_ratios))
    return shared | numbers | {"low": effect.low, "high": effect.high, "p": effect.p, "mde": mde, "effect": effect}


def _reason(pairs: pd.DataFrame, tried: int) -> str:
    """Why the contrast is invalid; empty when it is not."""
    disqualified = pairs["status"].isin(DISQUALIFIED) | pairs["status_base"].isin(DISQUALIFIED)
    if disqualified.any():
        bad = sorted((set(pairs["status"]) | set(pairs["status_base"])) & DISQUALIFIED)
        return f"{', '.join(bad)} in {int(disqualified.sum())} of {len(pairs)} rounds"
    if len(pairs) < tried:
        return f"survivors only: a number in {len(pairs)} of {tried} rounds"
    for column, said in (("timer", "mixed timers"), ("tokens_in", "unequal prompts"), ("tokens_out", "unequal tokens")):
        if (pairs[column] != pairs[f"{column}_base"]).any():
            first = pairs[pairs[column] != pairs[f"{column}_base"]].iloc[0]
            return f"{said}: {first[column]} against {first[f'{column}_base']}"
    exact = pairs[(pairs["dtype"] == "float32") & pairs["tokens"].notna() & pairs["tokens_base"].notna()]
    if different := int((exact["tokens"] != exact["tokens_base"]).sum()):
        return f"tokens differ from the baseline's in {different} of {len(pairs)} rounds"
    return ""


def _outcome(row, floor: float | None) -> str:
    if row.reason:
        return "invalid"
    if row.effect is None or floor is None:
        return "ambiguous"
    return statistics.outcome(row.effect, floor, significant=row.significant)
