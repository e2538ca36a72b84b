"""A run in one file: there and back, and every archive that is not one."""

import json
import zipfile

import pandas as pd
import pytest

from bench_utils import exchange, frames
from bench_utils.errors import BenchError
from bench_utils.records import MANIFEST, PROCESSES, SAMPLES
from tests.conftest import REPOSITORY
from tests.faults import conftest as planting

make_run = planting.make_run


@pytest.fixture
def run(make_run):
    return make_run().folder


@pytest.fixture
def archive(run, tmp_path):
    return exchange.export(run, tmp_path / "run.zip")


def content(archive):
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def rewrite(archive, changes, seal=True):
    """The archive with some files changed (None: without it), its digests made anew or left."""
    found = content(archive) | changes
    found = {name: data for name, data in found.items() if data is not None}
    if seal and exchange.DIGESTS not in changes:
        sealed = {n: exchange._sha256(d) for n, d in found.items() if n != exchange.DIGESTS}
        found[exchange.DIGESTS] = json.dumps(sealed).encode()
    with zipfile.ZipFile(archive, "w") as opened:
        for name, data in found.items():
            opened.writestr(name, data)
    return archive


def manifest(archive, **changes):
    return json.dumps(json.loads(content(archive)[MANIFEST]) | changes).encode()


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_run_comes_back_as_it_was(run, archive, tmp_path):
    target = exchange.import_run(tmp_path / "elsewhere", archive)
    assert target.name == run.name
    assert files(target) == files(run)
    assert exchange.import_run(tmp_path / "elsewhere", archive) == target  # again: it is there
    pd.testing.assert_frame_equal(frames.load(target), frames.load(run))


def test_the_same_run_gives_the_same_bytes(run, archive, tmp_path):
    assert exchange.export(run, tmp_path / "again.zip").read_bytes() == archive.read_bytes()


def test_logs_are_not_sent(run, tmp_path):
    (run / "logs").mkdir()
    (run / "logs" / "r1.log").write_text("a path of this machine")
    assert set(content(exchange.export(run, tmp_path / "run.zip"))) == {exchange.DIGESTS, MANIFEST, PROCESSES, SAMPLES}


def test_a_table_has_a_row_a_sample(run, tmp_path):
    table = pd.read_csv(exchange.export(run, tmp_path / "run.csv"))
    assert len(table) == len(frames.load(run))
    assert {"model", "variant", "phase", "latency_ms", "status"} <= set(table.columns)


def test_the_same_table_is_written_as_parquet(run, tmp_path):
    table = pd.read_parquet(exchange.export(run, tmp_path / "run.parquet"))
    assert len(table) == len(frames.load(run))
    assert table["latency_ms"].equals(frames.load(run)["latency_ms"])


def test_another_suffix_or_a_file_that_is_there_is_refused(run, archive, tmp_path):
    with pytest.raises(BenchError, match="ends with .zip, .csv, .parquet"):
        exchange.export(run, tmp_path / "run.txt")
    with pytest.raises(BenchError, match="is there already"):
        exchange.export(run, archive)
    with pytest.raises(BenchError, match="no readable run.json"):
        exchange.export(tmp_path, tmp_path / "none.zip")


@pytest.mark.parametrize(("changes", "seal", "words"), [
    ({SAMPLES: b"{}\n"}, False, "samples.jsonl was altered"),
    ({PROCESSES: None}, False, "list of files was altered"),
    ({"../../evil.py": b"x"}, True, "'../../evil.py', which no run has"),
    ({"/etc/passwd": b"x"}, True, "which no run has"),
    ({"logs/r1.log": b"x"}, True, "which no run has"),
    ({MANIFEST: None}, True, "no single run.json"),
    ({exchange.DIGESTS: None}, False, "no single run.json and digests.json"),
    ({exchange.DIGESTS: b"[]"}, False, "not an archive of a run|was altered"),
    ({MANIFEST: b"{"}, True, "no readable run.json"),
    ({PROCESSES: b'{"kind": "other"}\n'}, True, "not a row of schema"),
    ({SAMPLES: b'{"latency_ms": -1}\n'}, True, "samples.jsonl: not a row of schema 2: process: Field required"),
    ({MANIFEST: b"[]"}, True, "states no schema_version"),
    ({MANIFEST: b"[" * 100_000}, True, "no readable run.json"),
])  # fmt: skip
def test_what_is_no_run_is_one_sentence_and_leaves_nothing(archive, tmp_path, changes, seal, words):
    root = tmp_path / "elsewhere"
    with pytest.raises(BenchError, match=words):
        exchange.import_run(root, rewrite(archive, changes, seal))
    assert not [path for path in root.rglob("*") if path.is_file()]


@pytest.mark.parametrize(("changes", "words"), [
    ({"schema_version": 99}, "has schema 99; this version reads up to"),
    ({"schema_version": "x"}, "states no schema_version"),
    ({"device": "../.."}, "the device '../..' becomes a folder"),
    ({"device": "compare"}, "the device 'compare' of run .* is no device's name"),
    ({"report": "/tmp"}, "the report '/tmp' becomes a folder"),
    ({"run": ".."}, "the run '..' becomes a folder"),
    ({"run": "r" * 300}, "becomes a folder"),
    ({"surprise": 1}, "is not a manifest"),
])  # fmt: skip
def test_a_manifest_that_cannot_be_placed_is_refused(archive, tmp_path, changes, words):
    with pytest.raises(BenchError, match=words):
        exchange.import_run(tmp_path / "elsewhere", rewrite(archive, {MANIFEST: manifest(archive, **changes)}))


def test_an_older_schema_is_read(archive, tmp_path):
    older = rewrite(archive, {MANIFEST: manifest(archive, schema_version=0)})
    assert exchange.import_run(tmp_path / "elsewhere", older).exists()


def test_another_run_of_the_same_name_is_kept(archive, tmp_path):
    target = exchange.import_run(tmp_path / "elsewhere", archive)
    before = files(target)
    with pytest.raises(BenchError, match="another run .* is there already"):
        exchange.import_run(tmp_path / "elsewhere", rewrite(archive, {MANIFEST: manifest(archive, seed=99)}))
    assert files(target) == before


def test_a_line_that_a_killed_process_left_half_written_is_kept(run, tmp_path):
    with (run / SAMPLES).open("a") as journal:
        journal.write('{"process": "r1-')
    target = exchange.import_run(tmp_path / "elsewhere", exchange.export(run, tmp_path / "run.zip"))
    assert files(target) == files(run)
    assert frames.load(target).attrs["broken_lines"] == 1


@pytest.mark.parametrize("damage", ["encrypted", "method", "deflated"])
def test_an_archive_that_cannot_be_unpacked_is_refused(archive, tmp_path, damage):
    data = bytearray(archive.read_bytes())
    place = data.index(b"PK\x01\x02")
    if damage == "encrypted":
        data[place + 8] |= 1
        data[6] |= 1
    elif damage == "method":
        data[place + 10] = data[8] = 77
    else:
        data[60:90] = bytes(30)
    archive.write_bytes(data)
    with pytest.raises(BenchError, match="is not an archive of a run"):
        exchange.import_run(tmp_path / "elsewhere", archive)


def test_a_file_that_cannot_be_written_is_one_sentence(run, tmp_path):
    with pytest.raises(BenchError, match=r"file 'x.zip' cannot be written: No such file or directory; name a file in"):
        exchange.export(run, tmp_path / "nowhere" / "x.zip")


def test_no_archive_and_one_too_large_are_refused(archive, tmp_path, monkeypatch):
    (tmp_path / "text.zip").write_text("hello")
    for path in (tmp_path / "text.zip", tmp_path / "none.zip"):
        with pytest.raises(BenchError, match="is not an archive of a run"):
            exchange.import_run(tmp_path, path)
    monkeypatch.setattr(exchange, "LARGEST", 10)
    with pytest.raises(BenchError, match="which no run does"):
        exchange.import_run(tmp_path, archive)


def test_a_run_of_scores_is_no_table_of_samples(tmp_path):
    (run,) = (REPOSITORY / "results" / "cpu-epyc-2.6ghz-2c" / "quality").iterdir()
    with pytest.raises(BenchError, match="holds scores, and nothing in it was timed"):
        exchange.export(run, tmp_path / "scores.csv")
    exchange.export(run, tmp_path / "scores.zip")
    assert exchange.import_run(tmp_path / "elsewhere", tmp_path / "scores.zip").name == run.name
