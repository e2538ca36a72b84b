"""What measuring one model found: rows, contrasts, and a sentence."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes

from .. import figures, frames, wording
from ..claims import LEAST_ROUNDS
from ..contrasts import contrast
from ..errors import BenchError
from ..facts import WEIGHTS
from ..formatting import significant
from ..gates import GATE, run_gates, stopping
from ..reporting import display
from ..study import Study
from .asking import BASELINE, CONTROL


@dataclass(frozen=True, repr=False)
class Measurement:
    """What a measurement of one model found.

    ``study`` (its run is ``study.folder``), ``rows`` (a row a sample, as ``load``), ``effects`` (a row a contrast with
    eager, as ``contrast``; empty where eager gave no number), ``gates`` (empty where nothing gave one) and ``verdict``,
    the finding as a sentence.
    As the last line of a cell it shows itself.
    """

    name: str
    study: Study
    rows: pd.DataFrame
    effects: pd.DataFrame
    gates: pd.DataFrame
    verdict: str

    def __repr__(self) -> str:
        return self.verdict

    def figure(self) -> Axes:
        """Latency ratios to eager with their intervals, beside the A/A control: matplotlib axes."""
        if self.effects.empty:
            raise BenchError(self.verdict)
        return figures.effects(self.effects)

    def show(self) -> None:
        """The verdict, the figure with its data, and what the A/A control says."""
        display.headline("{verdict}", verdict=self.verdict)
        if self.effects.empty:
            return
        caption = (
            f"Latency of {self.name} against {BASELINE} in the same rounds on {self.study.device.slug}, with 95 % "
            f"intervals; the grey band is {BASELINE} under two labels."
        )
        display.show_figure(self.figure(), "effects", caption, alt=self.verdict, data=self.effects)
        if self.study.limits.rounds >= LEAST_ROUNDS:
            control = self.effects[self.effects["variant"] == CONTROL]
            display.say("{control}", control=wording.control_in_words(control))
        weights = self.rows["weights"].dropna().iloc[0]
        folder = self.study.folder.relative_to(self.study.root).as_posix()
        display.say("Weights: {weights}. Rows: {folder}.", weights=WEIGHTS.get(weights, weights), folder=folder)

    _ipython_display_ = show


def found(name: str, study: Study, rows: pd.DataFrame) -> Measurement:
    """A measurement from the rows of its study."""
    effects, gates = pd.DataFrame(), pd.DataFrame(columns=GATE)
    numbers = frames.medians(rows)
    if BASELINE in set(numbers["variant"]):
        effects = contrast(rows, BASELINE, CONTROL).assign(model=name)
    if len(numbers):
        gates = run_gates(rows, study.receipts(), study.limits, BASELINE)
    return Measurement(name, study, rows, effects, gates, _verdict(name, study, effects, gates))


def _verdict(name: str, study: Study, effects: pd.DataFrame, gates: pd.DataFrame) -> str:
    """The finding as a sentence, or why there is none."""
    where = study.device.slug
    if effects.empty:
        failed = frames.failures(study.receipts())
        why = "; ".join(f"{row.variant} {row.status}, {row.reason}" for row in failed.head(1).itertuples())
        return f"No verdict: {BASELINE} of {name} gave no number on {where} ({why}); repair it and give run='new'."
    if study.limits.rounds < LEAST_ROUNDS:
        missing = f"of {LEAST_ROUNDS} rounds, the least that give one, it has {study.limits.rounds}"
    else:
        missing = " and ".join(f"the gate '{gate}' failed" for gate in stopping(gates))
    said = _effects_in_words(effects, decided=not missing)
    finding = f"{name} on {where}, against {BASELINE}: {said}" if said else f"{name} on {where} ran {BASELINE} alone"
    return f"No verdict: {missing}. So far, {finding}." if missing else f"{finding}."


def _effects_in_words(effects: pd.DataFrame, decided: bool) -> str:
    """Every contrast but the control's, as a list of clauses; undecided, without a word that sounds like an outcome."""
    others = effects[effects["variant"] != CONTROL]
    several = others["prompt_tokens"].nunique() > 1
    said = []
    for row in others.sort_values("phase", key=lambda c: c.map(figures.PHASES.index), kind="stable").itertuples():
        after = f" at {row.prompt_tokens} prompt tokens" if several else ""
        words = wording.in_words(others.loc[[row.Index]], row.model, row.variant, row.phase)
        if row.reason:
            words = f"not comparable ({row.reason})"
        elif not decided:
            words = f"at {significant(row.ratio)} times its latency"
        said.append(f"in {row.phase}{after}, {row.variant} is {words}")
    return "; ".join(said)
