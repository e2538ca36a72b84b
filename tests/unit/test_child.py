"""One measuring process: what it does when its engine does not stop, and what it times, meters and divides by."""

import subprocess
import sys
import time

from bench_utils import child, energy, frames
from bench_utils.backends.transformers import TransformersBackend
from bench_utils.cells import CellPlan
from bench_utils.processes import await_end
from bench_utils.records import End, read_processes
from bench_utils.timing import Call
from tests.faults.conftest import SteadyClock, measure  # noqa: F401


def test_an_engine_that_does_not_stop_has_measured_all_the_same(measure, monkeypatch):  # noqa: F811
    def stubborn(self):
        raise RuntimeError("it does not answer")

    monkeypatch.setattr(TransformersBackend, "close", stubborn)
    cells = measure("eager", phases=["prefill"])
    assert cells.loc["prefill", "status"] == "ok"
    ends = [row.exit_code for row in read_processes(measure.folder) if isinstance(row, End)]
    assert ends == [0]


def test_metered_calls_have_prompts_of_their_own_and_are_not_read_back():
    asked = []
    run_for = energy.repeated(SteadyClock(), Call(asked.append, lambda _: None), first=7, tokens=17)
    left = iter([True, True, True, False])
    assert run_for(lambda: next(left)) == 3 * 17
    assert asked == [7, 8, 9]


def test_a_request_is_a_forward_of_its_prompt_and_one_a_token_after_the_first():
    sizes = {"model": "gpt2-5m", "variant": "eager", "dtype": "float32", "prompt_tokens": 16, "batch_size": 1}
    cells = [CellPlan(**sizes, phase=phase, new_tokens=n) for phase, n in (("prefill", 0), ("decode", 16), ("e2e", 16))]
    assert [child._forwards(cell) for cell in cells] == [1, 16, 17]


def test_what_still_ends_is_waited_for_and_not_for_ever():
    sleeping = [subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({s})"]) for s in (0.3, 60)]
    short, long = sleeping
    await_end([short.pid, 2**22 - 1])
    assert short.poll() is not None
    started = time.monotonic()
    await_end([long.pid], seconds=0.2)
    assert long.poll() is None and time.monotonic() - started < 30
    long.kill()
    long.wait()


def test_weights_that_are_drawn_have_a_row_and_no_time_of_loading(measure):  # noqa: F811
    load = measure("eager", phases=["prefill"]).loc["load"]
    assert (load["status"], load["reason"]) == ("ok", "seeded weights are drawn and not loaded")
    assert load["receipt"]["provenance"]["digest"]
    rows = frames.load(measure.folder)
    assert rows[rows["phase"] == "load"]["latency_ms"].isna().all()
