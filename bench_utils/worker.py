"""A program: one round. Reads a request on stdin, forks a measuring process per variant, reports on stdout.

It imports what every child needs, once, and never touches a device; a child is forked in milliseconds instead of
started in seconds. Where there is no fork, or none would help, children are spawned.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from pathlib import Path

from . import child
from .board import number_by_bus
from .privacy import clean
from .processes import await_end, classify_exit, die_with_parent, family, kill_group, oom_kills
from .records import End, Journal
from .schedule import ProcessPlan, Round


def start_method() -> str:
    """``fork`` on Linux; but of an instance (MIG) PyTorch asks CUDA itself, which no forked child could then use."""
    instance = os.environ.get("CUDA_VISIBLE_DEVICES", "").startswith("MIG-")
    return "fork" if sys.platform == "linux" and not instance else "spawn"


def main() -> None:
    """Measure the round described on stdin."""
    number_by_bus()
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # compile workers would outlive the child that asked for them
    request = Round.model_validate_json(sys.stdin.readline())
    die_with_parent(int(os.environ["BENCH_PARENT"]))
    context = multiprocessing.get_context(os.environ.get("BENCH_START_METHOD") or start_method())
    if context.get_start_method() == "fork":
        _preload()
    for plan in request.processes:
        Supervisor(request, context).run(plan)


def _preload() -> None:
    import torch._inductor.compile_fx  # noqa: F401
    import transformers.models.gpt2.modeling_gpt2  # noqa: F401

    from .backends import transformers as _engine  # noqa: F401


def say(**event) -> None:
    """One progress event for the parent."""
    print(json.dumps(event), flush=True)


class Supervisor:
    """Runs one process plan to its end, in as many children as it takes."""

    def __init__(self, request: Round, context) -> None:
        self.request, self.context = request, context

    def run(self, plan: ProcessPlan) -> None:
        """Fork a child; when it dies in a cell, record that and give the cells after it to another."""
        part = 0
        while plan is not None:
            say(event="process", process=plan.process)
            running, code, reason = self._watch(plan)
            rest = self._rest(plan, running) if code else None
            if code and code != child.POISONED:
                self._record_death(plan, running, code, reason)
            part += 1
            plan = rest and rest.model_copy(update={"process": f"{rest.process.partition('+')[0]}+{part}"})

    def _watch(self, plan: ProcessPlan) -> tuple[str | None, int, str | None]:
        """Wait, asleep, for the child: the cell it was at, its exit code, and why it was killed if it was."""
        receiver, sender = self.context.Pipe(duplex=False)
        process = self.context.Process(target=child.main, args=(self.request, plan, sender, os.getpid()))
        self._memory_kills = oom_kills()
        process.start()
        sender.close()
        running, reason = None, None
        while True:
            if not receiver.poll(self.request.cell_timeout):
                reason = f"no answer within {self.request.cell_timeout:g} s"
                helpers = family([process.pid]) - {process.pid}
                kill_group(process.pid)
                await_end(helpers)  # a server that is still ending would share the machine with the next process
                break
            try:
                running = receiver.recv()
            except EOFError:
                break
            say(event="cell", process=plan.process, cell=running)
        process.join()
        return running, process.exitcode or 0, reason

    def _rest(self, plan: ProcessPlan, running: str | None) -> ProcessPlan | None:
        """The plan of the cells after the one that was running."""
        keys = [cell.key for cell in plan.cells]
        after = plan.cells[keys.index(running) + 1 :] if running else []
        return plan.model_copy(update={"cells": after}) if after else None

    def _record_death(self, plan: ProcessPlan, running: str | None, code: int, reason: str | None) -> None:
        folder = Path(self.request.folder)
        log = folder / "logs" / f"{plan.process}.{plan.attempt}.log"
        said = log.read_text(errors="replace") if log.exists() else ""
        status, cause = classify_exit(code, said, self._memory_kills != oom_kills())
        if reason:
            status, cause = "timeout", reason
        journal = Journal(folder)
        for cell in plan.cells:
            if running in (cell.key, None):  # a death while loading fails every cell
                journal.append(plan.ended(cell, status=status, reason=clean(cause)))
        journal.append(End(process=plan.process, attempt=plan.attempt, exit_code=code, finished_at=time.time()))
        journal.close()


if __name__ == "__main__":
    main()
