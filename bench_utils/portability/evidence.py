"""What the report on portability rests on: published tables, and the complete runs there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from .. import comparison, drift, frames
from ..errors import BenchError
from ..formatting import with_interval
from ..project import root_of
from .outcomes import outcomes
from .pairs import compare
from .platforms import MeasuredOn, measured_platforms, platform_table, published_cells
from .printed import printed_contrasts
from .reproducibility import measured_index

BASELINE, CONTROL = "eager", "eager-again"
_ENGAGED = ["platform", "model", "variant", "phase", "compiled", "expected", "share"]


@dataclass(frozen=True)
class Evidence:
    """Published rows and measured platforms, and what is computed from them once.

    ``groups``: of each device the runs by stack that were measured together.
    """

    cells: pd.DataFrame
    measured: tuple[MeasuredOn, ...] = ()
    groups: Mapping[str, Mapping[str, comparison.Run]] = field(default_factory=dict)

    @cached_property
    def outcomes(self) -> pd.DataFrame:
        """Every contrast with its outcome."""
        return outcomes(printed_contrasts(self.cells), self.cells, self.measured)

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """Every pair of platforms on every contrast they share."""
        return compare(self.outcomes, drifted=self.drifted)

    @cached_property
    def platforms(self) -> pd.DataFrame:
        """A row a platform, with the number of its ``contrasts``."""
        table = platform_table(self.cells, list(self.measured))
        counts = self.outcomes["platform"].value_counts()
        return table.assign(contrasts=[int(counts.get(name, 0)) for name in table["platform"]])

    @cached_property
    def engaged(self) -> pd.DataFrame:
        """Compiled calls per expected call on measured platforms, exhibits among them: a row a platform, model, variant
        and phase."""
        rows = [
            {"platform": run.name, "model": key[0], "variant": key[-1], "phase": key[2], "compiled": int(made),
             "expected": int(of), "share": made / of}
            for run in self.measured for key, (made, of) in run.calls.items()
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=_ENGAGED)

    @cached_property
    def judged(self) -> pd.DataFrame:
        """Claims of the plans, judged on every measured platform: a row a platform and claim."""
        tables = [comparison.verdicts(run.root, run.folder).assign(platform=run.name) for run in self.measured]
        columns = ["platform", *comparison.VERDICT]
        found = pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)
        shown = [with_interval(v.value, v.low, v.high) if v.value == v.value else "" for v in found.itertuples()]
        return found.assign(found=shown)

    @cached_property
    def index(self) -> pd.DataFrame:
        """The index over stacks that were measured together; empty where none were."""
        return _joined(
            measured_index({stack: frames.load(folder) for stack, (folder, _) in runs.items()}).assign(device=device)
            for device, runs in self.groups.items()
        )

    @cached_property
    def control(self) -> pd.DataFrame:
        """The baseline of every pair of stacks measured together, ``drift.CONTROL`` and the ``device``."""
        return _joined(moved for moved, _ in self._between)

    @cached_property
    def together(self) -> pd.DataFrame:
        """Every contrast of every pair of stacks measured together, as ``drift.between`` gives it."""
        return _joined(shifts for _, shifts in self._between)

    @cached_property
    def _between(self) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
        found = []
        for device, runs in self.groups.items():
            moved, shifts = drift.between(self.measured[0].root, runs, BASELINE, CONTROL)
            found.append((moved.assign(device=device), shifts.assign(device=device)))
        return found

    @cached_property
    def drifted(self) -> frozenset:
        """Pairs of platforms and cells whose control drifted: what is compared with it there is void.

        A run of a group that a newer one of its stack has replaced is no platform, and has no pair to void.
        """
        names = {run.folder: run.name for run in self.measured}
        moved = self.control[self.control["drifted"]] if len(self.control) else self.control
        pairs = [[self.groups[row.device][stack][0] for stack in (row.a, row.b)] for row in moved.itertuples()]
        return frozenset(
            (frozenset(map(names.get, pair)), row.model, row.phase)
            for pair, row in zip(pairs, moved.itertuples(), strict=True) if set(pair) <= names.keys()
        )  # fmt: skip


def gather(root: Path | None = None) -> Evidence:
    """The published tables and the newest complete runs under ``root/results``, by default those of the checkout."""
    try:
        root = root or root_of()
    except BenchError:  # outside of a checkout nothing was measured
        return Evidence(published_cells())
    return Evidence(published_cells(), tuple(measured_platforms(root)), drift.groups(root, "TR147"))


def _joined(tables) -> pd.DataFrame:
    found = list(tables)
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()
