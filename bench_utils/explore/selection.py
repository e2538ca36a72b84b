"""What is looked at: which values a run has to choose from, and the rows of a choice."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pandas as pd

from ..errors import unknown
from ..figures import in_order

ALL = "all"
VIEWS = ("distribution", "drift", "effects", "rows")
PHASES = ("prefill", "decode", "e2e", "load", "first_call", "compile_cold", "compile_warm")
SIZES = ["prompt_tokens", "new_tokens", "batch_size"]


@dataclass(frozen=True)
class Selection:
    """A choice of rows of one run, and how to look at them.

    ``variants`` empty means all; ``first`` is how many rows the view ``rows`` shows, ``panels`` how many cells are
    drawn side by side: with two, a change of a control is answered within 300 ms.
    """

    run: str = ""
    view: str = "distribution"
    model: str = ALL
    phase: str = ALL
    scenario: str = ALL
    variants: tuple[str, ...] = ()
    baseline: str = "eager"
    first: int = 20
    panels: int = 2

    def but(self, **changes: object) -> Selection:
        """The same with some fields changed."""
        return replace(self, **changes)


def choices(rows: pd.DataFrame) -> dict[str, list[str]]:
    """What there is to choose from in the rows of a run, by the fields of a selection, ``all`` first where allowed."""
    phases = set(rows["phase"])
    variants = in_order(rows["variant"])
    counted = in_order(rows.loc[~rows["exhibit"].astype(bool), "variant"])
    return {
        "model": [ALL, *dict.fromkeys(rows["model"])],
        "phase": [ALL, *(phase for phase in PHASES if phase in phases)],
        "scenario": [ALL, *scenarios(rows)],
        "variants": variants,
        "baseline": sorted(counted, key=lambda name: f"{name}-again" not in counted),
    }


def scenarios(rows: pd.DataFrame) -> dict[str, tuple[int, int, int]]:
    """The scenarios of a run by their names; a prefill, which has no new tokens, belongs to all of its prompt's."""
    sizes = sorted({tuple(map(int, row)) for row in rows[SIZES].drop_duplicates().itertuples(index=False)})
    decoded = {(prompt, batch) for prompt, new, batch in sizes if new}
    return {_named(*size): size for size in sizes if size[1] or (size[0], size[2]) not in decoded}


def _named(prompt: int, new: int, batch: int) -> str:
    return f"{prompt} + {new} tokens" + (f" × {batch}" if batch > 1 else "")


def select(rows: pd.DataFrame, chosen: Selection, known: dict[str, list[str]]) -> pd.DataFrame:
    """The rows of a choice; it may be empty. BenchError for a name that is not ``known`` in this run."""
    _refuse_unknown(chosen, known)
    keep = pd.Series(True, index=rows.index)
    for column in ("model", "phase"):
        if (wanted := getattr(chosen, column)) != ALL:
            keep &= rows[column] == wanted
    if chosen.variants:
        keep &= rows["variant"].isin(chosen.variants)
    if chosen.scenario != ALL:
        prompt, new, batch = scenarios(rows)[chosen.scenario]
        keep &= (rows["prompt_tokens"] == prompt) & rows["new_tokens"].isin([new, 0]) & (rows["batch_size"] == batch)
    return rows[keep]


def _refuse_unknown(chosen: Selection, known: dict[str, list[str]]) -> None:
    if chosen.view not in VIEWS:
        raise unknown("view", chosen.view, VIEWS)
    for field in ("model", "phase", "scenario"):
        if (name := getattr(chosen, field)) not in known[field]:
            raise unknown(field, name, known[field])
    for name in chosen.variants:
        if name not in known["variants"]:
            raise unknown("variant", name, known["variants"])
