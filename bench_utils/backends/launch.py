"""Starting a server of our own, waiting until it answers, and stopping it with everything that it started."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import httpx
import psutil

from ..errors import CellError

KEEPER = Path(__file__).with_name("keeper.py")
HOST = "127.0.0.1"
# Longest wait for a server to answer; vLLM compiles for a minute on two cores.
START_SECONDS = 600.0
STOP_SECONDS = 20.0
LOG_BYTES = 200_000


class Server:
    """A server in a process group of its own. ``command`` and ``environment`` are made for a port.

    Its log is a file without a name; what it said is written to this process's own log when it stops.
    """

    def __init__(self, command: list[str], environment: dict[str, str], port: int, folder: Path | None = None) -> None:
        self.command, self.port, self.url = command, port, f"http://{HOST}:{port}"
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (open as long as the server)
        self._scratch = tempfile.TemporaryDirectory(prefix="bench-")  # what a server leaves behind goes with it
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(KEEPER), str(os.getpid()), *command],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT,
            env=os.environ | {"TMPDIR": self._scratch.name} | environment, cwd=folder, start_new_session=True,
        )  # fmt: skip

    @property
    def pid(self) -> int:
        """The process above everything that the server started."""
        return self._process.pid

    def running(self) -> bool:
        """Whether the server has not ended."""
        return self._process.poll() is None

    def threads(self) -> int | None:
        """Threads of everything below the keeper, working or not."""
        return _threads(_below(self.pid))

    def wait(self, path: str, seconds: float = START_SECONDS) -> None:
        """Ask ``path`` until the answer is 200; CellError ``server_died`` or ``timeout`` with what the server said."""
        deadline = time.monotonic() + seconds
        with httpx.Client(base_url=self.url, timeout=5.0, trust_env=False) as client:
            while time.monotonic() < deadline:
                if not self.running():
                    raise CellError("server_died", self._why())
                with contextlib.suppress(httpx.HTTPError):
                    if client.get(path).status_code == 200:
                        return
                time.sleep(0.02)
        raise CellError("timeout", f"the server did not answer within {seconds:g} s: {self.last_words()}")

    def _why(self) -> str:
        if "address already in use" in self.log().lower():
            return "another program took the port while the server started; measure again"
        return f"the server ended while it started: {self.last_words()}"

    def log(self) -> str:
        """What the server has said, the last 200 kB of it."""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), LOG_BYTES, max(0, size - LOG_BYTES)).decode(errors="replace")

    def last_words(self) -> str:
        """How the server ended, if it did, and the last line that it said."""
        lines = [line.strip() for line in self.log().splitlines() if line.strip()]
        said = lines[-1][-300:] if lines else "it said nothing"
        with contextlib.suppress(subprocess.TimeoutExpired):  # what broke the connection may still be ending
            return f"{_ending(self._process.wait(1.0))}; {said}"
        return said

    def close(self) -> None:
        """End the server and every process below it, and hand its log over."""
        if self._log.closed:
            return
        self._process.terminate()  # the keeper ends what is below it
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            for process in (*_below(self.pid), self._process):
                with contextlib.suppress(psutil.NoSuchProcess):  # it may have ended meanwhile
                    process.kill()
            self._process.wait()
        print(self.log(), end="", flush=True)
        self._log.close()
        self._scratch.cleanup()


def _ending(code: int) -> str:
    """What an exit code of the keeper says of the server; a code above 128 need not stand for a signal."""
    with contextlib.suppress(ValueError):
        if code > 128:
            return f"killed by {signal.Signals(code - 128).name}"
    return f"it ended with exit code {code}"


def _below(pid: int) -> list[psutil.Process]:
    """Every process that one has started, and those that they have."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


def _threads(processes: Iterable[psutil.Process]) -> int | None:
    """Threads that processes have together; None where none is shown."""
    found = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            found += process.num_threads()
    return found or None


class Remote:
    """A server that somebody else runs, at a URL; it is neither started nor stopped here."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.pid = _listener(httpx.URL(self.url))

    def running(self) -> bool:
        """Whether it runs is its owner's matter: a call will tell."""
        return True

    def threads(self) -> int | None:
        """Threads of its process and of those below, where it is on this machine and ours to look at."""
        with contextlib.suppress(psutil.Error):
            return _threads([psutil.Process(self.pid), *_below(self.pid)]) if self.pid else None
        return None

    def log(self) -> str:
        """Its log is not ours."""
        return ""

    def last_words(self) -> str:
        """Its log is not ours."""
        return ""

    def close(self) -> None:
        """Not ours to stop."""


def _listener(url: httpx.URL) -> int | None:
    """The process of this machine that listens at a URL's port; None for another machine, or where it is not told."""
    if url.host not in ("localhost", "127.0.0.1", "::1"):
        return None
    port = url.port or (443 if url.scheme == "https" else 80)
    with contextlib.suppress(psutil.Error):
        for one in psutil.net_connections("tcp"):
            if one.status == psutil.CONN_LISTEN and one.laddr.port == port:
                return one.pid
    return None


def free_port() -> int:
    """A port that nobody listens on at present."""
    with socket.socket() as one:
        one.bind((HOST, 0))
        return one.getsockname()[1]


def is_address(url: str) -> bool:
    """Whether a URL names a server: by HTTP, with a host, and no port that there is not."""
    try:
        found = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        return False
    return found.scheme in ("http", "https") and bool(found.host) and (found.port or 0) < 2**16


def visible(device: str) -> dict[str, str]:
    """Variables with which a server sees the measured GPU and no other, as its first; on a processor none at all."""
    kind, _, index = device.partition(":")
    if kind != "cuda":
        return {"CUDA_VISIBLE_DEVICES": ""}
    listed = [one.strip() for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if one.strip()]
    return {"CUDA_VISIBLE_DEVICES": listed[int(index or 0)] if listed else index or "0"}


def shown(command: list[str], port: int) -> str:
    """A command for the receipt: no folder, no port; of JSON, what is neither."""
    return shlex.join(_public(word, str(port)) for word in command)


def _public(word: str, port: str) -> str:
    if word.startswith("{"):
        return json.dumps({key: value for key, value in json.loads(word).items() if key not in ("file", "port")})
    if Path(word).is_absolute():
        return Path(word).name
    return "PORT" if word == port else word.replace(f":{port}", ":PORT")
