"""The parent: finds or makes the run of a report, starts a worker a round, resumes what was interrupted."""

from __future__ import annotations

import datetime
import itertools
import json
import math
import os
import secrets
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd

from . import catalog, energy, frames, loading
from . import plan as plans
from .environment import Device, changed_packages, identity, machine_id, physical_cores, resolve_device
from .errors import BenchError
from .processes import exclusive
from .progress import progress
from .project import STATE, find_plan, root_of, root_or_here
from .records import Manifest, read_manifest, write_manifest
from .runs import Done, find_run, runs
from .schedule import ProcessPlan, Round, schedule

ATTEMPTS = 2  # of a process whose worker died, or that a neighbour spoiled


class Study:
    """A report's plan on a device: where its rows are, and how to measure what is missing.

    ``report`` is the name of a plan in ``root/notebooks``, or a plan made in memory, which needs no checkout.
    ``run``: ``latest`` (this machine's newest of this plan, continued where it was interrupted, or a new one),
    ``new``, or the id of a run, which is read and never measured. Raises BenchError before anything is measured.
    """

    _deadline = math.inf  # of measuring, on the monotonic clock

    def __init__(
        self,
        report: str | plans.Plan,
        device: str = "auto",
        preset: str = "quick",
        run: str = "latest",
        root: Path | str | None = None,
    ) -> None:
        made = isinstance(report, plans.Plan)
        self.root = Path(root) if root else root_or_here() if made else root_of()
        self.plan = report if made else plans.read(find_plan(self.root, report))
        self.report, self.claims = self.plan.report, self.plan.claims
        self.state = self.root / STATE
        self.frozen = run not in ("latest", "new")
        if self.frozen:
            self.folder = find_run(self.root, self.report, run)
            self.manifest = read_manifest(self.folder)
            self.device = Device(self.manifest.device_name, self.manifest.device)
            self.preset = self.manifest.preset
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
        if not self.complete and not self.frozen:
            self._deadline = time.monotonic() + 60 * minutes if minutes else math.inf
            self._measure()
        return self.rows()

    def rows(self) -> pd.DataFrame:
        """The rows that are there."""
        if self.folder is None:
            raise BenchError(f"{self.report} has not been measured here; call measure()")
        return frames.load(self.folder)

    def receipts(self) -> pd.DataFrame:
        """One row a process and cell, with its receipt."""
        return frames.receipts(self.folder)

    def _latest(self) -> tuple[Path | None, Manifest | None]:
        """This machine's newest run of this very plan."""
        mine, digest = machine_id(self.state), self.plan.digest(self.preset)
        for folder, manifest in sorted(runs(self.root, self.report), key=lambda r: r[1].started_at, reverse=True):
            asked, found = (self.device.slug, mine, digest), (manifest.device, manifest.machine, manifest.plan_digest)
            if found == asked and not changed_packages(manifest.identity):
                return folder, manifest
        return None, None

    def _measure(self) -> None:
        with exclusive():
            if self.folder is None:
                self._start_run()
            todo = self._todo()
            bar = progress(sum(self._seconds(p) for p in todo), f"{self.report} on {self.device.slug}")
            try:
                ended = self._measure_rounds(bar)
            finally:
                bar.close()
            if changed := changed_packages(self.manifest.identity):
                raise BenchError(f"packages changed during the run: {', '.join(changed)}; measure again with run='new'")
            if ended:
                self._finish()

    def _start_run(self) -> None:
        now = datetime.datetime.now(datetime.UTC)
        run = f"{now:%Y%m%d-%H%M%S}-{self.preset}-{secrets.token_hex(2)}"
        self.folder = self.root / "results" / self.device.slug / self.report / run
        self.manifest = Manifest(
            run=run,
            report=self.report,
            preset=self.preset,
            device=self.device.slug,
            device_name=self.device.name,
            machine=machine_id(self.state),
            plan_digest=self.plan.digest(self.preset),
            plan=json.loads(self.plan.preset(self.preset).model_dump_json()),
            weights=self._weights(),
            seed=self.plan.seed,
            identity=identity(self.device, self.root),
            started_at=now.isoformat(timespec="seconds"),
        )
        write_manifest(self.folder, self.manifest)

    def _weights(self) -> str:
        """Where the weights of this run come from; folders need no hub."""
        models = [
            catalog.model(name) for name in sorted({c.model for c in (*self.limits.measured, *self.limits.shown)})
        ]
        weights = "local" if all(m.folder for m in models) else loading.resolve_weights("auto", models)
        if weights == "hub":
            loading.prefetch(models)
        return weights

    def _todo(self) -> list[ProcessPlan]:
        """Processes to run, each with the number of its next attempt: those without a complete one, in order.

        When there is none left, those of models whose round a neighbour spoiled, once more. What is repeated is
        decided by the neighbour's processor time and never by a latency.
        """
        done = Done(self.folder)
        order = [p for round_ in schedule(self.limits, self.plan.seed) for p in round_]
        missing = [p for p in order if not done.has(p)]
        spoiled = {(p.round, p.model) for p in order if p.round and done.spoiled(p)} if not missing else set()
        again = [p for p in order if (p.round, p.model) in spoiled and done.attempts(p) < ATTEMPTS]
        return [p.model_copy(update={"attempt": done.attempts(p) + 1}) for p in missing or again]

    def _measure_rounds(self, bar) -> bool:
        """Whether everything was measured; False when the time was over before."""
        deaths, repeating = 0, False
        while todo := self._todo():
            if deaths == 0 and not repeating and self._repeats(todo):
                repeating = True
                bar.more(sum(map(self._seconds, todo)), f"a neighbour spoiled {len(todo)} processes, once more")
            number = todo[0].round
            round_ = self._in_time([p for p in todo if p.round == number])
            if not round_ and not self._any_done():
                raise BenchError(f"{self.report}: no process fits into so few minutes; give more")
            if not round_:
                return False
            for plan in round_:
                if plan.cold:  # cold means an empty cache, also on the second attempt
                    shutil.rmtree(self._caches / plan.cache, ignore_errors=True)
            if self._run_worker(round_, bar) == 0 and not self._still_open(round_):
                deaths = 0
                continue
            deaths += 1
            if deaths >= ATTEMPTS:
                raise BenchError(
                    f"the worker of round {number} died twice; its log is {self.folder.name}/logs/worker.log"
                )
        return True

    def _in_time(self, round_: list[ProcessPlan]) -> list[ProcessPlan]:
        """What ends before the deadline: a round whole or not at all; of round 0, which pairs nothing, its start."""
        left, ends = self._deadline - time.monotonic(), itertools.accumulate(map(self._seconds, round_))
        fitting = [p for p, end in zip(round_, ends, strict=True) if end <= left]
        return fitting if len(fitting) == len(round_) or not round_[0].round else []

    def _repeats(self, todo: list[ProcessPlan]) -> bool:
        """Whether everything was measured once, so that this is a repetition."""
        done = Done(self.folder)
        return all(done.has(p) for p in todo)

    def _any_done(self) -> bool:
        """Whether any process of the run came to its end."""
        return any(map(Done(self.folder).has, itertools.chain(*schedule(self.limits, self.plan.seed))))

    def _still_open(self, round_: list[ProcessPlan]) -> bool:
        """Whether an attempt of the round did not come to its end."""
        done = Done(self.folder)
        return not all(done.has(p) for p in round_)

    @property
    def _caches(self) -> Path:
        return self.state / "caches" / self.manifest.run

    def _run_worker(self, round_: list[ProcessPlan], bar) -> int:
        """Start a worker, sleep until it says something, and see that it cannot outlive its time."""
        request = self._request(round_)
        limit = self.limits.cell_timeout * sum(1 + len(p.cells) for p in round_)
        (self.folder / "logs").mkdir(exist_ok=True)
        plans_by_name = {p.process: p for p in round_}
        environment = os.environ | {"BENCH_PARENT": str(os.getpid()), "TOKENIZERS_PARALLELISM": "false"}
        with (self.folder / "logs" / "worker.log").open("a") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "bench_utils.worker"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment,
            )  # fmt: skip
            watchdog = threading.Timer(limit, worker.kill)
            watchdog.daemon = True
            watchdog.start()
            try:
                worker.stdin.write(request.model_dump_json() + "\n")
                worker.stdin.close()
                self._follow(worker.stdout, plans_by_name, bar)
                return worker.wait()
            except BaseException:
                worker.kill()
                raise
            finally:
                watchdog.cancel()

    def _follow(self, events, plans_by_name: dict[str, ProcessPlan], bar) -> None:
        running = None
        for line in events:
            event = json.loads(line)
            plan = plans_by_name.get(frames.base(event["process"]))
            if event["event"] == "process":
                if running is not None and running is not plan:
                    bar.done(_name(running), self._seconds(running))
                running = plan
            else:
                bar.at(f"{_name(plan)} {event['cell']}")
        if running is not None:
            bar.done(_name(running), self._seconds(running))

    def _request(self, round_: list[ProcessPlan]) -> Round:
        return Round(
            folder=str(self.folder),
            caches=str(self._caches),
            artifacts=str(self.state / "artifacts"),
            device=self.device.name,
            weights=self.manifest.weights,
            seed=self.plan.seed,
            threads=physical_cores(),
            budget=self.limits.budget,
            exhibit_budget=self.limits.exhibit_budget,
            cell_timeout=self.limits.cell_timeout,
            energy=self.limits.energy,
            processes=round_,
        )

    def _seconds(self, plan: ProcessPlan) -> float:
        """Predicted cost of a process."""
        if plan.round == 0:
            return self.limits.cold_seconds if catalog.variant(plan.variant).compiled else self.limits.cell_seconds
        share = self.limits.start_seconds / max(1, len({c.process for c in self.limits.measured}))
        joules = energy.PASS_SECONDS * sum(c.phase == "e2e" for c in plan.cells) * self.limits.energy
        return share + joules + self.limits.cell_seconds * len(plan.cells)

    def _finish(self) -> None:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self.manifest = self.manifest.model_copy(update={"status": "complete", "finished_at": now})
        write_manifest(self.folder, self.manifest)
        shutil.rmtree(self._caches, ignore_errors=True)


def _name(plan: ProcessPlan) -> str:
    return f"round {plan.round}, {plan.model} {plan.variant}" + (" (cold compile)" if plan.cold else "")
