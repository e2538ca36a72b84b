"""What else varies with the arm: factors besides the engine in which a variant was run otherwise than the baseline.

Every value is one that a receipt observed. A factor that two engines do not tell is unknown, and so not known equal.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from . import frames
from .errors import BenchError, unknown
from .formatting import UNKNOWN
from .records import TIMED, read_manifest

# Factors and where they are: a column, the receipt, the provenance that was read back from the weights, or either.
FACTORS = {
    "weights dtype": ("provenance", "dtype"),
    "artifact": ("either", "artifact"),
    "cache": ("receipt", "cache"),
    "KV cache": ("receipt", "kv_cache"),
    "attention": ("receipt", "attention"),
    "logits": ("receipt", "logits"),
    "threads": ("receipt", "threads"),
    "timer": ("column", "timer"),
    "runs in": ("receipt", "runs_in"),
    "machine": ("column", "machine"),
    "driver": ("column", "driver"),
}
ENGINE = ("receipt", "engine")
ARM = ["variant", "dtype"]
CELL = ["model", "phase", "prompt_tokens", "new_tokens", "batch_size"]


def receipts_of(*folders: Path | str) -> pd.DataFrame:
    """Receipts of one run or several, with the ``machine`` and ``driver`` that each was measured with."""
    found = []
    for folder in folders:
        manifest = read_manifest(Path(folder))
        driver = manifest.identity.get("driver") or "none"
        cells = frames.receipts(folder)
        found.append(cells.assign(machine=frames.machines(cells, manifest), driver=driver))
    return pd.concat(found, ignore_index=True)


def confound_table(receipts: pd.DataFrame, baseline: str = "eager") -> pd.DataFrame:
    """A row an arm (``variant`` and ``dtype`` asked for): ``engine``, every factor as observed, and ``differs``.

    ``receipts``: those of a run (``frames.receipts``), or of several with their machines (``receipts_of``).
    ``differs`` names the factors that are not as in the baseline on the cells that both measured, the engine apart: of
    the same dtype where the baseline has it, of any other otherwise. Raises BenchError without the baseline.
    """
    seen = _observed(receipts)
    base = _named(seen, baseline)
    rows = [
        dict(zip(ARM, arm, strict=True))
        | {factor: _values(cells[factor]) for factor in seen.columns.drop([*ARM, *CELL])}
        | {"differs": _differs(cells, base)}
        for arm, cells in seen.groupby(ARM, sort=False)
    ]
    return pd.DataFrame(rows)


def confounded(receipts: pd.DataFrame, baseline: str, variant: str) -> list[str]:
    """Factors besides the engine in which a variant differs from the baseline, in the order of ``FACTORS``."""
    return list(_compared(receipts, baseline, variant))


def confounds_in_words(receipts: pd.DataFrame, baseline: str, variant: str) -> str:
    """One sentence: what a difference between two variants may come from besides the engine."""
    found = _compared(receipts, baseline, variant)
    if not found:
        return f"{variant} differs from {baseline} in none of the recorded factors besides the engine."
    said = "; ".join(f"{factor} ({own} against {others})" for factor, (own, others) in found.items())
    return f"Besides the engine, {variant} differs from {baseline} in {said}."


def _compared(receipts: pd.DataFrame, baseline: str, variant: str) -> dict[str, tuple[str, str]]:
    """Differing factors over all dtypes of a variant, with the values of both."""
    seen = _observed(receipts)
    base, mine = _named(seen, baseline), _named(seen, variant)
    found: dict[str, tuple[str, str]] = {}
    for _, cells in mine.groupby("dtype", sort=False):
        found = _differences(cells, base) | found
    return {factor: found[factor] for factor in FACTORS if factor in found}


def _observed(receipts: pd.DataFrame) -> pd.DataFrame:
    """Timed cells that ran, with the engine and every factor as words."""
    ran = receipts[receipts["phase"].isin(TIMED) & receipts["receipt"].map(lambda r: "provenance" in r)]
    places = {"engine": ENGINE} | FACTORS
    places = {name: at for name, at in places.items() if at[0] != "column" or at[1] in ran}
    found = {name: [_value(row, *place) for _, row in ran.iterrows()] for name, place in places.items()}
    return ran[[*ARM, *CELL]].assign(**found)


def _value(row: pd.Series, place: str, key: str) -> str:
    receipt, provenance = row["receipt"], row["receipt"]["provenance"]
    places = {"column": row, "receipt": receipt, "provenance": provenance, "either": provenance | receipt}
    value = places[place].get(key)
    return UNKNOWN if value is None or value != value else str(value)


def _named(seen: pd.DataFrame, variant: str) -> pd.DataFrame:
    if variant not in set(seen["variant"]):
        raise unknown("variant that was measured:", variant, sorted(set(seen["variant"])))
    return seen[seen["variant"] == variant]


def _differs(cells: pd.DataFrame, base: pd.DataFrame) -> str:
    """The cell of the table; an arm that shares no cell with the baseline says so."""
    try:
        return ", ".join(_differences(cells, base))
    except BenchError as error:
        return str(error)


def _differences(cells: pd.DataFrame, base: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Factors whose values differ between an arm and the baseline on the cells of both."""
    alike = base[base["dtype"].isin(cells["dtype"])]
    base = alike if len(alike) else base
    mine, theirs = _common(cells, base), _common(base, cells)
    if mine.empty:
        raise BenchError(f"{cells['variant'].iloc[0]} and {base['variant'].iloc[0]} share no cell; measure both on one")
    pairs = {factor: (_values(mine[factor]), _values(theirs[factor])) for factor in FACTORS if factor in mine}
    same_engine = _values(mine["engine"]) == _values(theirs["engine"])
    return {
        f: (own, other) for f, (own, other) in pairs.items() if own != other or (own == UNKNOWN and not same_engine)
    }


def _common(cells: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    return cells.merge(others[CELL].drop_duplicates(), on=CELL)


def _values(values: Iterable[str]) -> str:
    return ", ".join(sorted(set(values)))
