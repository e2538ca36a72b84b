"""The views of a selection: each a table, its words, and for all but raw rows a picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from .. import figures
from ..contrasts import CELL
from ..errors import BenchError
from ..formatting import count, significant
from ..records import TIMED
from ..wording import outcomes_in_words
from . import drawing
from .selection import PHASES, SIZES, Selection

WIDTH = 9.0  # inches
CONTRASTS = 10  # drawn for each panel that would be drawn of samples
SHOWN = [*CELL, "variant", "device", "process", "round", "role", "status", "started_at", "latency_ms"]  # of samples


@dataclass(frozen=True)
class View:
    """What a selection looks like: all of its data as a table, caption and alternative text made from them.

    ``draw`` fills an empty figure; None for a view that is a table.
    """

    table: pd.DataFrame
    caption: str
    alt: str
    draw: Callable[[Figure], None] | None = None


class Panel(NamedTuple):
    """One cell with all its variants."""

    title: str
    rows: pd.DataFrame


def samples(rows: pd.DataFrame, chosen: Selection) -> View:
    """Distribution or drift of every selected cell, a panel each; BenchError when there is no latency."""
    panels, left_out = _panels(rows, chosen.panels)
    drawn = pd.concat([panel.rows for panel in panels])
    described = _DESCRIBED[chosen.view](panels)
    rounds = drawn.loc[drawn["round"] > 0, "round"].nunique()  # before the first, exhibits and cold compilation
    of = f" of {rounds} rounds" if rounds else ""
    said = f"{count(len(drawn))} samples{of} on {drawn['device'].iloc[0]}. {described}"
    paint = drawing.distribution if chosen.view == "distribution" else drawing.drift
    return View(rows, " ".join([said, *left_out, *_not_ok(drawn)]), _medians(panels), lambda f: _grid(f, panels, paint))


def _distribution_in_words(_: list[Panel]) -> str:
    shown = drawing.QUANTILES
    return (
        "A lane is a variant, a line in it a round, from top to bottom: "
        f"ticks are {len(shown)} evenly spaced quantiles from {shown[0]:.0%} to {shown[-1]:.0%}, "
        "the bar is the middle half, the dot the median."
    )


def _drift_in_words(panels: list[Panel]) -> str:
    every = max(drawing.step(len(panel.rows)) for panel in panels)
    thinned = f" In the longest panel one dot stands for {every} samples." if every > 1 else ""
    return f"A dot is a sample, a bar the median of a round.{thinned}"


_DESCRIBED = {"distribution": _distribution_in_words, "drift": _drift_in_words}


def effects(table: pd.DataFrame, rows: pd.DataFrame, chosen: Selection) -> View:
    """Contrasts of the selected cells, out of all of the run (``table``); BenchError when there is none."""
    cells = rows[[*CELL, "variant"]].drop_duplicates()
    wanted = cells[cells["variant"] != chosen.baseline]
    mine = table.merge(wanted, on=[*CELL, "variant"]) if len(table) else table
    if mine.empty:
        raise BenchError(
            f"no contrast with {chosen.baseline} in this selection; choose prefill, decode or e2e and another variant"
        )
    family = int(mine["family"].iloc[0])
    drawn = mine.head(CONTRASTS * chosen.panels)
    cut = f" {len(drawn)} are drawn; choose a model and a phase to see the others." if len(drawn) < len(mine) else ""
    said = (
        f"{count(len(mine))} of the contrasts with {chosen.baseline}, paired within rounds, with 95 % intervals on "
        f"{rows['device'].iloc[0]}; outcomes are corrected over all {family} of the run, whatever is selected.{cut}"
    )
    if mine["floor"].isna().all():
        said += f" {chosen.baseline} was not measured under a second label, so that no contrast has an outcome."
    return View(mine, said, outcomes_in_words(mine), lambda figure: _draw_effects(figure, drawn))


def raw(rows: pd.DataFrame, chosen: Selection) -> View:
    """The first rows as they are on disk."""
    shown = rows.head(chosen.first)
    said = f"{len(shown)} of {count(len(rows))} rows, in the order in which they were written."
    return View(rows, said, said)


def _panels(rows: pd.DataFrame, most: int) -> tuple[list[Panel], list[str]]:
    """A panel a cell, timed phases before others, and what is said about those left out."""
    found = drawing.timed(rows[SHOWN])
    if found.empty:
        raise BenchError("no latency in this selection: the view 'rows' says what became of its cells")
    timed = found[found["phase"].isin(TIMED)]
    shown = timed if len(timed) else found
    cells = shown[CELL].drop_duplicates()
    models = list(cells["model"].unique())
    keys = cells.itertuples(index=False, name=None)
    keys = sorted(keys, key=lambda key: (models.index(key[0]), PHASES.index(key[CELL.index("phase")])))
    groups = shown.groupby(CELL, sort=False)
    drawn = keys[:most]  # only their rows are copied
    panels = [Panel(_title(dict(zip(CELL, key, strict=True)), cells), groups.get_group(key)) for key in drawn]
    hidden = set(found["phase"].unique()) - set(cells["phase"])
    others = [phase for phase in PHASES if phase in hidden]
    said = [f"Choose {', '.join(others)} to see them."] if others else []
    if len(keys) > most:
        said.append(f"{most} of {len(keys)} cells are drawn; choose a model and a phase to see the others.")
    return panels, said


def _title(cell: dict, among: pd.DataFrame) -> str:
    """A cell by its phase and model, and by sizes and dtype where others differ in them."""
    parts = [f"{cell['phase']} of {cell['model']}"]
    if len(among.loc[among["phase"] == cell["phase"], SIZES].drop_duplicates()) > 1:
        parts.append(f"{cell['prompt_tokens']} + {cell['new_tokens']} × {cell['batch_size']}")
    if among["dtype"].nunique() > 1:
        parts.append(cell["dtype"])
    return ", ".join(parts)


def _not_ok(rows: pd.DataFrame) -> list[str]:
    bad = rows[rows["status"] != "ok"].drop_duplicates(["process", *CELL])
    tally = bad.groupby(["variant", "status"], sort=True).size()
    said = ", ".join(f"{variant} {status} {number}" for (variant, status), number in tally.items())
    return [f"Cells of a round that are not ok: {said}."] if said else []


def _medians(panels: list[Panel]) -> str:
    said = []
    for title, rows in panels:
        medians = rows.groupby("variant")["latency_ms"].median()
        each = (f"{variant} {significant(medians[variant])} ms" for variant in figures.in_order(medians.index))
        said.append(f"{title}: {', '.join(each)}")
    return f"Medians. {'; '.join(said)}."


def _grid(figure: Figure, panels: list[Panel], paint: Callable) -> None:
    columns = min(len(panels), 3 if paint is drawing.distribution else 2)
    lines = -(-len(panels) // columns)
    lanes = max(len(_lanes(panel)) for panel in panels)
    height = 0.8 + 0.45 * lanes if paint is drawing.distribution else 2.9
    figure.set_size_inches(WIDTH, height * lines)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for place, (ax, panel) in enumerate(zip(axes, panels, strict=False)):
        paint(panel.rows, ax)
        ax.set_title(panel.title)
        if place + columns < len(panels):  # another panel stands below
            ax.set_xlabel("")
        if place % columns:  # another stands to the left
            ax.set_ylabel("")
            if paint is drawing.distribution and _lanes(panel) == _lanes(panels[place - 1]):
                ax.set_yticklabels([])
    for ax in axes[len(panels) :]:
        ax.remove()
    _one_legend(figure)


def _lanes(panel: Panel) -> list[str]:
    return figures.in_order(panel.rows["variant"].unique())


def _one_legend(figure: Figure) -> None:
    """One legend beside all panels instead of one in each."""
    handles = {}
    for ax in figure.axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles[label] = handle
    if handles:
        names = figures.in_order(handles)
        figure.legend([handles[n] for n in names], names, loc="outside right upper", frameon=False, fontsize=8)


def _draw_effects(figure: Figure, table: pd.DataFrame) -> None:
    figure.set_size_inches(WIDTH, 1.1 + 0.27 * len(table))
    figures.effects(table, figure.subplots())
