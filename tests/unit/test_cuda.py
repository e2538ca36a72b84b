"""What only a GPU shows: as far as a processor can tell it, and on one where there is one."""

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from torch.autograd import DeviceType

from bench_utils import backends, board, catalog, gates, ledger, operators, physics, receipts, regimes
from bench_utils.progress import progress
from bench_utils.rounds import Rounds
from bench_utils.study import Study
from bench_utils.timing import Call, Clock
from tests.conftest import MINI_PLAN, make_project
from tests.faults.conftest import make_run  # noqa: F401

GRAPHS = "Error: accessing tensor output of CUDAGraphs that has been overwritten by a subsequent run."


class TestReceipts:
    def test_a_wheel_that_leaves_its_build_out_of_its_metadata_is_the_same_release(self):
        assert receipts.packages({"torch": "2.11.0"}, {"torch": "2.11.0+cu130"})[0] == "ok"
        assert receipts.packages({"torch": "2.11.0+cpu"}, {"torch": "2.11.0+cu130"})[0] == "silent_fallback"
        assert receipts.packages({"torch": None}, {"torch": "2.11.0+cu130"})[0] == "silent_fallback"

    def test_what_others_may_use_grows_with_the_machine(self):
        assert receipts.exclusivity(0.16, 2)[0] == "contaminated"
        assert receipts.exclusivity(0.16, 16)[0] == "ok"
        assert receipts.exclusivity(0.81, 16)[0] == "contaminated"

    def test_the_crash_of_graphs_over_a_growing_cache_has_its_own_status(self):
        assert ledger.status_of(RuntimeError(f"{GRAPHS} Stack trace: …")) == "graph_skip"
        assert ledger.status_of(RuntimeError("something else")) == "harness_bug"


def event(kind, name, us, annotation=False):
    return SimpleNamespace(device_type=kind, name=name, self_device_time_total=us, is_user_annotation=annotation)


def test_a_kernel_counts_once_though_the_operator_that_launched_it_repeats_its_time():
    host, device = DeviceType.CPU, DeviceType.CUDA
    events = [
        event(host, "aten::mm", 30.0), event(host, "cudaLaunchKernelExC", 0.0), event(device, "gemm", 30.0),
        event(host, "cuLaunchKernel_ptsz", 0.0), event(device, "triton_fused", 5.0),
        event(host, "cudaGraphLaunch", 0.0), event(device, "a region", 100.0, annotation=True),
    ]  # fmt: skip
    assert operators._on_the_device(events) == (35.0, 3)


class TestGates:
    def test_a_cold_compilation_that_fails_is_no_surplus_of_the_design(self, make_run):  # noqa: F811
        run = make_run()
        cells = run.receipts()
        cells = cells[cells["phase"].isin(("e2e", "prefill", "decode"))]
        failed = cells.iloc[[0]].assign(
            round=0, process="r0-x-compile-static-float32-cold", status="timeout", exhibit=False
        )
        assert gates._complete(cells, run.preset)[1] == "passed"
        assert gates._complete(cells.iloc[1:], run.preset)[1] == "failed"
        both = pd.concat([cells, failed], ignore_index=True)
        assert gates._complete(both, run.preset)[1:] == gates._complete(cells, run.preset)[1:]

    def test_a_cell_that_never_ran_has_no_logits_to_show(self, make_run):  # noqa: F811
        def plant(made):
            if made.variant == "compile-static" and made.phase == "decode":
                made.fail("graph_skip")
                made.receipt.clear()

        assert make_run(plant).gate("logits equal")["result"] == "passed"

    def test_a_cell_that_ran_and_shows_none_fails(self, make_run):  # noqa: F811
        def plant(made):
            if made.variant == "compile-static":
                made.receipt.pop("equivalence")

        assert make_run(plant).gate("logits equal")["result"] == "failed"


def test_a_step_is_that_of_samples_and_not_of_warm_ups(make_run):  # noqa: F811
    rows = make_run().rows()
    cold = rows.assign(role="warmup", latency_ms=100 * rows["latency_ms"])
    assert regimes._steps(pd.concat([rows, cold])).equals(regimes._steps(rows))


def test_known_work_is_timed_on_the_processor_whatever_the_device():
    made = backends.make(
        catalog.model("gpt2-5m"), catalog.variant("known-nothing"), "float32", "cuda:0", "architecture", 0
    )
    assert not made.clock().cuda


def test_a_round_that_took_longer_than_predicted_lengthens_the_next(tmp_path, monkeypatch):
    study = Study("mini", device="cpu", preset="smoke", root=make_project(tmp_path, {"mini.toml": MINI_PLAN}))
    rounds = study.begin()
    (_, *later), predicted = [p for p in rounds.left() if p.round], sum(map(rounds.seconds, rounds.left()))
    enough = 3 * predicted
    assert rounds._in_time(later, time.monotonic() + enough) == later
    now = time.monotonic()
    monkeypatch.setattr(Rounds, "_measure", lambda *_: None)
    monkeypatch.setattr(
        "bench_utils.rounds.time", SimpleNamespace(monotonic=iter((now, now, now + 60 * predicted)).__next__)
    )
    assert rounds.measure_next(progress(1, "mini"), now + enough)
    monkeypatch.undo()
    assert rounds._in_time(later, time.monotonic() + enough) == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
class TestOnAGpu:
    def test_the_driver_and_pytorch_number_the_same_gpus_alike(self):
        code = "import torch; print(*map(torch.cuda.get_device_name, range(torch.cuda.device_count())), sep='\\n')"
        ordered = os.environ | {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        said = subprocess.run([sys.executable, "-c", code], env=ordered, capture_output=True, text=True, check=True)
        assert board.nvml_names() == said.stdout.splitlines()

    def test_a_sleep_of_known_length_takes_it_on_both_clocks(self):
        clock = Clock("cuda:0")

        def timed(cycles):
            calls = [clock.time(Call(lambda _: None, lambda _: torch.cuda._sleep(cycles)), i) for i in range(5)]
            return min(calls, key=lambda one: one.latency_ms)

        timed(10**7)
        once, twice = timed(5 * 10**7), timed(10**8)
        assert once.latency_ms == pytest.approx(once.event_ms, rel=0.02)
        assert twice.latency_ms == pytest.approx(2 * once.latency_ms, rel=0.02)

    def test_reading_is_bound_by_the_memory(self):
        """More than any host has, and no more than the newest memory."""
        assert 100 < physics.measured_bandwidth("cuda:0") < 10_000

    def test_an_eager_step_launches_kernels_and_computes_no_longer_than_it_lasts(self):
        made = backends.make(catalog.model("gpt2-5m"), catalog.variant("eager"), "float16", "cuda:0", "architecture", 0)
        made.load()
        made.start("decode", 16, 16, 1)
        call = Call(lambda index: made.prepare(made.prompt(index)), lambda state: made.decode(state, 16))
        found = operators.profile(call, "cuda:0", 16)
        wall = min(Clock("cuda:0").time(call, i).latency_ms for i in range(3)) / 16
        assert 150 < found["launches"] < 600  # twelve layers
        assert 0 < found["kernel_ms"] < wall
