"""Planted failures of processes: each becomes a typed row, and the next cell starts clean."""

import json
import subprocess
import sys
import time

import psutil
import pytest

from bench_utils import frames, records
from bench_utils import study as study_module
from bench_utils.contrasts import contrast
from bench_utils.errors import BenchError
from bench_utils.processes import classify_exit
from bench_utils.progress import progress
from bench_utils.runs import runs
from bench_utils.study import Study
from tests.conftest import REPOSITORY


@pytest.fixture
def planted(mini):
    """Run one process of the mini plan with a failure planted in a phase, and return its cells."""

    def run(phase, failure, timeout=60):
        command = [sys.executable, "-m", "tests.faults.planted", str(mini), phase, failure, str(timeout)]
        subprocess.run(command, check=True, cwd=REPOSITORY, capture_output=True)
        folder, _ = next(iter(runs(mini)))
        return frames.receipts(folder).set_index("phase")

    return run


@pytest.mark.parametrize(("failure", "status"), [("SIGSEGV", "segfault"), ("SIGABRT", "abort")])
def test_a_signal_is_a_row_and_the_cells_after_it_are_measured(planted, failure, status):
    cells = planted("prefill", failure)
    assert cells.loc["prefill", ["status", "count"]].to_list() == [status, 0]
    assert cells.loc["decode", "process"].endswith("+1")
    assert cells.loc["decode", "count"] >= 1


def test_a_hang_is_a_timeout(planted):
    cells = planted("decode", "hang", timeout=10)
    assert cells.loc["decode", "status"] == "timeout"
    assert "within 10 s" in cells.loc["decode", "reason"]


def test_an_exception_keeps_its_type_message_and_traceback(planted):
    cells = planted("prefill", "exception")
    failure = cells.loc["prefill", "failure"]
    assert cells.loc["prefill", "status"] == "harness_bug"
    assert (failure["type"], failure["message"]) == ("ValueError", "planted")
    assert "planted" in failure["traceback"]
    assert cells.loc["decode", "count"] >= 1


def test_memory_that_cannot_be_had_is_oom_host(planted):
    assert planted("e2e", "memory").loc["e2e", "status"] == "oom_host"


@pytest.mark.parametrize(("code", "log", "killed_for_memory", "status"), [
    (-11, "", False, "segfault"),
    (-6, "", False, "abort"),
    (-9, "", True, "oom_host"),
    (-9, "", False, "abort"),
    (1, "torch.AcceleratorError: CUDA error: an illegal memory access", False, "cuda_sticky"),
    (1, "torch.OutOfMemoryError: CUDA out of memory", False, "oom_gpu"),
    (2, "Traceback", False, "harness_bug"),
])  # fmt: skip
def test_a_death_is_classified_by_what_it_left(code, log, killed_for_memory, status):
    assert classify_exit(code, log, killed_for_memory)[0] == status


TRACEBACK = "Traceback (most recent call last):\n  File 'child.py', line 1, in run\n"
OOM = f"{TRACEBACK}torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB.\n"
ABORT = "terminate called after throwing an instance of 'c10::Error'\n  what():  CUDA error: an assert\nframe #0\n"
CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"


@pytest.mark.parametrize(("code", "log", "status"), [
    (-11, OOM, "segfault"),
    (-9, OOM, "abort"),
    (-6, OOM, "abort"),
    (-6, f"{OOM}free(): invalid pointer\n", "abort"),
    (-6, f"{OOM}{ABORT}", "cuda_sticky"),
    (-6, "CUDA error: out of memory\n  cudaMalloc\nggml-cuda.cu:89: CUDA error\n", "oom_gpu"),
    (1, f"{OOM}{TRACEBACK}ValueError: planted\n", "harness_bug"),
    (1, "CUDA out of memory, once more with less\nbye\n", "harness_bug"),
    (1, f"{TRACEBACK}ValueError: planted\n{OOM}at exit\n", "oom_gpu"),
    (1, f"{OOM}{CAUSE}{TRACEBACK}KeyError\n", "oom_gpu"),
])  # fmt: skip
def test_a_failure_that_was_caught_before_is_not_what_a_process_died_of(code, log, status):
    assert classify_exit(code, log, False)[0] == status


PROGRAM = "from bench_utils.study import Study; Study('mini', device='cpu', preset='smoke', root={root!r}).measure()"


def start(root):
    process = subprocess.Popen([sys.executable, "-c", PROGRAM.format(root=str(root))], stderr=subprocess.DEVNULL)
    return psutil.Process(process.pid)


def wait_for(condition, seconds=60.0):
    limit = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < limit, "the measurement did not get that far"
        time.sleep(0.05)
    return found


def lines(root):
    return [line for path in root.glob(f"results/*/*/*/{records.SAMPLES}") for line in path.read_text().splitlines()]


def worker_and_child(study):
    family = study.children(recursive=True)
    return family if len(family) >= 2 else None


@pytest.mark.parametrize("victim", ["study", "worker", "child"])
def test_a_kill_loses_no_sample_leaves_no_orphan_and_is_continued(mini, victim):
    study = start(mini)
    wait_for(lambda: len(lines(mini)) > 20)
    family = wait_for(lambda: worker_and_child(study))
    {"study": study, "worker": family[0], "child": family[-1]}[victim].kill()
    before = lines(mini)
    if victim == "study":
        study.wait(10)
        wait_for(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family), 10)
        finished = Study("mini", device="cpu", preset="smoke", root=mini)
        assert not finished.complete
        finished.measure()
    else:
        assert study.wait(120) == 0
        finished = Study("mini", device="cpu", preset="smoke", root=mini)
    assert finished.complete
    whole = [line for line in before if line.endswith("}")]
    assert set(whole) <= set(lines(mini))
    statuses = finished.receipts()["status"].to_list()
    tried = [row.status for row in records.read_processes(finished.folder) if isinstance(row, records.Cell)]
    measured = frames.medians(finished.rows()).query("phase in ['e2e', 'prefill', 'decode']")
    assert len(measured) == 12 - statuses.count("abort")
    assert ("abort" in tried) == (victim == "child")  # a neighbour may have had that process measured once more
    manifest = json.loads((finished.folder / records.MANIFEST).read_text())
    assert manifest["status"] == "complete"


def test_what_does_not_fit_into_the_time_is_measured_by_the_next_call(mini):
    first = Study("mini", device="cpu", preset="smoke", root=mini)
    with pytest.raises(BenchError, match="no process fits into so few minutes"):
        first.measure(minutes=0.001)
    assert first.manifest.status == "measuring"
    second = Study("mini", device="cpu", preset="smoke", root=mini)
    rounds = second.begin()
    first_round = [p for p in rounds.left() if p.round == 1]
    for left, expected in ((1e3, len(first_round)), (1.01 * rounds.seconds(first_round[0]), 0)):
        fitting = rounds._in_time(first_round, time.monotonic() + left)
        assert len(fitting) == expected  # a round whole or not at all
    assert len(second.measure(minutes=10)) > 0
    assert second.complete
    assert second.manifest.run == first.manifest.run


def move(mini, monkeypatch):
    """The same checkout on another machine."""
    monkeypatch.setattr(study_module, "machine_id", lambda state: "another-host")


def stopped_after(mini, processes):
    """A run that this machine began: so many processes of it."""
    made = Study("mini", device="cpu", preset="smoke", root=mini)
    rounds = made.begin()
    (round_,) = [[p for p in rounds.left() if p.round == 1]]
    rounds._measure(round_[:processes], progress(1, "a start"))
    return made


def test_another_machine_goes_on_with_whole_rounds_and_says_so_in_every_row(mini, monkeypatch):
    began = stopped_after(mini, 1)
    move(mini, monkeypatch)
    assert (
        Study("mini", device="cpu", preset="smoke", root=mini).manifest is None
    )  # another machine's run is not its own
    with pytest.raises(BenchError, match="has not been measured"):
        Study("mini", device="cpu", preset="smoke", root=mini).rows()
    other = Study("mini", device="cpu", run=began.manifest.run, root=mini, go_on=True)
    assert len(other.begin().left()) == 4  # the half of a round that was begun elsewhere is measured again
    rows = other.measure()
    assert other.complete
    assert set(rows["machine"]) == {"another-host"}
    assert len(contrast(rows))


def test_a_run_of_two_machines_is_compared_within_rounds(mini, monkeypatch):
    began = stopped_after(mini, 2)
    here = began.manifest.machine
    move(mini, monkeypatch)
    rows = Study("mini", device="cpu", run=began.manifest.run, root=mini, go_on=True).measure()
    machines = rows[rows["phase"].isin(records.TIMED)].groupby("round")["machine"].unique().map(list).to_dict()
    spoiled = machines[1] == ["another-host"]  # a neighbour may have had that round measured once more
    assert spoiled or machines == {1: [here], 2: ["another-host"]}
    assert len(contrast(rows))
    rows.loc[(rows["round"] == 2) & (rows["variant"] == "eager"), "machine"] = "a-third"
    with pytest.raises(BenchError, match="differ in machine"):
        contrast(rows)


def test_a_run_does_not_go_on_where_anything_but_the_machine_differs(mini, monkeypatch):
    began = stopped_after(mini, 1)
    move(mini, monkeypatch)
    monkeypatch.setattr(study_module, "identity", lambda *_: began.manifest.identity | {"torch": "0.0", "cpu": "Other"})
    with pytest.raises(BenchError, match="cannot go on here: cpu .* -> Other, torch .* -> 0.0; measure again"):
        Study("mini", device="cpu", run=began.manifest.run, root=mini, go_on=True)


def test_a_second_study_measures_nothing(mini):
    first = Study("mini", device="cpu", preset="smoke", root=mini)
    first.measure()
    before = lines(mini)
    again = Study("mini", device="cpu", preset="smoke", root=mini)
    assert again.complete
    again.measure()
    assert again.manifest.run == first.manifest.run
    assert lines(mini) == before


def test_a_run_of_another_machine_does_not_count_as_this_ones(mini):
    first = Study("mini", device="cpu", preset="smoke", root=mini)
    first.measure()
    (mini / ".bench" / "machine").unlink()
    assert Study("mini", device="cpu", preset="smoke", root=mini).manifest is None
    assert Study("mini", run=first.manifest.run, root=mini).complete


def test_where_there_is_no_fork_children_are_spawned(mini, monkeypatch):
    monkeypatch.setenv("BENCH_START_METHOD", "spawn")
    plan = mini / "notebooks" / "mini.toml"
    plan.write_text(plan.read_text().replace("rounds = 2", "rounds = 1").replace(', "eager-again"', ""))
    rows = Study("mini", device="cpu", preset="smoke", root=mini).measure()
    assert len(frames.medians(rows).query("phase in ['e2e', 'prefill', 'decode']")) == 3
