"""Joules of a long window of calls from a counter of the device, idle power beside it; else unknown, with the reason.

A meter counts a whole board or package, so a window during which somebody else used it has no number. Nothing is
sampled around single calls: a counter moves every 20 to 100 ms, a call may last one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from .board import gpu
from .environment import Neighbours, physical_cores
from .errors import BenchError
from .processes import family
from .receipts import exclusivity
from .timing import Call, Clock

SECONDS = 5.0  # NVML's counter is up to 100 ms old: 2 % of five seconds
CALLS = 20
MOST_SECONDS = 60.0  # calls too long for twenty of them in this time get no number
SETTLE_SECONDS = 1.0  # before the idle window: clocks fall after the last call
PASS_SECONDS = SETTLE_SECONDS + 2 * SECONDS  # what the energy of one cell takes, unless its calls are long
POWERCAP = Path("/sys/class/powercap")

More = Callable[[], bool]


class Meter(Protocol):
    """A counter of energy."""

    name: str

    def read(self) -> float | None:
        """Joules since some moment that stays the same; None where the counter cannot be read."""

    def watch(self, helpers: Sequence[int]) -> Callable[[], str | None]:
        """Begin to look out for others; what comes back says who else used what is metered, None when nobody did.

        ``helpers`` are processes that work for the measurement, with their children.
        """


@dataclass(frozen=True)
class Energy:
    """A window of back-to-back calls: joules as metered (``gross_j``), and the idle power of a window before it.

    ``net_j`` is the gross energy less that of idling as long; both are given, neither replaces the other.
    """

    meter: str
    gross_j: float
    seconds: float
    calls: int
    tokens: int
    idle_w: float
    idle_seconds: float

    @property
    def net_j(self) -> float:
        """Gross energy less what idling would have taken in the same time."""
        return self.gross_j - self.idle_w * self.seconds

    def asdict(self) -> dict:
        """As a plain dictionary, joules per token included."""
        per_token = {"gross_j_per_token": self.gross_j / self.tokens, "net_j_per_token": self.net_j / self.tokens}
        return asdict(self) | {"net_j": self.net_j} | per_token


@dataclass(frozen=True)
class Unknown:
    """No number: why, and the meter that would have given it."""

    reason: str
    meter: str | None = None

    def asdict(self) -> dict:
        """As a plain dictionary."""
        return asdict(self)


class Nvml:
    """The energy counter of the board of ``cuda:number`` since its driver was loaded (Volta and later)."""

    name = "NVML total energy counter"

    def __init__(self, number: int) -> None:
        import pynvml

        self._nvml, self._board = pynvml, gpu(number, whole=True)
        pynvml.nvmlDeviceGetTotalEnergyConsumption(self._board)  # raises where there is none

    def read(self) -> float | None:
        """Joules; the driver counts in millijoules."""
        try:
            return self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._board) / 1e3
        except self._nvml.NVMLError:
            return None

    def watch(self, helpers: Sequence[int]) -> Callable[[], str | None]:
        """Look at the board's processes now and at the end."""
        before = self._others(helpers)
        return lambda: before or self._others(helpers)

    def _others(self, helpers: Sequence[int]) -> str | None:
        nvml, ours = self._nvml, family([os.getpid(), *helpers])
        if self._split():
            return "the board is split into instances (MIG), and the counter is the whole board's"
        try:
            lists = nvml.nvmlDeviceGetComputeRunningProcesses, nvml.nvmlDeviceGetGraphicsRunningProcesses
            found = {process.pid for listed in lists for process in listed(self._board)}
        except nvml.NVMLError as error:
            return f"the driver does not say who uses the GPU ({error})"
        if not found & ours:
            return (
                "the driver does not show this process on the GPU, so others cannot be ruled out; in a container, "
                "start it with --pid=host"
            )
        if foreign := len(found - ours):
            return f"processes of others on the GPU: {foreign}; the counter is the whole board's, stop them"
        return None

    def _split(self) -> bool:
        try:
            return bool(self._nvml.nvmlDeviceGetMigMode(self._board)[0])
        except self._nvml.NVMLError:  # a board that cannot be split
            return False


class Rapl:
    """The counters of all processor packages, and of their memory where it has one (Intel, and AMD since Zen)."""

    def __init__(self, root: Path = POWERCAP) -> None:
        self._zones = {zone: int((zone / "max_energy_range_uj").read_text()) for zone in rapl_zones(root)}
        self.name = "RAPL " + " + ".join(sorted({_zone_name(zone) for zone in self._zones}))
        self._last = {zone: _microjoules(zone) for zone in self._zones}
        self._total = 0

    def read(self) -> float | None:
        """Joules since the meter was made; a counter that began again has gone through its range once."""
        try:
            now = {zone: _microjoules(zone) for zone in self._zones}
        except OSError:
            return None
        steps = {zone: now[zone] - self._last[zone] for zone in now}
        self._total += sum(step if step >= 0 else step + self._zones[zone] for zone, step in steps.items())
        self._last = now
        return self._total / 1e6

    def watch(self, helpers: Sequence[int]) -> Callable[[], str | None]:
        """Count the neighbours' processor time."""
        neighbours = Neighbours(helpers)
        return lambda: exclusivity(neighbours.share(), physical_cores())[1]


def rapl_zones(root: Path) -> list[Path]:
    """Packages and memory; cores and graphics are part of their package, the platform contains them all."""
    return sorted(zone for zone in root.glob("intel-rapl:*") if _zone_name(zone).startswith(("package", "dram")))


def find(device: str, root: Path = POWERCAP) -> tuple[Meter | None, str | None]:
    """The meter of a device such as ``cpu`` or ``cuda:0``; without one, None and why."""
    return _find_nvml(int(device.partition(":")[2] or 0)) if device.startswith("cuda") else _find_rapl(root)


def measure(meter: Meter, run_for: Callable[[More], int], seconds: float = SECONDS, helpers: Sequence[int] = ()):
    """Energy of back-to-back calls: an ``Energy``, or ``Unknown`` with the reason.

    ``run_for(more)`` makes one whole call each time ``more()`` is true and returns how many tokens they gave; it is
    told to go on for at least ``seconds`` (5 or more, BenchError below) and 20 calls. An idle window of the same
    length comes first. Nothing of it is a latency sample.
    """
    if seconds < SECONDS:
        raise BenchError(f"an energy window of {seconds:g} s is shorter than its counter can tell; give {SECONDS:g} s")
    time.sleep(SETTLE_SECONDS)
    idle = _window(meter, helpers, lambda: time.sleep(seconds))
    pace = _Pace(seconds)
    busy = _window(meter, helpers, lambda: run_for(pace))
    if reason := idle.reason or busy.reason or _too_little(pace.calls, busy.result):
        return Unknown(reason, meter.name)
    return Energy(
        meter.name, busy.joules, busy.seconds, pace.calls, busy.result, idle.joules / idle.seconds, idle.seconds
    )


def measure_on(device: str, run_for: Callable[[More], int], helpers: Sequence[int] = ()) -> dict:
    """``measure`` with the meter of a device, as a receipt holds it; ``reason`` in place of numbers without one."""
    meter, reason = find(device)
    return (measure(meter, run_for, helpers=helpers) if meter else Unknown(reason)).asdict()


def repeated(clock: Clock, call: Call, first: int, tokens: int) -> Callable[[More], int]:
    """What to meter: a call again and again, from prompt ``first`` on, each with a prompt of its own.

    A call gives ``tokens`` tokens, as those that were timed did: to read them back would be metered too.
    """

    def run_for(more: More) -> int:
        calls = 0
        while more():
            clock.time(call, first + calls)
            calls += 1
        return tokens * calls

    return run_for


class _Pace:
    """Says whether to make another call, and counts those made."""

    def __init__(self, seconds: float) -> None:
        self.calls, self._seconds, self._start = 0, seconds, time.perf_counter()

    def __call__(self) -> bool:
        elapsed = time.perf_counter() - self._start
        more = elapsed < MOST_SECONDS and (elapsed < self._seconds or self.calls < CALLS)
        self.calls += more
        return more


@dataclass(frozen=True)
class _Window:
    joules: float
    seconds: float
    result: object
    reason: str | None


def _window(meter: Meter, helpers: Sequence[int], action: Callable[[], object]) -> _Window:
    others, before, start = meter.watch(helpers), meter.read(), time.perf_counter()
    result = action()
    after, elapsed = meter.read(), time.perf_counter() - start
    if before is None or after is None:
        return _Window(0.0, elapsed, result, "the counter could not be read")
    still = "the counter stood still" if after <= before else None
    return _Window(after - before, elapsed, result, others() or still)


def _too_little(calls: int, tokens: int) -> str | None:
    if calls < CALLS:
        return f"{calls} calls in {MOST_SECONDS:g} s; energy needs {CALLS}"
    return None if tokens > 0 else "the calls gave no token"


def _find_nvml(number: int) -> tuple[Meter | None, str | None]:
    import pynvml

    try:
        meter = Nvml(number)
    except pynvml.NVMLError as error:
        return None, f"the GPU has no energy counter that its driver shows ({error})"
    return meter, None


def _find_rapl(root: Path) -> tuple[Meter | None, str | None]:
    if not rapl_zones(root):
        return None, "the system shows no RAPL counter: a virtual machine, or a processor without one"
    try:
        return Rapl(root), None
    except PermissionError:
        return None, f"RAPL counters are readable by root alone; sudo chmod a+r {POWERCAP}/intel-rapl:*/energy_uj"
    except (OSError, ValueError) as error:
        return None, f"RAPL counters cannot be read ({type(error).__name__})"


def _zone_name(zone: Path) -> str:
    try:
        return (zone / "name").read_text().strip()
    except OSError:
        return ""


def _microjoules(zone: Path) -> int:
    return int((zone / "energy_uj").read_text())
