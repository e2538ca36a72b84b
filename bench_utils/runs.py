"""Runs on disk: which there are, how one begins and ends, and what it still lacks."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from . import frames
from .environment import Device, changed_packages
from .errors import unknown
from .plan import Preset
from .records import SCORES, Cell, End, Manifest, Process, read_manifest, read_processes, write_manifest
from .schedule import ProcessPlan, schedule


def runs(root: Path, report: str | None = None) -> Iterator[tuple[Path, Manifest]]:
    """All runs under ``root/results``, of one report or of all."""
    for path in sorted((root / "results").glob(f"*/{report or '*'}/*/run.json")):
        yield path.parent, read_manifest(path.parent)


def timed(root: Path, report: str | None = None) -> Iterator[tuple[Path, Manifest]]:
    """The runs that time something; those of scores have no samples."""
    return (run for run in runs(root, report) if not (run[0] / SCORES).exists())


def find_run(root: Path, report: str, run: str) -> Path:
    """The folder of a run id; BenchError with the ids there are."""
    known = {folder.name: folder for folder, _ in runs(root, report)}
    if run not in known:
        raise unknown(f"run of {report}:", run, [*known, "latest", "new"])
    return known[run]


def newest(
    root: Path, report: str, installed: dict[str, str | None], **same: object
) -> tuple[Path, Manifest] | tuple[None, None]:
    """The newest run whose manifest has the fields ``same``, made with the packages ``installed``; or two None."""
    for folder, manifest in sorted(runs(root, report), key=lambda run: run[1].started_at, reverse=True):
        asked = all(getattr(manifest, field) == value for field, value in same.items())
        if asked and not changed_packages(manifest.identity, installed):
            return folder, manifest
    return None, None


def new_id(*words: str) -> str:
    """An id that sorts by the time it was made: date, time, ``words``, and a few random digits."""
    return "-".join([f"{datetime.datetime.now(datetime.UTC):%Y%m%d-%H%M%S}", *words, secrets.token_hex(2)])


def begin(root: Path, report: str, device: Device, preset: str, **facts) -> tuple[Path, Manifest]:
    """A new run, its manifest written; ``facts`` are the other fields of it."""
    run, place = new_id(preset), {"device": device.slug, "device_name": device.name}
    manifest = Manifest(run=run, report=report, preset=preset, **place, **facts, started_at=_now())
    folder = root / "results" / device.slug / report / run
    write_manifest(folder, manifest)
    return folder, manifest


def finish(folder: Path, manifest: Manifest) -> Manifest:
    """The manifest of a run with nothing left, written."""
    whole = manifest.model_copy(update={"status": "complete", "finished_at": _now()})
    write_manifest(folder, whole)
    return whole


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


class Pass(NamedTuple):
    """Processes of a model's round that one machine brought to their end after each other, none of them twice."""

    machine: str
    processes: set[str]


class Done:
    """What a run's journal says is done."""

    def __init__(self, folder: Path) -> None:
        rows = list(read_processes(folder))
        ended = frames.ended(rows)
        self._tried: dict[str, int] = {}
        self._ends: dict[str, dict[int, int]] = {}  # of each process its attempts that ended, and where in the journal
        self._cells: dict[tuple[str, int], dict[str, str]] = {}
        self._machines: dict[tuple[str, int], str | None] = {}
        for place, row in enumerate(rows):
            name = frames.base(row.process)
            self._tried[name] = max(row.attempt, self._tried.get(name, 0))
            if isinstance(row, Process):
                self._machines[name, row.attempt] = row.machine
            elif isinstance(row, End):
                self._ends.setdefault(name, {})[row.attempt] = place
            elif isinstance(row, Cell) and (row.process, row.attempt) in ended:
                self._cells.setdefault((name, row.attempt), {})[row.cell] = row.status

    def attempts(self, plan: ProcessPlan) -> int:
        """How often the process was begun."""
        return self._tried.get(plan.process, 0)

    def unended(self, plan: ProcessPlan) -> int:
        """How often the process was begun since it last came to an end."""
        return self.attempts(plan) - self._last_ended(plan)

    def has(self, plan: ProcessPlan) -> bool:
        """Whether the process has come to its end, the last time that it did, with a row for every cell."""
        return self.whole(plan, self._last_ended(plan))

    def whole(self, plan: ProcessPlan, attempt: int) -> bool:
        """Whether an attempt of the process came to its end with a row for every cell."""
        rows = self._cells.get((plan.process, attempt), {}).keys()
        return attempt in self._ends.get(plan.process, {}) and (plan.cold or rows >= {c.key for c in plan.cells})

    def passes(self, plans: Sequence[ProcessPlan], machine: str) -> list[Pass]:
        """How often a model's round was gone through, whole or in part, in the order of the journal.

        A process that ends once more, or on another machine, begins the next; rows that name no machine are of
        ``machine``.
        """
        attempts = [(place, p, n) for p in plans for n, place in self._ends.get(p.process, {}).items()]
        found: list[Pass] = []
        for _, plan, number in sorted(attempts, key=lambda attempt: attempt[0]):
            if not self.whole(plan, number):
                continue
            where = self._machines.get((plan.process, number)) or machine
            if not found or where != found[-1].machine or plan.process in found[-1].processes:
                found.append(Pass(where, set()))
            found[-1].processes.add(plan.process)
        return found

    def measured(self, plan: ProcessPlan) -> int:
        """How many cells of the process have a row in its last attempt that came to an end."""
        return len(self._last(plan).keys() & {c.key for c in plan.cells})

    def machine(self, plan: ProcessPlan) -> str | None:
        """The machine of its last attempt that came to an end; None where there is none, or its row does not say."""
        return self._machines.get((plan.process, self._last_ended(plan)))

    def spoiled(self, plan: ProcessPlan) -> bool:
        """Whether a neighbour was busy during one of its cells."""
        return "contaminated" in self._last(plan).values()

    def _last_ended(self, plan: ProcessPlan) -> int:
        return max(self._ends.get(plan.process, ()), default=0)

    def _last(self, plan: ProcessPlan) -> dict[str, str]:
        return self._cells.get((plan.process, self._last_ended(plan)), {})


class Progress(NamedTuple):
    """How much of a run there is, in cells of single rounds."""

    measured: int
    planned: int


def progress_of(folder: Path, preset: Preset) -> Progress:
    """How many cells of a run have ended, of those that its preset designs: every round's, and the exhibits.

    A process that was interrupted counts for nothing, as in results; cold compilation is not a cell.
    """
    done = Done(folder)
    designed = [p for round_ in schedule(preset, seed=0) for p in round_ if not p.cold]  # the seed only orders them
    return Progress(sum(map(done.measured, designed)), sum(len(p.cells) for p in designed))
