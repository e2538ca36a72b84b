"""Planted failures of the protocol: warm-up, order, clocks, settings, prompts."""

import importlib.metadata
import itertools

import numpy as np
import pytest
import torch

from bench_utils import backends, catalog, gates, plan, schedule, study, timing
from bench_utils.backends import checkpoint
from bench_utils.errors import BenchError
from bench_utils.rounds import Rounds
from bench_utils.study import Study
from bench_utils.timing import Budget, Call, Clock, Timed
from tests.conftest import MINI_PLAN
from tests.faults.catalogue import LET_PASS, guards, passing
from tests.faults.conftest import SMALL, SteadyClock, make_preset

QUICK = Budget(warmup_seconds=0, steady_window=5, min_samples=10, min_seconds=0.0, max_seconds=1e9, max_samples=60)
ANY = Call(lambda i: i, lambda i: i)


class Replay(Clock):
    """A clock that plays latencies, in milliseconds."""

    def __init__(self, values):
        super().__init__()
        self._values = iter(values)

    def time(self, call, index):
        return Timed(index, float(next(self._values)), None, 0.0)


def quiet(mean=10.0):
    rng = np.random.default_rng(0)
    return (mean * float(np.exp(0.005 * rng.standard_normal())) for _ in itertools.count())


def measured(values, state=lambda: 0):
    """Latencies by role, warm-up and collection in a row."""
    seen = {"warmup": [], "sample": []}
    clock, keep = Replay(values), lambda role, index, timed: seen[role].append(timed.latency_ms)
    warm = timing.warm_up(ANY, clock, QUICK, state, keep)
    timing.collect(ANY, clock, QUICK, keep)
    return seen, warm


def no_warm_up(call, clock, budget, state, keep):
    return timing.WarmUp(0, True, 0.0, 0, Timed(None, 0.0, None, 0.0))


@guards("B06", without={"bench_utils.timing.warm_up": no_warm_up})
def test_cold_calls_are_kept_as_warm_up_and_never_sampled():
    seen, _ = measured(itertools.chain([100, 60, 40, 30], quiet()))
    assert max(seen["sample"]) < 1.1 * min(seen["sample"])
    assert seen["warmup"][:4] == [100, 60, 40, 30]


class Growing(SteadyClock):
    """Every call takes half as long again."""

    def time(self, call, index):
        return Timed(call.run(call.prepare(index)), 1.5 ** abs(index), None, 0.0)


@guards("B06", without={"bench_utils.timing.is_steady": lambda *_: True})
def test_times_that_never_settle_are_said_to_be_unsteady(measure, monkeypatch):
    monkeypatch.setattr(checkpoint, "Clock", Growing)
    assert measure("eager", phases=["prefill"]).loc["prefill", "status"] == "not_steady"


@guards("B32", without={"bench_utils.timing.warm_up": no_warm_up})
def test_no_sample_is_taken_while_something_still_compiles():
    counters = itertools.chain([0, 1, 1, 1, 1, 2], itertools.repeat(3))
    seen, warm = measured(itertools.chain([500, 10, 400, 300], quiet()), lambda: next(counters))
    assert max(seen["sample"]) < 20
    assert (warm.compile_calls, warm.compile_ms) == (2, 900)


@pytest.mark.parametrize(("line", "key"), [
    ("[presets.smoke]\ntemperature = 0.7", "temperature"),
    ("[presets.smoke]\nmax_tokens = 64", "max_tokens"),
    ("[presets.smoke]\ntop_p = 0.9", "top_p"),
])  # fmt: skip
@guards("B07", without={"bench_utils.cells.Strict": LET_PASS})
def test_a_setting_that_nothing_reads_is_refused(tmp_path, line, key):
    (tmp_path / "mini.toml").write_text(MINI_PLAN.replace("[presets.smoke]", line))
    with pytest.raises(BenchError, match=f"unknown key presets.smoke: '{key}'"):
        plan.read(tmp_path / "mini.toml")


def install_another_torch(monkeypatch):
    known = importlib.metadata.version
    other = {"torch": "0.0.0+cpu"}
    monkeypatch.setattr(importlib.metadata, "version", lambda package: other.get(package) or known(package))


@guards(
    "B08",
    where="bench_utils.study.Study.end",
    without={"bench_utils.environment.changed_packages": lambda *_: []},
)
def test_packages_that_changed_during_a_run_stop_it(mini, monkeypatch):
    monkeypatch.setattr(study.loading, "resolve_weights", lambda *_: "architecture")
    monkeypatch.setattr(study, "exclusive", lambda: pytest.MonkeyPatch.context())
    made = Study("mini", device="cpu", preset="smoke", root=mini)
    monkeypatch.setattr(Rounds, "measure_next", lambda *_: install_another_torch(monkeypatch))
    with pytest.raises(BenchError, match="torch"):
        made.measure()


@guards(
    "B08",
    where="bench_utils.study.Study._latest",
    without={"bench_utils.environment.changed_packages": lambda *_: []},
)
def test_a_run_is_not_continued_with_other_packages(mini, monkeypatch):
    monkeypatch.setattr(study.loading, "resolve_weights", lambda *_: "architecture")
    Study("mini", device="cpu", preset="smoke", root=mini).begin()
    assert Study("mini", device="cpu", preset="smoke", root=mini).manifest is not None
    install_another_torch(monkeypatch)
    assert Study("mini", device="cpu", preset="smoke", root=mini).manifest is None


@guards("B09", without={"bench_utils.backends.unavailable": lambda *_: None})
def test_what_a_variant_needs_is_stated_and_not_guessed_from_its_name(measure, monkeypatch):
    monkeypatch.setitem(catalog.VARIANTS, "plain", catalog.Variant("plain", "transformers", "", requires="cuda"))
    cells = measure("plain")
    assert set(cells["status"]) == {"unavailable"}
    assert cells["reason"].str.contains("--device cuda:0").all()
    assert backends.unavailable(catalog.Variant("cuda-graph-engine", "transformers", ""), "cpu") is None


# ---------------------------------------------------------------- clocks


class FakeEvent:
    """A CUDA event on a clock that the log keeps."""

    log: list = []

    def __init__(self, enable_timing):
        self.at = None

    def record(self):
        self.at = len(self.log)
        self.log.append("event")

    def elapsed_time(self, other):
        return float(other.at - self.at)


def event_lost(self, run, argument):
    return self._time_wall(run, argument)


@guards(
    "B29",
    where="bench_utils.timing.Clock",
    without={"bench_utils.timing.Clock._time_cuda": event_lost},
    construction=True,
)
def test_both_clocks_enclose_the_same_work(monkeypatch):
    monkeypatch.setattr(FakeEvent, "log", [])
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: FakeEvent.log.append("sync"))
    work = Call(lambda i: None, lambda _: FakeEvent.log.extend(["forward", "argmax"]))
    timed = Clock("cuda:0").time(work, 0)
    assert timed.event_ms == 3.0
    assert FakeEvent.log == ["sync", "event", "forward", "argmax", "event", "sync"]


@guards("B29", without={"bench_utils.gates._clocks_agree": passing("wall and event clock")})
def test_clocks_that_disagree_fail_a_gate(make_run):
    run = make_run(lambda made: made.sample_facts.update(event_ms=0.6 * made.latency_ms), device="nvidia-test")
    assert run.gate("clock")["result"] == "failed"


# ---------------------------------------------------------------- prompts and order


@guards(
    "B30",
    without={"bench_utils.backends.transformers.TransformersBackend.prompt": lambda self, index: self._ids},
)
def test_every_call_has_a_prompt_of_its_own():
    made = backends.make(SMALL, catalog.variant("eager"), "float32", "cpu", "architecture", 7)
    made.load()
    made.start("prefill", 16, 0, 2)
    prompts = {tuple(made.prompt(index)[:, 0].tolist()) for index in range(50)}
    assert len(prompts) == 50


WARM_UP = timing.warm_up


def from_zero(call, *rest):
    """A warm-up that counts as the collection does."""
    return WARM_UP(Call(lambda index: call.prepare(-1 - index), call.run), *rest)


@guards("B30", without={"bench_utils.timing.warm_up": from_zero})
def test_no_timed_call_repeats_a_prompt_of_the_warm_up():
    asked = []
    call, budget = Call(asked.append, lambda _: None), Budget(min_samples=10, max_samples=10, warmup_max_seconds=0.1)
    timing.warm_up(call, Clock(), budget, lambda: 0, lambda *_: None)
    warm = len(asked)
    timing.collect(call, Clock(), budget, lambda *_: None)
    assert warm >= 3 and len(set(asked)) == len(asked) == warm + 10


def test_phases_and_sizes_have_prompts_of_their_own_and_variants_the_same():
    def drawn(variant, phase, tokens):
        made = backends.make(SMALL, catalog.variant(variant), "float32", "cpu", "architecture", 7)
        made.load()
        made.start(phase, tokens, 16, 1)
        return made.prompt(0)[0, :16].tolist()

    assert drawn("eager", "decode", 16) == drawn("eager-static", "decode", 16)
    cells = [("e2e", 16), ("prefill", 16), ("decode", 16), ("decode", 32)]
    assert len({tuple(drawn("eager", *cell)) for cell in cells}) == len(cells)


@guards("B30", without={"bench_utils.gates.prefill_grows": lambda rows: ("a longer prompt", "passed", "")})
def test_a_long_prompt_faster_than_a_short_one_fails_a_gate(make_run):
    def plant(made):
        if (made.phase, made.cell.prompt_tokens, made.variant) == ("prefill", 64, "eager"):
            made.latency_ms /= 8

    sizes = {"models": ["gpt2-5m"], "prompts": (16, 32, 64)}
    assert make_run(**sizes).gate("a longer prompt")["result"] == "passed"
    gate = make_run(plant, **sizes).gate("a longer prompt")
    assert (gate["result"], gate["evidence"]) == ("failed", "5 of 6 pairs of lengths")
    assert gates.stopping(make_run(plant, **sizes).gates())


def in_order(preset, number, seed):
    return [
        schedule._process(number, order, cells) for order, cells in enumerate(schedule._by_process(preset.measured))
    ]


@guards("B68", without={"bench_utils.schedule._round": in_order})
def test_the_baseline_is_not_always_first_and_pairs_of_rounds_are_reversed():
    preset = make_preset(["tiny-gpt2", "gpt2-5m"], ["eager", "compile", "compile-static"], 12)
    orders = [[(p.model, p.variant) for p in r] for r in schedule.schedule(preset, seed=3)[1:]]
    assert all(set(order) == set(orders[0]) for order in orders)
    assert [order[::-1] for order in orders[::2]] == orders[1::2]
    assert len({order[0][1] for order in orders}) == 3
    assert len({order[0][0] for order in orders}) == 2
