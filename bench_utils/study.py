"""The parent: finds or makes the run of a report, has its rounds measured, resumes what was interrupted."""

from __future__ import annotations

import json
import math
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from . import catalog, frames, loading
from . import plan as plans
from .environment import Device, changed_packages, identity, machine_id, resolve_device, versions
from .errors import BenchError
from .processes import exclusive
from .progress import progress
from .project import STATE, find_plan, root_of, root_or_here
from .records import Manifest, read_manifest
from .rounds import Rounds
from .runs import Progress, begin, find_run, finish, new_id, newest, progress_of, runs
from .stacks import Stack


class Study:
    """A report's plan on a device: where its rows are, and how to measure what is missing.

    ``report`` is the name of a plan in ``root/notebooks``, or a plan made in memory, which needs no checkout.
    ``run``: ``latest`` (this machine's newest of this plan, continued where it was interrupted, or a new one),
    ``new``, or the id of a run, which is read and never measured. ``stack``: the environment that measures, instead of
    this one; runs of several stacks that are measured together share a ``group``. ``go_on``: measure what the run of an
    id lacks, also one that another machine began, where everything but the machine is equal. Raises BenchError before
    anything is measured.
    """

    def __init__(
        self,
        report: str | plans.Plan,
        device: str = "auto",
        preset: str = "quick",
        run: str = "latest",
        root: Path | str | None = None,
        stack: Stack | None = None,
        group: str | None = None,
        go_on: bool = False,
    ) -> None:
        made = isinstance(report, plans.Plan)
        self.root = Path(root) if root else root_or_here() if made else root_of()
        self.plan = report if made else plans.read(find_plan(self.root, report))
        self.report, self.claims = self.plan.report, self.plan.claims
        self.state = self.root / STATE
        self.stack, self.group = stack, group
        self.frozen = run not in ("latest", "new")
        if self.frozen:
            self.folder = find_run(self.root, self.report, run)
            self.manifest = read_manifest(self.folder)
            self.device = Device(self.manifest.device_name, self.manifest.device)
            self.preset = self.manifest.preset
            if go_on and not self.complete:
                self._refuse_others(resolve_device(device))
                self.frozen = False
        else:
            self.device, self.preset = resolve_device(device), preset
            self.plan.preset(preset)
            self.folder, self.manifest = self._latest() if run == "latest" else (None, None)
        preset_then = self.manifest and plans.Preset.model_validate(self.manifest.plan)
        self.limits = preset_then or self.plan.preset(self.preset)

    @property
    def complete(self) -> bool:
        """Whether nothing is left to measure."""
        return self.manifest is not None and self.manifest.status == "complete"

    def measure(self, minutes: float | None = None) -> pd.DataFrame:
        """Measure what is missing, and load the run: a row a sample.

        With ``minutes`` nothing begins that is predicted to end later; the next call goes on with the same run.
        Raises BenchError when nothing at all fits.
        """
        measure_together([self], minutes)
        return self.rows()

    def rows(self) -> pd.DataFrame:
        """The rows that are there."""
        if self.folder is None:
            raise BenchError(f"{self.report} has not been measured here; call measure()")
        return frames.load(self.folder)

    def progress(self) -> Progress:
        """How many cells have ended, of those planned."""
        return progress_of(self.folder, self.limits)

    def receipts(self) -> pd.DataFrame:
        """One row a process and cell, with its receipt."""
        return frames.receipts(self.folder)

    def _latest(self) -> tuple[Path | None, Manifest | None]:
        """This machine's newest run of this very plan."""
        return newest(
            self.root, self.report, self._versions(), device=self.device.slug, machine=machine_id(self.state),
            plan_digest=self.plan.digest(self.preset), stack=self.stack and self.stack.name, group=self.group,
        )  # fmt: skip

    def _refuse_others(self, here: Device) -> None:
        """BenchError unless what is here is what the run was begun with."""
        then = self.manifest.identity | {"plan digest": self.manifest.plan_digest}
        now = identity(here, self.root, self._versions()) | {"plan digest": self.plan.digest(self.preset)}
        other = [f"{key} {then.get(key)} -> {now.get(key)}" for key in {**then, **now} if then.get(key) != now.get(key)]
        if other or self.manifest.stack:
            said = ", ".join(other) or f"stack {self.manifest.stack}"
            raise BenchError(f"run {self.manifest.run!r} cannot go on here: {said}; measure again with run='new'")

    def _versions(self) -> dict[str, str | None]:
        """What is installed now where this study measures."""
        return self.stack.versions() if self.stack else versions()

    def begin(self) -> Rounds:
        """Start the run if there is none, and say what is left of it."""
        if self.folder is None:
            self._start_run()
        python = self.stack.python if self.stack else sys.executable
        return Rounds(self.folder, self.manifest, self.limits, self.state, python, machine_id(self.state))

    def end(self, rounds: Rounds) -> None:
        """See that the packages are what they were, and that a run with nothing left is complete."""
        if changed := changed_packages(self.manifest.identity, self._versions()):
            raise BenchError(f"packages changed during the run: {', '.join(changed)}; measure again with run='new'")
        if not rounds.left():
            self.manifest = finish(self.folder, self.manifest)
            shutil.rmtree(rounds.caches, ignore_errors=True)

    def _start_run(self) -> None:
        self.folder, self.manifest = begin(
            self.root,
            self.report,
            self.device,
            self.preset,
            machine=machine_id(self.state),
            plan_digest=self.plan.digest(self.preset),
            plan=json.loads(self.plan.preset(self.preset).model_dump_json()),
            weights=self._weights(),
            seed=self.plan.seed,
            identity=identity(self.device, self.root, self._versions()),
            stack=self.stack and self.stack.name,
            group=self.group,
        )

    def _weights(self) -> str:
        """Where the weights of this run come from; folders need no hub."""
        models = [
            catalog.model(name) for name in sorted({c.model for c in (*self.limits.measured, *self.limits.shown)})
        ]
        weights = "local" if all(m.folder for m in models) else loading.resolve_weights("auto", models)
        if weights == "hub":
            loading.prefetch(models)
        return weights


def grouped(report: str, stacks: Sequence[Stack], *, run: str = "latest", root: Path, **asked) -> list[Study]:
    """A study of the report in each stack, to be measured together: the newest group that is theirs, or a new one.

    ``asked`` is what ``Study`` takes. Raises BenchError for the id of a run: a group has several.
    """
    if run not in ("latest", "new"):
        raise BenchError(f"run {run!r}: several stacks have a run each; give latest or new")
    names = {stack.name for stack in stacks}
    made: dict[str, set[str | None]] = {}
    for _, manifest in runs(root, plans.read(find_plan(root, report)).report):
        made.setdefault(manifest.group or "", set()).add(manifest.stack)
    known = [group for group, found in made.items() if group and found <= names and run == "latest"]
    for group in sorted(known, reverse=True):
        studies = [Study(report, root=root, stack=stack, group=group, **asked) for stack in stacks]
        if all(study.manifest for study in studies if study.stack.name in made[group]):
            return studies
    group = new_id()
    return [Study(report, run=run, root=root, stack=stack, group=group, **asked) for stack in stacks]


def measure_together(studies: Sequence[Study], minutes: float | None = None) -> None:
    """Measure what several studies miss, a round of each in turn: what drifts meanwhile meets all of them alike.

    The order turns round with every round. With ``minutes`` nothing begins that is predicted to end later. Raises
    BenchError as ``Study.measure`` does.
    """
    studies = [study for study in studies if not study.complete and not study.frozen]
    if not studies:
        return
    deadline = time.monotonic() + 60 * minutes if minutes else math.inf
    with exclusive():
        begun = [study.begin() for study in studies]
        seconds = sum(rounds.seconds(plan) for rounds in begun for plan in rounds.left())
        bar = progress(seconds, f"{studies[0].report} on {studies[0].device.slug}")
        try:
            while (turn := _whose_turn(begun)) and turn.measure_next(bar, deadline):
                pass
        finally:
            bar.close()
        for study, rounds in zip(studies, begun, strict=True):
            study.end(rounds)


def _whose_turn(begun: list[Rounds]) -> Rounds | None:
    """The one that is furthest behind; of several, the first in odd rounds and the last in even ones."""
    waiting = [(left[0].round, place) for place, rounds in enumerate(begun) if (left := rounds.left())]
    if not waiting:
        return None
    behind = min(number for number, _ in waiting)
    places = [place for number, place in waiting if number == behind]
    return begun[places[0] if behind % 2 else places[-1]]
