"""Warm-up and stopping, on recorded values: no wall clock decides a test."""

import gc
import itertools

import numpy as np
import pytest

from bench_utils import timing
from bench_utils.timing import Budget, Call, Clock, Timed, collect, is_steady, quiet_gc, warm_up

QUICK = Budget(warmup_seconds=0, steady_window=5, min_samples=10, min_seconds=0.0, max_seconds=1e9, max_samples=300)
ANY = Call(lambda i: i, lambda i: i)


class Replay(Clock):
    """A clock that plays recorded latencies, in milliseconds."""

    def __init__(self, values):
        super().__init__()
        self._values = iter(values)

    def time(self, call, index):
        return Timed(call.run(call.prepare(index)), float(next(self._values)), None, 0.0)


def noise(sd, seed=0, mean=10.0):
    rng = np.random.default_rng(seed)
    return (mean * np.exp(rng.normal(0, sd)) for _ in itertools.count())


def test_warm_up_ends_when_times_are_steady():
    values = itertools.chain([500, 300, 40, 12], noise(0.005))
    warm = warm_up(ANY, Replay(values), QUICK, lambda: 0, lambda *_: None)
    assert warm.steady
    assert 14 <= warm.calls <= 30
    assert warm.first.latency_ms == 500


def test_calls_during_which_counters_move_are_the_compile_cost():
    counters = iter([0, 1, 1, 2, *[2] * 1000])
    values = itertools.chain([500, 300], noise(0.005))
    warm = warm_up(ANY, Replay(values), QUICK, lambda: next(counters), lambda *_: None)
    assert warm.compile_calls == 2
    assert warm.compile_ms == 800


def test_a_warm_up_that_never_settles_says_so():
    growing = (10 * 1.5**i for i in itertools.count())
    budget = Budget(warmup_seconds=0, steady_window=5, warmup_max_calls=40)
    assert not warm_up(ANY, Replay(growing), budget, lambda: 0, lambda *_: None).steady


def test_every_call_is_seen_with_its_role_and_index():
    seen = []
    keep = lambda role, index, timed: seen.append((role, index))  # noqa: E731
    done = collect(ANY, Replay(noise(0.001)), QUICK, keep)
    assert seen == [("sample", i) for i in range(done.count)]


@pytest.mark.parametrize(("values", "reason"), [
    (noise(0.005), "converged"),
    ((10.0 + 10 * (i % 2) * (1 + i) for i in itertools.count()), "max_samples"),
])  # fmt: skip
def test_collection_stops_for_a_stated_reason(values, reason):
    assert collect(ANY, Replay(values), QUICK, lambda *_: None).stop_reason == reason


def test_noise_that_stands_still_ends_the_collection():
    budget = Budget(min_samples=10, min_seconds=0, max_seconds=1e9, max_samples=5000, half_width=1e-6)
    done = collect(ANY, Replay(noise(0.3)), budget, lambda *_: None)
    assert done.stop_reason == "noise_flat"
    assert done.count >= 64 * budget.check_every


def test_the_time_budget_is_a_reason(monkeypatch):
    ticks = itertools.count(0, 5)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(ticks))
    budget = Budget(min_samples=100, max_seconds=30)
    assert collect(ANY, Replay(noise(0.1)), budget, lambda *_: None).stop_reason == "time_budget"


def test_first_values_that_stand_out_are_not_steady():
    flat = np.full(40, 10.0) + np.linspace(0, 0.01, 40)
    assert is_steady(flat, 20)
    assert not is_steady(np.concatenate([[40.0], flat[1:]]), 20)
    assert not is_steady(np.concatenate([np.full(20, 13.0), np.full(20, 10.0)]), 20)
    assert not is_steady(flat[:39], 20)


def test_garbage_collection_is_off_inside_and_as_before_outside():
    for before in (True, False):
        (gc.enable if before else gc.disable)()
        with quiet_gc():
            assert not gc.isenabled()
        assert gc.isenabled() is before
        assert gc.get_freeze_count() == 0
    gc.enable()


def test_a_call_timed_by_hand_is_labelled_exploratory():
    result = timing.time_call(
        lambda: sum(range(2000)), budget=Budget(steady_window=3, min_seconds=0.01, max_seconds=0.2)
    )
    assert result.label == "exploratory"
    assert result.low_ms <= result.median_ms <= result.high_ms


def test_preparation_is_not_timed():
    import time

    slow = Call(lambda i: time.sleep(0.02), lambda _: None)
    assert Clock().time(slow, 0).latency_ms < 10
