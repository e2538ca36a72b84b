"""The parent: finds or makes a run of scores, starts a process for each arm, resumes what was interrupted."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

from .. import catalog, hub, loading
from .. import plan as plans
from ..environment import Device, changed_packages, identity, machine_id, physical_cores, resolve_device, versions
from ..errors import BenchError
from ..privacy import clean
from ..processes import classify_exit, exclusive, oom_kills
from ..progress import progress
from ..project import STATE, find_plan, root_of, root_or_here
from ..records import Manifest, read_manifest
from ..runs import Progress, begin, find_run, finish, newest
from ..study import Study
from . import rows
from .asked import Scores, Source, digests, preset_of, refuse_architecture, sources
from .rows import Arm, Task
from .summary import Found, found


class Scoring:
    """A report's scores on a device: where its rows are, and how to make what is missing. A ``Study`` of quality.

    ``report`` is the name of a plan in ``root/notebooks`` with presets under ``[scores]``, or a plan made in memory.
    ``run``: ``latest`` (this machine's newest of this plan and these files, continued where it was interrupted, or a
    new one), ``new``, or the id of a run, which is read only. Raises BenchError before anything is scored.
    """

    _deadline = math.inf

    def __init__(
        self,
        report: str | plans.Plan = "quality",
        device: str = "auto",
        preset: str = "quick",
        run: str = "latest",
        root: Path | str | None = None,
    ) -> None:
        made = isinstance(report, plans.Plan)
        self.root = Path(root) if root else root_or_here() if made else root_of()
        self.plan = report if made else plans.read(find_plan(self.root, report))
        self.report, self.claims, self.state = self.plan.report, self.plan.claims, self.root / STATE
        self.frozen = run not in ("latest", "new")
        if self.frozen:
            self._read(find_run(self.root, self.report, run))
        else:
            self.device, self.preset = resolve_device(device), preset
            self.limits = preset_of(self.plan, preset)
            self.sources = sources(self.limits, self.root / "notebooks")
            self.folder, self.manifest = self._latest() if run == "latest" else (None, None)

    def _read(self, folder: Path) -> None:
        self.folder, self.manifest = folder, read_manifest(folder)
        self.device = Device(self.manifest.device_name, self.manifest.device)
        self.preset, self.limits = self.manifest.preset, Scores.model_validate(self.manifest.plan["scores"])

    @property
    def complete(self) -> bool:
        """Whether nothing is left to score."""
        return self.manifest is not None and self.manifest.status == "complete"

    def measure(self, minutes: float | None = None) -> Found:
        """Score what is missing, and load the run.

        With ``minutes`` no arm begins that is predicted to end later; the next call goes on with the same run.
        """
        if not self.complete and not self.frozen:
            self._deadline = time.monotonic() + 60 * minutes if minutes else math.inf
            with exclusive():
                self._measure()
        return self.rows()

    def rows(self) -> Found:
        """The rows that are there."""
        if self.folder is None:
            raise BenchError(f"{self.report} has not been scored here; call measure()")
        return found(self.folder)

    def progress(self) -> Progress:
        """How many tasks have ended, of those planned."""
        planned = len(self.limits.planned()) * (len(self.limits.texts) + len(self.limits.tasks))
        return Progress(len(rows.read(self.folder)[1]), planned)

    def _digest(self) -> str:
        """Hash of all that scores depend on: the preset, and what is in its files."""
        content = {
            "report": self.report,
            "scores": self.limits.model_dump(mode="json", exclude={"help", "arm_seconds", "timeout"}),
            "files": digests(self.limits, self.root / "notebooks"),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    def _latest(self) -> tuple[Path | None, Manifest | None]:
        """This machine's newest run of this very preset over these very files."""
        same = {"device": self.device.slug, "machine": machine_id(self.state), "plan_digest": self._digest()}
        return newest(self.root, self.report, versions(), **same)

    def _measure(self) -> None:
        if self.folder is None:
            self._start()
        self._refuse()
        todo = self._todo()
        if todo:
            self._score_all(todo)
        if not self._todo():
            self._finish()

    def _score_all(self, todo: dict[Arm, list[Source]]) -> None:
        """Arm after arm, as long as there is time; BenchError when there is none for the first."""
        if self._late():
            raise BenchError(f"{self.report}: no arm fits into so few minutes; give more")
        bar = progress(len(todo) * self.limits.arm_seconds, f"{self.report} on {self.device.slug}")
        try:
            for arm, missing in todo.items():
                if self._late():
                    return
                bar.at(named(arm))
                self._score(arm, missing)
                bar.done(named(arm), self.limits.arm_seconds)
        finally:
            bar.close()

    def _late(self) -> bool:
        """Whether another arm would end after the deadline."""
        return time.monotonic() + self.limits.arm_seconds > self._deadline

    def _start(self) -> None:
        self.folder, self.manifest = begin(
            self.root,
            self.report,
            self.device,
            self.preset,
            machine=machine_id(self.state),
            plan_digest=self._digest(),
            plan={"scores": self.limits.model_dump(mode="json")},
            weights=self._weights(),
            seed=self.plan.seed,
            identity=identity(self.device, self.root),
        )
        (self.folder / rows.SCORES).touch()  # tells it from a run that times, before it has a row

    def _weights(self) -> str:
        """Where the weights come from, decided once for the run."""
        models = [catalog.model(name) for name in self.limits.models]
        return "local" if all(m.folder for m in models) else loading.resolve_weights("auto", models)

    def _todo(self) -> dict[Arm, list[Source]]:
        """Arms with the texts and tasks that have no row yet; a failure is a row."""
        done = {(row.model, row.variant, row.dtype, row.task) for row in rows.read(self.folder)[1]}
        todo = {
            arm: [s for s in self.sources if (arm.model, arm.variant, arm.dtype, s.name) not in done]
            for arm in self.limits.planned()
        }
        return {arm: missing for arm, missing in todo.items() if missing}

    def _refuse(self) -> None:
        """A row for each arm without trained weights; no process is started for it."""
        for arm, missing in self._todo().items():
            try:
                refuse_architecture(catalog.model(self.limits.planned()[arm]), self.manifest.weights)
            except BenchError as error:
                self._fail(arm, missing, "unavailable", str(error))

    def _score(self, arm: Arm, missing: list[Source]) -> None:
        """One arm in a process of its own; whatever that process does not say itself is said here."""
        kills = oom_kills()
        code, said = self._run_worker(self._request(arm, self.limits.planned()[arm], missing))
        if code is None:
            return self._fail(arm, missing, "timeout", f"no end within {self.limits.timeout:g} s; raise timeout")
        left = self._todo().get(arm)
        return self._fail(arm, left, *classify_exit(code, said, oom_kills() != kills)) if left else None

    def _fail(self, arm: Arm, missing: list[Source], status: str, reason: str) -> None:
        rows.write(
            self.folder,
            [Task(**arm.model_dump(), task=s.name, status=status, reason=clean(reason)) for s in missing],
        )

    def _request(self, arm: Arm, spelled: str, missing: list[Source]) -> dict:
        model = catalog.model(spelled)
        return {
            "folder": str(self.folder),
            "store": str(self.state / "artifacts"),
            "device": self.device.name,
            "weights": "local" if model.folder else self.manifest.weights,
            "threads": physical_cores(),
            "arm": arm.model_dump(),
            "model": spelled,
            "sources": [(s.name, s.path and str(s.path), s.is_text) for s in missing],
            "context": self.limits.context,
            "stride": self.limits.stride,
            "limit": self.limits.limit,
        }

    def _run_worker(self, request: dict) -> tuple[int | None, str]:
        """Exit code, None when its time was over, and what it said."""
        (self.folder / "logs").mkdir(exist_ok=True)
        log = self.folder / "logs" / "worker.log"
        begin = log.stat().st_size if log.exists() else 0
        settings = {"BENCH_PARENT": str(os.getpid()), "TOKENIZERS_PARALLELISM": "false"} | _offline(request)
        command = [sys.executable, "-m", "bench_utils.quality.worker"]
        with log.open("a") as out:
            pipes = {"stdin": subprocess.PIPE, "stdout": out, "stderr": out, "text": True}
            worker = subprocess.Popen(command, env=os.environ | settings, **pipes)
            try:
                worker.communicate(json.dumps(request) + "\n", timeout=self.limits.timeout)
            except BaseException as error:
                worker.kill()
                worker.wait()
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                return None, ""
        return worker.returncode, log.read_text(errors="replace")[begin:]

    def _finish(self) -> None:
        if changed := changed_packages(self.manifest.identity):
            raise BenchError(f"packages changed during the run: {', '.join(changed)}; score again with run='new'")
        self.manifest = finish(self.folder, self.manifest)


def _offline(request: dict) -> dict[str, str]:
    """Where the hub does not answer, its client is told so: a task then fails at once, or finds its data in the cache.

    Only tasks by name need data from there.
    """
    needs = any(path is None for _, path, _ in request["sources"])
    return {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"} if needs and not _online() else {}


@functools.cache  # an unreachable hub costs three seconds
def _online() -> bool:
    return hub.answers("openai-community/gpt2")  # any repository: an answer is an answer


def named(arm: Arm) -> str:
    """An arm in words."""
    return f"{arm.model} {arm.variant} {arm.dtype}"


def study_of(
    report: str, device: str = "auto", preset: str = "quick", run: str = "latest", root: Path | str | None = None
) -> Study | Scoring:
    """A report's study: a ``Scoring`` where its plan has presets under ``[scores]``; arguments and errors are its."""
    scores = plans.read(find_plan(Path(root) if root else root_of(), report)).scores
    return (Scoring if scores else Study)(report, device, preset, run, root)
