"""A program: keeps a server, and leaves nothing of it behind. ``python -P keeper.py PARENT COMMAND…``

A server may start processes that outlive it (vLLM's engine does, when its HTTP process is killed). This program
adopts every orphan below it, sleeps until the server ends, its parent dies or it is told to stop, and then ends all
that is left. It imports nothing that takes time: it is part of what ``load`` measures.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
GRACE_SECONDS = 5.0


def main() -> None:
    """Run the command, and leave with its exit code once nothing of it runs any more."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    _follow(int(sys.argv[1]))
    try:
        code = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL).wait()
    except OSError as error:
        sys.exit(f"{error.strerror}: {sys.argv[2]}")
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _end_all()
    sys.exit(code if code >= 0 else 128 - code)


def _follow(parent: int) -> None:
    """Have SIGTERM sent to this process when its parent dies; on Linux, adopt orphans too."""
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            sys.exit(1)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)


def _end_all() -> None:
    """Ask every child to end, orphans that are adopted meanwhile too; after a while, make all descendants.

    Any of them may be gone between being listed and being asked.
    """
    import psutil

    deadline, me = time.monotonic() + GRACE_SECONDS, psutil.Process()
    asked: set[int] = set()
    while left := [p for p in me.children(recursive=True) if _runs(p)]:
        children = {p.pid for p in me.children()}
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                if time.monotonic() > deadline:
                    process.kill()
                elif process.pid in children - asked:
                    asked.add(process.pid)
                    process.terminate()
        psutil.wait_procs(left, timeout=0.1)


def _runs(process) -> bool:
    """Whether a process has not ended."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


if __name__ == "__main__":
    main()
