"""What verdicts rest on: the published tables, and the complete runs under ``results/``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from .. import catalog, comparison, frames, runs
from ..audit.sources import Sources, read
from ..errors import BenchError
from ..project import root_of
from ..records import DISQUALIFIED, Manifest
from .stated import FAMILY, Stated


@dataclass(frozen=True)
class Committed:
    """A complete run: its manifest, and its rows when they are first asked for."""

    root: Path
    folder: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """What a reader finds it by."""
        return f"{self.manifest.report} on {self.manifest.device}"

    @property
    def on_cpu(self) -> bool:
        return self.manifest.device.startswith("cpu-")

    @cached_property
    def rows(self) -> pd.DataFrame:
        return frames.load(self.folder)

    @cached_property
    def receipts(self) -> pd.DataFrame:
        """One row a process and cell, with the run's ``report`` and ``device``."""
        known = {"report": self.manifest.report, "device": self.manifest.device}
        return frames.receipts(self.folder).assign(**known)

    @cached_property
    def cells(self) -> pd.DataFrame:
        """Timed cells with their medians and intervals, from rounds that count; milliseconds."""
        counts = ~self.rows["exhibit"].astype(bool) & ~self.rows["status"].isin(DISQUALIFIED)
        return frames.cell_table(self.rows[counts])

    def verdict(self, claim: str) -> pd.Series | None:
        """What the run's own report makes of one of its claims; None where it has no such claim."""
        found = comparison.verdicts(self.root, self.folder).set_index("id")
        return found.loc[claim] if claim in found.index else None


@dataclass(frozen=True)
class Evidence:
    """Published tables and complete runs, the newest first."""

    sources: Sources
    runs: tuple[Committed, ...] = ()

    @cached_property
    def claims(self) -> list[Stated]:
        """Every claim, in the order of the table."""
        return [Stated(**row) for row in self.sources.cards.values()]

    @cached_property
    def models(self) -> list[catalog.Model]:
        """Models that the cards are about, in the order of the catalog."""
        named = {stated.model for stated in self.claims}
        return [model for name, model in catalog.MODELS.items() if name in named]

    def family(self, card: str) -> list[catalog.Model]:
        """The models that a card of a family names, smallest first."""
        named = {stated.model for stated in self.claims if stated.card == card} - {FAMILY}
        return sorted(map(catalog.model, named), key=lambda model: model.parameters)

    def about(self, stated: Stated) -> list[catalog.Model]:
        """The models that a claim is about."""
        return self.family(stated.card) if stated.model == FAMILY else [stated.shape()]

    def described(self, model: catalog.Model) -> dict[str, str]:
        """The row of ``models.csv`` about a model of the catalog; BenchError where there is none."""
        rows = self.sources.models
        if model.name in rows:
            return rows[model.name]
        for row in rows.values():
            if model.repository and model.repository in row["hub_repo"]:
                return row
        raise BenchError(f"models.csv has no row for {model.name}; add its configuration")

    def beside(self, stated: Stated, metric: str, word: str = "") -> Stated:
        """The claim of the same card about another quantity, holding a word; BenchError where there is none."""
        for other in self.claims:
            if other.card == stated.card and other.metric == metric and word in other.claim:
                return other
        raise BenchError(f"cards.csv: {stated.claim_id} follows from a {metric} of card {stated.card}, which has none")

    @cached_property
    def receipts(self) -> pd.DataFrame:
        """Receipts of every run."""
        found = [run.receipts for run in self.runs]
        return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["model", "variant", "phase"])


def gather(folder: Path | None = None, root: Path | None = None) -> Evidence:
    """The tables of `folder` (by default the package's own) and the complete runs under ``root/results``.

    `root` is by default the checkout that the working directory lies in; outside of one there are no runs.
    """
    return Evidence(read(folder), _complete(root))


def _complete(root: Path | None) -> tuple[Committed, ...]:
    try:
        root = root or root_of()
    except BenchError:
        return ()
    found = [run for run in runs.timed(root) if run[1].status == "complete"]
    found.sort(key=lambda run: (run[1].started_at, run[1].run), reverse=True)
    return tuple(Committed(root, path, manifest) for path, manifest in found)
