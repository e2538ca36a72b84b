"""The rounds of a run: what is left of them, and a worker for each."""

from __future__ import annotations

import itertools
import json
import math
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

from . import catalog, energy, frames
from .environment import PACKAGES, physical_cores
from .errors import BenchError
from .plan import Preset
from .progress import Lines
from .records import Manifest
from .runs import Done
from .schedule import ProcessPlan, Round, schedule

ATTEMPTS = 2  # of a round whose worker died, or that a neighbour spoiled


class Rounds:
    """The rounds of a run in ``folder``, measured one at a time by workers under the interpreter ``python``.

    ``state`` is the checkout's own folder: compile caches and artifacts are kept there. ``machine`` is the one that
    measures now: what another began of a model's round is measured again, so that no pair spans two.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        limits: Preset,
        state: Path,
        python: Path | str = sys.executable,
        machine: str | None = None,
    ) -> None:
        self.folder, self.manifest, self.limits, self.state, self.python = folder, manifest, limits, state, python
        self.machine = machine or manifest.machine
        self.caches = state / "caches" / manifest.run
        self._order = [p for round_ in schedule(limits, manifest.seed) for p in round_]
        self._compared: dict[tuple[int, str], list[ProcessPlan]] = {}  # of each round and model: what is paired
        for plan in self._order:
            if plan.round:
                self._compared.setdefault((plan.round, plan.model), []).append(plan)
        self._deaths, self._repeating, self._pace = 0, False, 1.0

    def left(self) -> list[ProcessPlan]:
        """Processes to run, each with the number of its next attempt: those without a complete one, in order.

        When there is none left, those of models whose round a neighbour spoiled, once more. What is repeated is
        decided by the neighbour's processor time and never by a latency.
        """
        done = Done(self.folder)
        wanted = self._missing(done) or self._spoiled(done)
        caches = {p.cache for p in self._order if p.round and p.process in wanted}
        wanted |= {p.process for p in self._order if p.cold and p.cache in caches and self._measured_elsewhere(done, p)}
        return [p.model_copy(update={"attempt": done.attempts(p) + 1}) for p in self._order if p.process in wanted]

    def _missing(self, done: Done) -> set[str]:
        """What has no complete attempt; and of a model's round that is begun, or begun once more, all that is not of
        the same pass on this machine: what is paired was measured together."""
        missing = {p.process for p in self._order if not done.has(p)}
        for plans in self._compared.values():
            names = {p.process for p in plans}
            for last in done.passes(plans, self.manifest.machine)[-1:]:
                if last.processes != names or names & missing:
                    missing |= names - (last.processes if last.machine == self.machine else set())
        return missing

    def _spoiled(self, done: Done) -> set[str]:
        """What is paired with a process that a neighbour spoiled, and was not repeated as a whole yet. A repetition
        that was begun ATTEMPTS times without an end is given up: what is spoiled then stays, and says so."""
        found = set()
        for plans in self._compared.values():
            whole = sum(len(one.processes) == len(plans) for one in done.passes(plans, self.manifest.machine))
            begun = max(map(done.unended, plans))
            if any(map(done.spoiled, plans)) and whole < ATTEMPTS and begun < ATTEMPTS:
                found |= {p.process for p in plans}
        return found

    def _measured_elsewhere(self, done: Done, plan: ProcessPlan) -> bool:
        return (done.machine(plan) or self.manifest.machine) != self.machine

    def seconds(self, plan: ProcessPlan) -> float:
        """Predicted cost of a process."""
        if plan.round == 0:
            return self.limits.cold_seconds if catalog.variant(plan.variant).compiled else self.limits.cell_seconds
        share = self.limits.start_seconds / max(1, len({c.process for c in self.limits.measured}))
        joules = energy.PASS_SECONDS * sum(c.phase == "e2e" for c in plan.cells) * self.limits.energy
        return share + joules + self.limits.cell_seconds * len(plan.cells)

    def measure_next(self, bar: Lines, deadline: float = math.inf) -> bool:
        """Measure the first round that is left, or what of it ends before the deadline (monotonic clock, seconds).

        False when nothing was measured: nothing is left, or nothing more fits. Raises BenchError when nothing at all
        fits, and when workers die again and again.
        """
        left = self.left()
        if not left:
            return False
        self._announce_repeats(left, bar)
        round_ = self._in_time([p for p in left if p.round == left[0].round], deadline)
        if not round_ and not self._any_done():
            raise BenchError(f"{self.manifest.report}: no process fits into so few minutes; give more")
        if round_:
            begun = time.monotonic()
            self._measure(round_, bar)
            self._pace = max(self._pace, (time.monotonic() - begun) / sum(map(self.seconds, round_)))
        return bool(round_)

    def _announce_repeats(self, left: list[ProcessPlan], bar: Lines) -> None:
        if self._deaths or self._repeating or not all(map(Done(self.folder).has, left)):
            return
        self._repeating = True
        bar.more(sum(map(self.seconds, left)), f"a neighbour spoiled {len(left)} processes, once more")

    def _in_time(self, round_: list[ProcessPlan], deadline: float) -> list[ProcessPlan]:
        """What ends before the deadline: a round whole or not at all; of round 0, which pairs nothing, its start.

        Where rounds have taken longer than predicted, so will the next.
        """
        left = (deadline - time.monotonic()) / self._pace
        ends = itertools.accumulate(map(self.seconds, round_))
        fitting = [p for p, end in zip(round_, ends, strict=True) if end <= left]
        return fitting if len(fitting) == len(round_) or not round_[0].round else []

    def _any_done(self) -> bool:
        """Whether any process of the run came to its end."""
        return any(map(Done(self.folder).has, self._order))

    def _measure(self, round_: list[ProcessPlan], bar: Lines) -> None:
        for plan in round_:
            if plan.cold:  # cold means an empty cache, also on the second attempt
                shutil.rmtree(self.caches / plan.cache, ignore_errors=True)
        code, done = self._run_worker(round_, bar), Done(self.folder)
        if code == 0 and all(done.whole(plan, plan.attempt) for plan in round_):
            self._deaths = 0
            return
        self._deaths += 1
        if self._deaths >= ATTEMPTS:
            log = f"{self.folder.name}/logs/worker.log"
            raise BenchError(f"the worker of round {round_[0].round} died twice; its log is {log}")

    def _run_worker(self, round_: list[ProcessPlan], bar: Lines) -> int:
        """Start a worker, sleep until it says something, and see that it cannot outlive its time."""
        limit = self.limits.cell_timeout * sum(1 + len(p.cells) for p in round_)
        (self.folder / "logs").mkdir(exist_ok=True)
        plans_by_name = {p.process: p for p in round_}
        environment = os.environ | {
            "BENCH_PARENT": str(os.getpid()), "TOKENIZERS_PARALLELISM": "false",
            "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # a worker that asked CUDA itself could fork no child that uses it
        }  # fmt: skip
        with (self.folder / "logs" / "worker.log").open("a") as log:
            worker = subprocess.Popen(
                [self.python, "-m", "bench_utils.worker"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment,
            )  # fmt: skip
            watchdog = threading.Timer(limit, worker.kill)
            watchdog.daemon = True
            watchdog.start()
            try:
                worker.stdin.write(self.request(round_).model_dump_json() + "\n")
                worker.stdin.close()
                self._follow(worker.stdout, plans_by_name, bar)
                return worker.wait()
            except BaseException:
                worker.kill()
                raise
            finally:
                watchdog.cancel()

    def _follow(self, events, plans_by_name: dict[str, ProcessPlan], bar: Lines) -> None:
        running = None
        for line in events:
            event = json.loads(line)
            plan = plans_by_name.get(frames.base(event["process"]))
            if event["event"] == "process":
                if running is not None and running is not plan:
                    bar.done(self._name(running), self.seconds(running))
                running = plan
            else:
                bar.at(f"{self._name(plan)} {event['cell']}")
        if running is not None:
            bar.done(self._name(running), self.seconds(running))

    def _name(self, plan: ProcessPlan) -> str:
        where = f"{self.manifest.stack}, " if self.manifest.stack else ""
        return f"{where}round {plan.round}, {plan.model} {plan.variant}" + (" (cold compile)" if plan.cold else "")

    def request(self, round_: list[ProcessPlan]) -> Round:
        """What a worker is asked to do."""
        return Round(
            folder=str(self.folder),
            caches=str(self.caches),
            artifacts=str(self.state / "artifacts"),
            packages={name: self.manifest.identity.get(name) for name in PACKAGES if name in self.manifest.identity},
            device=self.manifest.device_name,
            machine=self.machine,
            weights=self.manifest.weights,
            seed=self.manifest.seed,
            threads=physical_cores(),
            budget=self.limits.budget,
            exhibit_budget=self.limits.exhibit_budget,
            cell_timeout=self.limits.cell_timeout,
            energy=self.limits.energy,
            processes=round_,
        )
