"""Timing one call honestly: the clock, the warm-up, and when to stop.

Formulas and thresholds follow nvbench, pyperf and torch; each constant names its source.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass

import numpy as np

from .statistics import MedianInterval, median_interval


@dataclass(frozen=True)
class Budget:
    """How long to warm up and to collect; the defaults are those of a full measurement.

    Steadiness follows pyperf's calibration, the stopping rule nvbench's; times in seconds, counts in calls.
    """

    warmup_calls: int = 3
    warmup_seconds: float = 0.5
    warmup_max_calls: int = 300
    warmup_max_seconds: float = 20.0
    steady_window: int = 20
    min_samples: int = 30
    min_seconds: float = 0.5
    max_samples: int = 2000
    max_seconds: float = 30.0
    half_width: float = 0.01
    check_every: int = 5


@dataclass(frozen=True)
class Call:
    """Something to time: ``prepare`` makes the input, untimed; ``run`` is the region."""

    prepare: Callable[[int], object]
    run: Callable[[object], object]


@dataclass(frozen=True)
class Timed:
    """One timed call: its result, the wall time, the CUDA event span where there is one, and when it began."""

    result: object
    latency_ms: float
    event_ms: float | None
    started_at: float


class Clock:
    """Wall clock; on a CUDA device between two synchronisations, with an event span beside it."""

    def __init__(self, device: str = "cpu") -> None:
        self.cuda = device.startswith("cuda")
        self.timer = "perf_counter_ns between device synchronisations" if self.cuda else "perf_counter_ns"
        if self.cuda:
            import torch

            self._sync = lambda: torch.cuda.synchronize(device)
            self._events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]

    def time(self, call: Call, index: int) -> Timed:
        """Prepare, then time ``run`` once."""
        argument = call.prepare(index)
        return self._time_cuda(call.run, argument) if self.cuda else self._time_wall(call.run, argument)

    def _time_wall(self, run: Callable, argument: object) -> Timed:
        started = time.time()
        start = time.perf_counter_ns()
        result = run(argument)
        stop = time.perf_counter_ns()
        return Timed(result, (stop - start) / 1e6, None, started)

    def _time_cuda(self, run: Callable, argument: object) -> Timed:
        before, after = self._events
        self._sync()
        started = time.time()
        start = time.perf_counter_ns()
        before.record()
        result = run(argument)
        after.record()
        self._sync()
        stop = time.perf_counter_ns()
        return Timed(result, (stop - start) / 1e6, before.elapsed_time(after), started)


@dataclass(frozen=True)
class WarmUp:
    """How the warm-up went: calls made, whether it became steady, and the time spent in calls that compiled."""

    calls: int
    steady: bool
    compile_ms: float
    compile_calls: int
    first: Timed


@dataclass(frozen=True)
class Collected:
    """How the collection went."""

    count: int
    stop_reason: str
    interval: MedianInterval


Keep = Callable[[str, int, Timed], None]


def is_steady(values: np.ndarray, window: int) -> bool:
    """Whether the last two windows of calls look alike (pyperf, ``_worker.py``: test_calibrate_warmups)."""
    if len(values) < 2 * window:
        return False
    a, b = values[-2 * window : -window], values[-window:]
    q1, q3 = np.percentile(b, [25, 75])
    if values[-2 * window] > q3 + 1.5 * (q3 - q1) and values[-2 * window] > 1.1 * np.median(b):
        return False
    mean_change = (a.mean() - b.mean()) / b.mean()
    spreads = [_relative(f(a), f(b)) for f in (_mad_ratio, _quartile(25), _quartile(75))]
    return -0.5 <= mean_change <= 0.10 and spreads[0] <= 0.10 and max(spreads[1:]) <= 0.05


def _quartile(q: int) -> Callable[[np.ndarray], float]:
    return lambda values: float(np.percentile(values, q))


def _mad_ratio(values: np.ndarray) -> float:
    median = np.median(values)
    return float(1 + np.median(np.abs(values - median)) / median)


def _relative(a: float, b: float) -> float:
    return abs(a - b) / b


def warm_up(call: Call, clock: Clock, budget: Budget, state: Callable[[], Hashable], keep: Keep) -> WarmUp:
    """Call at the exact shape until ``state()`` (compile counters) stands still and the times are steady.

    ``keep(role, index, timed)`` sees every call. Inputs are prepared for -1, -2, …, which no later call asks for. Not
    steady at the cap is a fact of the result, not an error.
    """
    values: list[float] = []
    first: Timed | None = None
    compile_ms, compile_calls, still = 0.0, 0, 0
    begin = settled = time.perf_counter()
    while True:
        before = state()
        timed = clock.time(call, -1 - len(values))
        keep("warmup", len(values), timed)
        first = first or timed
        values.append(timed.latency_ms)
        if state() != before:
            compile_ms, compile_calls, still = compile_ms + timed.latency_ms, compile_calls + 1, 0
            settled = time.perf_counter()
        else:
            still += 1
        now = time.perf_counter()
        ready = len(values) >= budget.warmup_calls and still >= 2 and now - settled >= budget.warmup_seconds
        steady = ready and is_steady(np.array(values[len(values) - still :]), budget.steady_window)
        capped = len(values) >= budget.warmup_max_calls or now - max(begin, settled) >= budget.warmup_max_seconds
        if steady or (capped and still >= 2):
            return WarmUp(len(values), steady, compile_ms, compile_calls, first)


def collect(call: Call, clock: Clock, budget: Budget, keep: Keep) -> Collected:
    """Time the call until the median is known to ``half_width``, or say why not."""
    values: list[float] = []
    noise: deque[float] = deque(maxlen=512)
    with quiet_gc():
        begin = time.perf_counter()
        while True:
            timed = clock.time(call, len(values))
            keep("sample", len(values), timed)
            values.append(timed.latency_ms)
            if reason := _stop(values, noise, time.perf_counter() - begin, budget):
                return Collected(len(values), reason, median_interval(values))


def _stop(values: list[float], noise: deque, elapsed: float, budget: Budget) -> str | None:
    if len(values) >= budget.max_samples:
        return "max_samples"
    if elapsed >= budget.max_seconds:
        return "time_budget"
    if len(values) < budget.min_samples or sum(values) < 1e3 * budget.min_seconds or len(values) % budget.check_every:
        return None
    if median_interval(values).half_width <= budget.half_width:
        return "converged"
    noise.append(float(np.std(values, ddof=1) / np.mean(values)))
    # nvbench, stdrel_criterion.cxx: more samples will not help once the noise estimate itself stands still.
    if len(noise) >= 64 and np.var(noise) < (0.05 * np.mean(noise)) ** 2:
        return "noise_flat"
    return None


@contextlib.contextmanager
def quiet_gc() -> Iterator[None]:
    """No garbage collection inside; the former state afterwards."""
    enabled, frozen = gc.isenabled(), gc.get_freeze_count() > 0
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        if not frozen:
            gc.unfreeze()
        if enabled:
            gc.enable()


@dataclass(frozen=True)
class Timing:
    """A call timed by hand: median and 95 % interval in milliseconds. Exploratory: it never enters a report."""

    median_ms: float
    low_ms: float
    high_ms: float
    count: int
    steady: bool
    stop_reason: str
    timer: str
    label: str = "exploratory"


def time_call(fn: Callable[[], object], device: str = "cpu", budget: Budget | None = None) -> Timing:
    """Warm up and time ``fn()`` in this process, with an interval.

    For use by hand: it runs beside whatever else this process does, so the result is labelled exploratory.
    """
    budget = budget or Budget(steady_window=5, max_seconds=10.0)
    call, clock = Call(lambda _: None, lambda _: fn()), Clock(device)
    warm = warm_up(call, clock, budget, lambda: None, lambda *_: None)
    done = collect(call, clock, budget, lambda *_: None)
    ci = done.interval
    return Timing(ci.median, ci.low, ci.high, done.count, warm.steady, done.stop_reason, clock.timer)
