"""Rows are appended, never lost, and read back as written."""

import pytest

from bench_utils import frames, records
from bench_utils.errors import BenchError
from bench_utils.records import Cell, End, Journal, Manifest, Process, Sample


def sample(index=0, attempt=1, latency=1.0, process="p"):
    return Sample(process=process, attempt=attempt, cell="decode-p16-n16-b1", role="sample", index=index,
                  latency_ms=latency, started_at=1.0)  # fmt: skip


def cell(attempt=1, count=1, status="ok", process="p"):
    return Cell(process=process, attempt=attempt, cell="decode-p16-n16-b1", phase="decode", prompt_tokens=16,
                new_tokens=16, batch_size=1, status=status, count=count, weights="architecture",
                receipt={"tokens": [[1, 2]], "expected_calls": 16 * count})  # fmt: skip


def process(attempt=1):
    return Process(process="p", attempt=attempt, round=1, order=0, model="tiny-gpt2", variant="eager",
                   backend="transformers", dtype="float32", device="cpu", started_at=0.0)  # fmt: skip


def end(attempt=1):
    return End(process="p", attempt=attempt, exit_code=0, finished_at=2.0)


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    records.write_manifest(folder, Manifest(
        run="run", report="mini", preset="smoke", device="cpu-x", device_name="cpu", machine="m", plan_digest="d",
        plan={}, weights="architecture", seed=0, identity={}, started_at="2026-01-01T00:00:00+00:00",
    ))  # fmt: skip
    return folder


def write(folder, *rows):
    journal = Journal(folder)
    for row in rows:
        journal.append(row)
    journal.close()


def test_what_is_written_is_read_back(run):
    write(run, process(), sample(latency=1.25), cell(), end())
    assert list(records.read_processes(run)) == [process(), cell(), end()]
    rows = frames.load(run)
    assert list(rows.columns) == frames.COLUMNS
    assert rows.loc[0, ["latency_ms", "model", "status", "machine"]].to_list() == [1.25, "tiny-gpt2", "ok", "m"]


def test_a_half_written_last_line_is_kept_counted_and_left_out(run):
    write(run, process(), sample(0), cell(count=2), end())
    with (run / records.SAMPLES).open("a") as file:
        file.write('{"process":"p","attempt":1,"ce')
    write(run, sample(1, latency=2.0))
    rows = frames.load(run)
    assert rows["latency_ms"].to_list() == [1.0, 2.0]
    assert rows.attrs["broken_lines"] == 1
    assert '"ce\n' in (run / records.SAMPLES).read_text()


def test_a_reason_with_any_line_break_is_one_row(run):
    odd = cell(status="harness_bug").model_copy(update={"reason": "bad\u2028thing\u0085and\x0cmore"})
    write(run, process(), odd, end())
    assert list(records.read_processes(run)) == [process(), odd, end()]


def test_only_the_last_complete_attempt_counts_and_the_earlier_stay_on_disk(run):
    write(run, process(), sample(latency=1.0), cell(), end())
    write(run, process(2), sample(attempt=2, latency=2.0), cell(2), end(2))
    write(run, process(3), sample(attempt=3, latency=3.0))  # interrupted
    assert frames.load(run)["latency_ms"].to_list() == [2.0]
    assert len(records.read_lines(run / records.SAMPLES)[0]) == 3


def test_a_failed_cell_is_a_row_without_latency(run):
    write(run, process(), cell(count=0, status="segfault"), end())
    rows = frames.load(run)
    assert rows["status"].to_list() == ["segfault"]
    assert rows["latency_ms"].isna().all()


def test_a_child_that_went_on_after_a_crash_belongs_to_its_process(run):
    write(run, process(), cell(count=0, status="segfault"), end())
    write(run, process().model_copy(update={"process": "p+1"}), sample(process="p+1"),
          cell(process="p+1"), End(process="p+1", attempt=1, exit_code=0, finished_at=3.0))  # fmt: skip
    assert sorted(frames.load(run)["status"]) == ["ok", "segfault"]


@pytest.mark.parametrize("count", [1, 99, 100, 101, 250, 2000])
def test_at_most_a_hundred_samples_count_evenly_spread(count):
    indices = [i for i in range(count) if records.kept(i, count)]
    assert len(indices) <= records.KEPT
    assert len(indices) >= min(count, records.KEPT // 2)
    assert len({b - a for a, b in zip(indices, indices[1:], strict=False)}) <= 1


def test_what_counts_was_written_when_it_was_made():
    for count in (150, 1000, 2000):
        assert all(records.kept(i, i + 1) for i in range(count) if records.kept(i, count))


def test_unknown_fields_are_errors_so_that_nothing_is_dropped():
    with pytest.raises(ValueError, match="energy"):
        Sample(**sample().model_dump(), energy=1)


def test_a_newer_schema_and_a_missing_manifest_are_said(run, tmp_path):
    newer = records.SCHEMA + 1
    text = (run / records.MANIFEST).read_text()
    changed = text.replace(f'"schema_version": {records.SCHEMA}', f'"schema_version": {newer}')
    (run / records.MANIFEST).write_text(changed)
    with pytest.raises(BenchError, match=f"schema {newer}; this version reads up to {records.SCHEMA}"):
        frames.load(run)
    with pytest.raises(BenchError, match="has no readable run.json"):
        frames.load(tmp_path / "nowhere")


def test_a_results_folder_that_cannot_be_written_is_said(run, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(BenchError, match="cannot be written"):
        records.write_manifest(tmp_path / "file" / "run", records.read_manifest(run))
