"""Processes that die with their parent, and what a death means."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

from .errors import BenchError

PR_SET_PDEATHSIG = 1
# Where the last words of a process begin: with an exception and those it arose from, or with an abort of C++ or ggml.
_UNCAUGHT = re.compile(r"(?<!exception:\n\n)(?<!occurred:\n\n)^Traceback \(most recent call last\)", re.MULTILINE)
_ABORTED = re.compile(r"^(?:terminate called|CUDA error: )", re.MULTILINE)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent dies; ``parent`` is the id it was started by.

    Linux; elsewhere a thread looks once a second, which costs a measurement nothing.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the request was made
            os._exit(1)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def kill_group(pid: int) -> None:
    """Kill a process and everything in the session it leads."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def oom_kills() -> int | None:
    """Processes the kernel has killed for memory since boot; None where it does not say."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return None


def classify_exit(exit_code: int, log: str, out_of_memory: bool) -> tuple[str, str]:
    """Status and reason of a process that ended without saying why itself."""
    said = _last_words(exit_code, log)
    if "CUDA error" in said or "CUDA out of memory" in said:
        return ("oom_gpu" if "out of memory" in said else "cuda_sticky"), last_line(log)
    if exit_code >= 0:
        return "harness_bug", f"the process ended with exit code {exit_code}: {last_line(log)}"
    name = signal.Signals(-exit_code).name
    if exit_code == -signal.SIGKILL and out_of_memory:
        return "oom_host", "the kernel killed the process for memory"
    statuses = {signal.SIGSEGV: "segfault", signal.SIGBUS: "segfault", signal.SIGABRT: "abort"}
    return statuses.get(-exit_code, "abort"), f"killed by {name}"


def _last_words(exit_code: int, log: str) -> str:
    """What a log says a process died of: what it caught, and went on after, is printed there as well."""
    if exit_code < 0 and exit_code != -signal.SIGABRT:  # no exception ends so
        return ""
    begins = [found.start() for found in (_UNCAUGHT if exit_code >= 0 else _ABORTED).finditer(log)]
    if begins:
        return log[begins[-1] :]
    return last_line(log) if exit_code >= 0 else ""


def last_line(log: str) -> str:
    """The last line of a log that says something."""
    lines = [line for line in log.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "nothing was said"


def family(pids: Iterable[int]) -> set[int]:
    """Processes and all below them; those that have ended are left out."""
    found = set()
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            found |= {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}
    return found


def await_end(pids: Iterable[int], seconds: float = 15.0) -> None:
    """Wait until processes have ended, or for so long."""
    found = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            found.append(psutil.Process(pid))
    psutil.wait_procs(found, timeout=seconds)


@contextlib.contextmanager
def exclusive() -> Iterator[None]:
    """One measurement at a time on this machine: two would slow each other down."""
    try:
        import fcntl
    except ImportError:  # no such lock on Windows
        yield
        return
    path = Path(tempfile.gettempdir()) / "bench_utils.lock"
    try:
        lock = _opened(path)
    except OSError as error:
        raise BenchError(f"{path.name} in the folder for temporary files: {error.strerror}; remove it") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise BenchError("another measurement runs on this machine; wait for it to end") from None
    try:
        yield
    finally:
        os.close(lock)


def _opened(path: Path) -> int:
    """A file to be locked and never written: any account may have made it, and all may read it."""
    with contextlib.suppress(FileNotFoundError):  # to ask for its making is refused where another account made it
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CREAT, 0o644)
    with contextlib.suppress(PermissionError):  # another account was faster
        os.fchmod(descriptor, 0o644)
    return descriptor
