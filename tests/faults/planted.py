"""Run one process of the mini plan in a forked child with a failure planted in one phase.

python -m tests.faults.planted ROOT PHASE FAILURE TIMEOUT
"""

import multiprocessing
import os
import signal
import sys
import time

from bench_utils import child
from bench_utils.schedule import schedule
from bench_utils.study import Study
from bench_utils.worker import Supervisor, _preload


def fail(kind: str) -> None:
    """Fail in a given way."""
    if kind in ("SIGSEGV", "SIGABRT"):
        os.kill(os.getpid(), getattr(signal, kind))
    if kind == "hang":
        time.sleep(600)
    if kind == "memory":
        raise MemoryError
    raise ValueError("planted")


def main(root: str, phase: str, kind: str, timeout: str) -> None:
    """Plant, and run."""
    measure = child.Session._measure
    child.Session._measure = lambda self, cell: fail(kind) if cell.phase == phase else measure(self, cell)
    study = Study("mini", device="cpu", preset="smoke", root=root)
    request = study.begin().request([]).model_copy(update={"cell_timeout": float(timeout)})
    _preload()
    Supervisor(request, multiprocessing.get_context("fork")).run(schedule(study.limits, 0)[1][0])


if __name__ == "__main__":
    main(*sys.argv[1:])
