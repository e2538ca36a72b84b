"""Planted failures in rows and manifests: what is kept, counted, joined and found again."""

import os
from types import SimpleNamespace

import pynvml
import pytest

from bench_utils import board, cells, contrasts, environment, facts, frames, plan, rankings, receipts, records
from bench_utils.errors import BenchError
from bench_utils.records import Cell, Journal, Process, Sample
from bench_utils.reporting import prose
from bench_utils.schedule import schedule
from bench_utils.study import Study
from bench_utils.worker import Supervisor
from tests.conftest import MINI_PLAN
from tests.faults.catalogue import LET_PASS, guards, passing
from tests.faults.conftest import DEFAULTS, ended, make_preset, started


def of(made, variant, phase="decode"):
    return (made.variant, made.phase) == (variant, phase)


# ---------------------------------------------------------------- design and inventory


@guards("B12", without={"bench_utils.gates._same_logits": passing("logits equal")})
def test_a_check_that_gave_no_value_anywhere_does_not_pass(make_run):
    run = make_run(lambda made: made.receipt.pop("equivalence"))
    assert run.gate("logits equal")["result"] != "passed"


def stale_rows(run, names):
    """Rows of processes that this design does not have."""
    process = schedule(run.preset, 0)[1][0]
    for name in names:
        old = process.model_copy(update={"process": name})
        run.append(started(old), *(old.ended(cell, status="ok") for cell in old.cells), ended(old))


@guards("B14", without={"bench_utils.gates._complete": passing("the design is complete")})
def test_rows_of_an_older_file_fail_the_count_and_every_row_names_its_run(make_run):
    run = make_run()
    stale_rows(run, ["r1-from-an-old-file"])
    assert run.gate("the design is complete")["result"] == "failed"
    assert set(run.rows()["run"]) == {run.folder.name}


@guards("B61", without={"bench_utils.gates._complete": passing("the design is complete")})
def test_fewer_rows_than_the_design_has_are_counted_and_fail(make_run):
    run = make_run(lambda made: setattr(made, "skipped", of(made, "eager", "prefill")))
    gate = run.gate("the design is complete")
    assert len(run.preset.measured) * run.preset.rounds == 108
    assert gate["result"] == "failed"
    assert gate["evidence"].startswith("96 of 108 designed rows found")


@guards("B62", without={"bench_utils.gates._complete": passing("the design is complete")})
def test_more_rows_than_the_design_yields_fail(make_run):
    run = make_run()
    assert run.gate("the design is complete")["result"] == "passed"
    stale_rows(run, [f"r{n}-once-more" for n in range(1, 5)])
    assert run.gate("the design is complete")["result"] == "failed"


@guards("B62", without={"bench_utils.gates._complete": passing("the design is complete")})
def test_a_surplus_row_does_not_make_up_for_a_missing_one(make_run):
    run = make_run(lambda made: setattr(made, "skipped", (made.round, made.plan.order) == (1, 5)))
    stale_rows(run, ["r1-from-an-old-file"])
    assert run.gate("the design is complete")["result"] == "failed"


@guards("B35", without={"bench_utils.plan._refuse_duplicates": lambda *_: None})
def test_a_cell_declared_twice_is_refused(tmp_path):
    group = MINI_PLAN[MINI_PLAN.index("[[presets") :]
    (tmp_path / "mini.toml").write_text(MINI_PLAN + group)
    with pytest.raises(BenchError, match="declares tiny-gpt2 × eager × float32 × e2e-p16-n16-b1 twice"):
        plan.read(tmp_path / "mini.toml")


def keyed_by_length(model, variant, dtype, scenario, phase, exhibit):
    return cells.CellPlan(model=model, variant=variant, dtype=dtype, phase=phase, exhibit=exhibit, **scenario.__dict__)


@guards("B34", where="bench_utils.cells.Group.cells", without={"bench_utils.cells._cell": keyed_by_length})
def test_a_prefill_is_one_cell_whatever_is_decoded_after_it():
    cells = make_preset(["tiny-gpt2"], ["eager"], 1, new_tokens=(16, 64)).measured
    assert [(c.new_tokens, c.key) for c in cells if c.phase == "prefill"] == [(0, "prefill-p16-n0-b1")]
    assert len([c for c in cells if c.phase == "decode"]) == 2


@guards("B34", without={"bench_utils.worker.Supervisor._rest": lambda self, plan, running: None})
def test_cells_after_a_crash_are_left_to_another_process(make_run, monkeypatch):
    process = schedule(make_preset(["tiny-gpt2"], ["eager"], 1), 0)[1][0]
    deaths = iter([("prefill-p16-n0-b1", -11, None), (None, 0, None)])
    begun, recorded = [], []
    monkeypatch.setattr(Supervisor, "_watch", lambda self, p: begun.append((p.process, len(p.cells))) or next(deaths))
    monkeypatch.setattr(Supervisor, "_record_death", lambda self, p, cell, *_: recorded.append(cell))
    Supervisor(None, None).run(process)
    assert recorded == ["prefill-p16-n0-b1"]
    assert begun == [(process.process, 3), (f"{process.process}+1", 1)]


# ---------------------------------------------------------------- failures as rows


def without_attempts(receipts):
    good = receipts[receipts["status"] == "ok"].groupby(["variant", "phase"]).size().rename("attempts").reset_index()
    return good.assign(failed=0, low=0.0, high=0.0, rate=0.0)


@guards("B19", without={"bench_utils.rankings.failure_rates": without_attempts})
def test_failures_are_counted_over_attempts_and_the_rest_is_kept(make_run):
    def plant(made):
        if of(made, "compile-static") and made.round in (2, 5):
            made.fail("segfault")

    run = make_run(plant, models=["gpt2-5m"])
    mine = run.rows().query("variant == 'compile-static' and phase == 'decode'")
    assert mine.loc[mine["status"] == "segfault", "latency_ms"].isna().all()
    assert (mine["status"] == "segfault").sum() == 2
    assert (mine["status"] == "ok").sum() == 4 * 5
    rate = rankings.failure_rates(run.receipts()).set_index(["variant", "phase"]).loc[("compile-static", "decode")]
    assert (rate["failed"], rate["attempts"]) == (2, 6)
    assert rate["low"] < 1 / 3 < rate["high"] < 0.8


@guards("B65", without={"bench_utils.records.UNFINISHED": frozenset()})
def test_a_sentinel_left_by_an_unfinished_cell_is_never_averaged(make_run):
    def plant(made):
        if of(made, "eager") and made.round == 4:
            made.facts["status"], made.latency_ms = "oom_host", 1e-3

    run = make_run(plant, models=["gpt2-5m"])
    cells = frames.cell_table(run.rows()).set_index(["variant", "phase"])
    assert cells.loc[("eager", "decode"), ["rounds", "samples"]].to_list() == [5, 25]
    assert cells.loc[("eager", "decode"), "median_ms"] == pytest.approx(80, rel=0.01)


@guards("B65", without={"bench_utils.records.Sample": lambda **facts: facts})
@pytest.mark.parametrize("latency_ms", [-1.0, 0.0, float("nan")])
def test_what_is_no_latency_is_not_written(latency_ms):
    with pytest.raises(ValueError, match="latency_ms"):
        records.Sample(process="p", attempt=1, cell="c", role="sample", index=0, latency_ms=latency_ms, started_at=0.0)


WHOLE = records.Failure


def shortened(type, message, traceback):
    return WHOLE(type="", message=message[:20], traceback="")


class EngineError(RuntimeError):
    """A failure with a name of its own."""


@guards("B51", where="bench_utils.child.Session._attempt", without={"bench_utils.child.Failure": shortened})
def test_an_exception_keeps_its_class_message_and_traceback(measure, monkeypatch):
    from bench_utils.backends.transformers import TransformersBackend

    def decode(self, state, steps):
        raise EngineError("the last line of a long story")

    monkeypatch.setattr(TransformersBackend, "decode", decode)
    cells = measure("eager", phases=["prefill", "decode"])
    failure = cells.loc["decode", "failure"]
    assert (failure["type"], failure["message"]) == ("EngineError", "the last line of a long story")
    assert "in decode" in failure["traceback"]
    assert cells.loc["prefill", "status"] == "ok"


# ---------------------------------------------------------------- nothing lost on saving


def sample(**facts):
    return Sample(process="p", attempt=1, cell="c", role="sample", index=0, latency_ms=1.0, started_at=0.0, **facts)


@guards("B49", without={"bench_utils.records.Row": LET_PASS})
def test_a_field_that_the_schema_does_not_know_is_an_error():
    with pytest.raises(ValueError, match="energy_j"):
        sample(energy_j=0.5)


def forgetful(self, row):
    name = records.SAMPLES if isinstance(row, Sample) else records.PROCESSES
    dropped = row.model_dump_json(exclude_none=True, exclude={"event_ms", "stop_reason", "host_score"})
    os.write(self._open(name), dropped.encode() + b"\n")


@guards("B49", without={"bench_utils.records.Journal.append": forgetful})
def test_every_field_comes_back_as_written(tmp_path):
    rows = [
        Process(process="p", attempt=1, round=1, order=0, model="m", variant="v", backend="b", dtype="float32",
                device="cpu", machine="h", started_at=0.0, host_score=1.5),
        Cell(process="p", attempt=1, cell="c", phase="decode", prompt_tokens=16, new_tokens=16, batch_size=1,
             exhibit=True, status="oom_gpu", reason="r", failure={"type": "T", "message": "m", "traceback": "t"},
             weights="hub", stop_reason="converged", count=3, steady=False, timer="t", tokens_in=16, tokens_out=16,
             receipt={"a": 1}),
    ]  # fmt: skip
    one = sample(event_ms=0.9, compiled_calls=16)
    assert all(value is not None for row in (*rows, one) for value in row.model_dump().values())
    journal = Journal(tmp_path)
    for row in (*rows, one):
        journal.append(row)
    journal.close()
    assert list(records.read_processes(tmp_path)) == rows
    assert [Sample(**line) for line in records.read_lines(tmp_path / records.SAMPLES)[0]] == [one]


# ---------------------------------------------------------------- where and with what


def mixed(make_run, **second):
    """Rows of two runs."""
    return frames.load([make_run(models=["gpt2-5m"]).folder, make_run(models=["gpt2-5m"], **second).folder])


@guards("B43", without={"bench_utils.contrasts.refuse_mixture": lambda *_: None})
def test_rows_of_two_hosts_are_not_compared_unless_that_is_named(make_run):
    rows = mixed(make_run, machine="machine-b")
    assert set(rows["machine"]) == {"machine-a", "machine-b"}
    for table in (contrasts.contrast, lambda r: rankings.rank(r, "decode")):
        with pytest.raises(BenchError, match="differ in machine"):
            table(rows)
    assert len(contrasts.contrast(rows, across=["machine"]))


@guards("B43", without={"bench_utils.contrasts.refuse_mixture": lambda *_: None})
def test_rows_of_one_host_under_two_drivers_are_not_compared(make_run):
    rows = mixed(make_run, identity={"torch": "2.13.0", "driver": "580.2"})
    with pytest.raises(BenchError, match="identity"):
        contrasts.contrast(rows)


GPU = {
    "nvmlInit": lambda: None,
    "nvmlDeviceGetHandleByIndex": lambda index: index,
    "nvmlSystemGetCudaDriverVersion_v2": lambda: 13010,
    "nvmlDeviceGetName": lambda handle: "a GPU",
    "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(total=80 * 2**30),
    "nvmlSystemGetDriverVersion": lambda: "580.2",
    "nvmlDeviceGetClockInfo": lambda handle, kind: 1980,
}


@guards("B44", without={"bench_utils.environment._gpu_facts": lambda index: {}})
def test_the_identity_of_a_run_holds_driver_clock_policy_and_libraries(tmp_path, monkeypatch):
    for name, function in GPU.items():
        monkeypatch.setattr(f"pynvml.{name}", function)
    known = environment.identity(environment.Device("cuda:0", "a-gpu"), tmp_path)
    facts = [known.get(name) for name in ("driver", "driver_cuda", "gpu", "gpu_memory_gib")]
    assert facts == ["580.2", "13.1", "a GPU", 80]
    assert {"torch", "triton", "transformers", "numpy", "python", "governor", "boost", "cpu"} <= known.keys()


@guards("B44", without={"bench_utils.board.board": lambda device: None})
def test_a_measuring_process_can_read_the_clock_though_nothing_opened_the_driver_before(monkeypatch):
    opened = []

    def handle(index):
        if not opened:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_UNINITIALIZED)
        return index

    for name, function in (GPU | {"nvmlInit": lambda: opened.append(1), "nvmlDeviceGetHandleByIndex": handle}).items():
        monkeypatch.setattr(f"pynvml.{name}", function)
    assert board.board("cuda:0").read()["sm_mhz"] == 1980


@guards("B44", without={"bench_utils.receipts.clocks": lambda mhz: ("ok", "")})
def test_a_clock_that_fell_while_a_cell_was_measured_is_throttled():
    assert receipts.clocks([2500.0] * 9 + [2480.0])[0] == "ok"
    status, reason = receipts.clocks([2500.0] * 9 + [1200.0])
    assert status == "throttled"
    assert "1200" in reason


@guards("B45", without={"bench_utils.reporting.prose._refuse_digits": lambda text: None})
def test_a_typed_version_is_an_error_and_the_environment_is_made_from_the_manifest(make_run):
    with pytest.raises(ValueError, match="'2.39.' is typed by hand"):
        prose.bind("The image has glibc 2.39.", {})
    known = dict.fromkeys(["cpu", "cores", "memory_gib", "system", "governor", "boost"], "x") | {"python": "3.11.9"}
    for version in ("2.13.0", "9.9.9"):
        run = make_run(models=["tiny-gpt2"], rounds=1, identity=known | {"torch": version})
        told = facts.provenance(SimpleNamespace(manifest=records.read_manifest(run.folder)))
        assert (told["Stack"], told["Python"]) == (f"torch {version}", "3.11.9")


FIRST = records.Manifest(run="first", plan={}, **DEFAULTS)


@guards("B67", without={"bench_utils.frames.read_manifest": lambda folder: FIRST})
def test_every_row_has_the_run_and_machine_it_came_from(make_run):
    rows = mixed(make_run, machine="machine-b", device="nvidia-test")
    assert rows.groupby("run")["machine"].unique().map(list).to_list() == [["machine-a"], ["machine-b"]]
    assert rows.groupby("run")["device"].nunique().to_list() == [1, 1]


def as_requested(cells):
    """A table that shows what was asked for, with zeros for what is missing."""
    keys = ["model", "variant", "phase"]
    return cells.groupby(keys).size().unstack(fill_value=0).stack().rename("n").reset_index().assign(rounds=6)


@guards("B67", without={"bench_utils.frames.cell_table": as_requested})
def test_tables_count_what_was_measured_and_leave_out_what_was_not(make_run):
    def plant(made):
        made.skipped = of(made, "compile-static") or (of(made, "eager") and made.round > 4)

    table = frames.cell_table(make_run(plant, models=["gpt2-5m"]).rows()).set_index(["variant", "phase"])
    assert table.loc[("eager", "decode"), "rounds"] == 4
    assert ("compile-static", "decode") not in table.index


def newest_folder(self):
    found = sorted(self.root.glob("results/*/*/*"), key=lambda folder: folder.name)
    return (found[-1], records.read_manifest(found[-1])) if found else (None, None)


@guards("B46", without={"bench_utils.study.Study._latest": newest_folder})
def test_a_run_is_found_by_its_plan_and_machine_and_not_by_its_date(mini, make_run):
    asked = Study("mini", device="cpu", preset="smoke", root=mini)
    own = {
        "device": asked.device.slug,
        "machine": environment.machine_id(asked.state),
        "plan_digest": asked.plan.digest("smoke"),
        "identity": environment.identity(asked.device, mini),
    }
    root = mini / "results" / asked.device.slug / "mini"
    for name, other in {
        "1-own": {},
        "2-mode": {"plan_digest": "of another compile mode"},
        "3-host": {"machine": "b"},
    }.items():
        make_run(models=["tiny-gpt2"], rounds=1, root=root, run=name, **(own | other))
    found = Study("mini", device="cpu", preset="smoke", root=mini)
    assert found.manifest is not None
    assert found.manifest.run == "1-own"
    with pytest.raises(BenchError, match="unknown run of mini: '2-mod'; did you mean 2-mode"):
        Study("mini", run="2-mod", root=mini)


def test_the_digest_of_a_plan_tells_compile_modes_apart(tmp_path):
    digests = set()
    for variant in ("compile", "compile-dynamic-false", "compile-static"):
        (tmp_path / "mini.toml").write_text(MINI_PLAN.replace("eager-again", variant))
        digests.add(plan.read(tmp_path / "mini.toml").digest("smoke"))
    assert len(digests) == 3


CELL_WITHOUT_MODEL = [name for name in contrasts.CELL if name != "model"]


@guards("B47", without={"bench_utils.contrasts.CELL": CELL_WITHOUT_MODEL})
def test_arms_are_paired_model_by_model_and_length_by_length(make_run):
    ratios = {("gpt2-5m", 16): 0.5, ("gpt2-5m", 64): 0.8, ("gpt2-25m", 16): 1.25, ("gpt2-25m", 64): 2.0}

    def plant(made):
        if of(made, "compile-static"):
            made.latency_ms *= ratios[made.model, made.cell.new_tokens]

    effects = contrasts.contrast(make_run(plant, new_tokens=(16, 64)).rows())
    mine = effects.query("variant == 'compile-static' and phase == 'decode'")
    assert sorted(mine["ratio"]) == pytest.approx(sorted(ratios.values()), rel=0.02)
    assert (mine["rounds"] == 6).all()


@guards("B66", without={"bench_utils.frames.load": lambda folders: folders})
def test_a_run_named_twice_is_refused(make_run):
    folder = make_run(models=["gpt2-5m"]).folder
    with pytest.raises(BenchError, match="twice"):
        frames.load([folder, folder])
